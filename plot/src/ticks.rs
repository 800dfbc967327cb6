//! The marks of an axis: round values that enclose what is drawn.

use crate::axis::Scale;

/// An axis' range and its marks, as values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Marks with a label.
    pub(crate) major: Vec<f64>,
    /// Marks without one.
    pub(crate) minor: Vec<f64>,
}

impl Ticks {
    /// Marks around `low..=high`; both are finite, and positive for [`Scale::Log`].
    pub(crate) fn around(scale: Scale, low: f64, high: f64) -> Self {
        match scale {
            Scale::Linear => linear(low, high),
            Scale::Log => log(low, high),
        }
    }
}

/// About six marks, a power of ten times 1, 2 or 5 apart, with zero among them.
fn linear(low: f64, high: f64) -> Ticks {
    let low = low.min(0.0);
    let high = if high.max(0.0) > low { high.max(0.0) } else { 1.0 };
    let raw = (high - low) / 6.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    let major: Vec<f64> = (first..=last).map(|at| at as f64 * step).collect();
    Ticks { low: first as f64 * step, high: last as f64 * step, major, minor: Vec::new() }
}

/// Powers of ten; 1, 2 and 5 times them where there are few. The range ends at such a mark on both sides.
fn log(low: f64, high: f64) -> Ticks {
    // Rounding of log10 and powi must not push a mark that equals the end beyond it.
    const SLACK: f64 = 1e-9;
    let round = |decade: i32, times: f64| times * 10f64.powi(decade);
    let (first, last) = (low.log10().floor() as i32 - 1, high.log10().ceil() as i32 + 1);
    let marks: Vec<f64> = (first..=last).flat_map(|decade| [1.0, 2.0, 5.0].map(|times| round(decade, times))).collect();
    let mut from = marks.iter().copied().filter(|mark| *mark <= low * (1.0 + SLACK)).fold(marks[0], f64::max);
    let mut to = marks.iter().copied().filter(|mark| *mark >= high * (1.0 - SLACK)).fold(f64::MAX, f64::min);
    if to <= from {
        (from, to) = (from / 2.0, to * 2.0);
    }
    let within = |value: &f64| *value >= from * (1.0 - SLACK) && *value <= to * (1.0 + SLACK);
    let decades = (to / from).log10();
    let labelled: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    // Past ten decades labels would touch: every second, every third, ...
    let every = (decades / 10.0).ceil().max(1.0) as i32;
    let decades = first..=last;
    let major = decades.clone().filter(|decade| decade.rem_euclid(every) == 0);
    let major = major.flat_map(|decade| labelled.iter().map(move |times| round(decade, *times))).filter(within).collect();
    let minor = decades.flat_map(|decade| (2..10).map(move |times| round(decade, f64::from(times)))).filter(within).collect();
    Ticks { low: from, high: to, major, minor }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len(), "{got:?} {want:?}");
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= want.abs() * 1e-12, "{got} {want}");
        }
    }

    #[test]
    fn decades_over_a_wide_range() {
        let ticks = Ticks::around(Scale::Log, 1e-5, 0.7);
        close(&ticks.major, &[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]);
        close(&[ticks.low, ticks.high], &[1e-5, 1.0]);
        assert_eq!(ticks.minor.len(), 5 * 8);
        close(&ticks.minor[..3], &[2e-5, 3e-5, 4e-5]);
    }

    #[test]
    fn one_two_five_over_a_narrow_range() {
        close(&Ticks::around(Scale::Log, 3.0, 47.0).major, &[2.0, 5.0, 10.0, 20.0, 50.0]);
        close(&Ticks::around(Scale::Log, 10.0, 10.0).major, &[5.0, 10.0, 20.0]);
    }

    #[test]
    fn few_labels_over_a_very_wide_range() {
        let ticks = Ticks::around(Scale::Log, 1e-12, 1e12);
        assert!(ticks.major.len() <= 11, "{:?}", ticks.major);
        assert!(ticks.major.contains(&1.0));
    }

    #[test]
    fn linear_marks() {
        close(&Ticks::around(Scale::Linear, 0.3, 2.9).major, &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        close(&Ticks::around(Scale::Linear, -1.0, 1.0).major, &[-1.0, -0.5, 0.0, 0.5, 1.0]);
        close(&Ticks::around(Scale::Linear, 0.0, 0.0).major, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    }

    #[test]
    fn marks_enclose_the_values() {
        for scale in [Scale::Linear, Scale::Log] {
            for (low, high) in [(1e-7, 3e-7), (0.999, 1.001), (5.0, 5e5), (17.0, 18.0)] {
                let ticks = Ticks::around(scale, low, high);
                assert!(ticks.low <= low && high <= ticks.high * (1.0 + 1e-9), "{scale:?} {low} {high} {ticks:?}");
                assert!(ticks.major.len() >= 2 && ticks.major.len() <= 11, "{ticks:?}");
            }
        }
    }
}
