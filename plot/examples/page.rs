//! A page with one chart of each kind, on stdout: `cargo run -p tierup-plot --example page > page.html`.

use tierup_plot::{Axis, Bar, Bars, ChartError, Lines, Page, Table, Unit};

fn main() -> Result<(), ChartError> {
    let work = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.7];
    // A fixed cost and a slowdown each: what an engine's line looks like from afar.
    let engines: Vec<(String, f64, f64)> =
        (1..=12u32).map(|at| (format!("engine {at}"), 3e-3 / f64::from(at), 1.0 + f64::from(at * at) / 12.0)).collect();
    let time = |&(_, start, slower): &(String, f64, f64), work: f64| start + slower * work;

    let mut lines = Lines::new("Time against work", Axis::log("work", Unit::Seconds), Axis::log("time", Unit::Seconds));
    let mut bars = Bars::new("Slowdown", ["short", "long"], Axis::linear("multiple of the work", Unit::Times));
    let mut table = Table::new(["engine", "start", "slowdown"]);
    for engine in &engines {
        let (name, start, slower) = engine;
        lines = lines.line(name, work.map(|work| (work, time(engine, work))));
        let bar = |work: f64| Some(Bar::between(time(engine, work) / work, *slower, 1.1 * time(engine, work) / work));
        bars = bars.series(name, [bar(1e-2), bar(0.7)]);
        table = table.row([name.clone(), Unit::Seconds.label(*start), Unit::Times.label(*slower)]);
    }
    let best = work.map(|work| (work, engines.iter().map(|engine| time(engine, work)).fold(f64::INFINITY, f64::min)));
    let lines = lines.envelope("the best of them", best).draw()?;
    let page = Page::new("An example").prose("Made up.").chart(lines).chart(bars.reference("the work", 1.0).draw()?).table(table);
    print!("{}", page.html());
    Ok(())
}
