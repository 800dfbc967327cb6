//! What a chart shows, what it refuses, and that text stays text.

use tierup_plot::{Axis, Bar, Bars, ChartError, Lines, Page, Table, Unit};

const HOSTILE: &str = "<script>alert('\"&')</script>";

fn lines() -> Lines {
    Lines::new("t", Axis::log("work", Unit::Seconds), Axis::log("time", Unit::Seconds))
}

fn bars() -> Bars {
    Bars::new("t", ["one", "two"], Axis::linear("time", Unit::Times))
}

/// The text elements of an SVG, in order.
fn texts(svg: &str) -> Vec<&str> {
    svg.split("<text")
        .skip(1)
        .filter_map(|rest| rest.split_once('>')?.1.split_once("</text>"))
        .map(|(text, _)| text.trim())
        .collect()
}

#[test]
fn marks_of_a_log_axis_are_labelled_by_decade() {
    let chart = lines().line("a", [(1e-5, 3e-4), (1e-1, 0.7)]).draw().expect("draws");
    let texts = texts(chart.svg());
    for label in ["10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s"] {
        assert!(texts.contains(&label), "{label} is missing: {texts:?}");
    }
    assert!(!texts.contains(&"20 us"), "a label between two decades of many");
}

#[test]
fn names_without_room_beside_each_other_are_written_downwards() {
    let downwards = |groups: usize| {
        let names: Vec<String> = (0..groups).map(|n| format!("a-policy-called-{n}")).collect();
        let values = (0..groups).map(|n| Some(Bar::new(n as f64)));
        let chart = Bars::new("t", &names, Axis::linear("time", Unit::Times)).series("a", values).draw().expect("draws");
        let texts = texts(chart.svg());
        assert!(names.iter().all(|name| texts.contains(&name.as_str())), "a name is missing: {texts:?}");
        chart.svg().split("<text").filter(|text| text.contains("a-policy-called") && text.contains("rotate(90")).count()
    };
    assert_eq!(downwards(3), 0);
    assert_eq!(downwards(13), 13);
}

#[test]
fn points_lie_where_the_scale_puts_them() {
    // Three points one decade apart each way: equal steps in pixels, upwards.
    let chart = lines().line("a", [(1e-3, 1e-3), (1e-2, 1e-2), (1e-1, 1e-1)]).draw().expect("draws");
    let path = chart.svg().split("<polyline").find(|one| one.contains("#2A78D6")).expect("the line");
    let points = path.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("its points");
    let points: Vec<(f64, f64)> = points
        .split_whitespace()
        .filter_map(|point| point.split_once(','))
        .map(|(x, y)| (x.parse().expect("a number"), y.parse().expect("a number")))
        .collect();
    let [a, b, c] = points[..] else { panic!("{points:?}") };
    assert!(((b.0 - a.0) - (c.0 - b.0)).abs() <= 1.0, "{points:?}");
    assert!(((a.1 - b.1) - (b.1 - c.1)).abs() <= 1.0 && a.1 > b.1, "{points:?}");
}

#[test]
fn every_series_is_named_once_in_the_legend() {
    let mut chart = lines().envelope("best", [(1.0, 1.0), (2.0, 1.0)]);
    for number in 0..12 {
        chart = chart.line(format!("engine {number}"), [(1.0, 1.0), (2.0, 2.0)]);
    }
    let chart = chart.draw().expect("draws");
    let texts = texts(chart.svg());
    for number in 0..12 {
        assert_eq!(texts.iter().filter(|text| **text == format!("engine {number}")).count(), 1);
    }
    assert!(texts.contains(&"best"));
}

#[test]
fn empty_charts_are_refused() {
    assert_eq!(lines().draw().expect_err("no series"), ChartError::NoSeries { chart: "t".into() });
    assert_eq!(bars().draw().expect_err("no series"), ChartError::NoSeries { chart: "t".into() });
    let none = ChartError::EmptySeries { chart: "t".into(), series: "b".into() };
    assert_eq!(lines().line("a", [(1.0, 1.0)]).line("b", []).draw().expect_err("empty"), none);
    assert_eq!(bars().series("b", [None, None]).draw().expect_err("empty"), none);
    let uneven = bars().series("b", [Some(Bar::new(1.0))]).draw().expect_err("uneven");
    assert_eq!(uneven, ChartError::Uneven { chart: "t".into(), series: "b".into(), bars: 1, groups: 2 });
}

#[test]
fn values_an_axis_cannot_show_are_refused_by_name() {
    for bad in [f64::NAN, f64::INFINITY] {
        let error = lines().line("a", [(1.0, 1.0)]).line("b", [(1.0, bad)]).draw().expect_err("not finite");
        assert!(matches!(&error, ChartError::NotFinite { series, axis, .. } if series == "b" && axis == "time"), "{error}");
        let error = bars().series("b", [Some(Bar::between(1.0, bad, 2.0)), None]).draw().expect_err("not finite");
        assert!(matches!(&error, ChartError::NotFinite { series, .. } if series == "b"), "{error}");
    }
    for bad in [0.0, -1.0] {
        let error = lines().line("b", [(bad, 1.0)]).draw().expect_err("not positive");
        assert!(matches!(&error, ChartError::NotPositive { series, axis, .. } if series == "b" && axis == "work"), "{error}");
    }
    assert!(bars().series("b", [Some(Bar::new(0.0)), Some(Bar::new(-1.0))]).draw().is_ok(), "a linear axis has both");
}

#[test]
fn text_is_escaped_wherever_it_stands() {
    let line = Lines::new(HOSTILE, Axis::linear(HOSTILE, Unit::Number), Axis::linear(HOSTILE, Unit::Number))
        .line(HOSTILE, [(0.0, 1.0), (1.0, 2.0)])
        .draw()
        .expect("draws");
    let bar = Bars::new(HOSTILE, [HOSTILE], Axis::linear("", Unit::Number))
        .series(HOSTILE, [Some(Bar::new(1.0))])
        .reference(HOSTILE, 1.0)
        .draw()
        .expect("draws");
    let page = Page::new(HOSTILE)
        .heading(HOSTILE)
        .prose(HOSTILE)
        .preformatted(HOSTILE)
        .table(Table::new([HOSTILE, "b"]).row([HOSTILE]))
        .chart(line)
        .chart(bar)
        .html();
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("alert('"), "a quote that is not escaped");
    assert!(page.matches("&lt;script&gt;").count() >= 14);
}

#[test]
fn a_page_needs_nothing_else() {
    let chart = bars().series("a", [Some(Bar::between(1.0, 0.5, 1.5)), None]).draw().expect("draws");
    let page = Page::new("t").chart(chart).html();
    // The one address is the name of SVG's namespace.
    assert_eq!(page.matches("http").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    for outside in ["<script", "<link", "<img", "@import", "url(", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}
