//! What a value counts, and so how it is written beside an axis.

/// What the values of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers: `200`, `20k`, `2M`.
    Number,
    /// Seconds: `20 us`, `20 ms`, `20 s`.
    Seconds,
    /// Bytes, in decimal multiples: `20 B`, `20 kB`, `2 MB`.
    Bytes,
    /// A multiple of something: `1.5x`.
    Times,
}

impl Unit {
    /// The value as text.
    pub fn label(self, value: f64) -> String {
        let magnitude = value.abs();
        let (divisor, suffix) = match self {
            Self::Number => decimal(magnitude, 1e4, ["", "k", "M", "G", "T"]),
            Self::Bytes => decimal(magnitude, 1e3, [" B", " kB", " MB", " GB", " TB"]),
            Self::Times => (1.0, "x"),
            Self::Seconds if magnitude == 0.0 => (1.0, " s"),
            Self::Seconds if magnitude < 0.999e-6 => (1e-9, " ns"),
            Self::Seconds if magnitude < 0.999e-3 => (1e-6, " us"),
            Self::Seconds if magnitude < 0.999 => (1e-3, " ms"),
            Self::Seconds => (1.0, " s"),
        };
        format!("{}{suffix}", short(value / divisor))
    }
}

/// The multiple of a thousand to count in; below `from` there is none.
fn decimal(magnitude: f64, from: f64, suffixes: [&'static str; 5]) -> (f64, &'static str) {
    let mut divisor = 1.0;
    let mut at = 0;
    if magnitude >= from * 0.999 {
        while at + 1 < suffixes.len() && magnitude >= divisor * 999.0 {
            divisor *= 1e3;
            at += 1;
        }
    }
    (divisor, suffixes[at])
}

/// Three significant digits, without the zeros at the end.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..6.0).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let decimals = (2.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for (unit, value, text) in [
            (Unit::Number, 0.0, "0"),
            (Unit::Number, 2000.0, "2000"),
            (Unit::Number, 20_000.0, "20k"),
            (Unit::Number, 0.25, "0.25"),
            (Unit::Number, -3e6, "-3M"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::Seconds, 1e-9, "1 ns"),
            (Unit::Seconds, 1e-5, "10 us"),
            (Unit::Seconds, 1e-3, "1 ms"),
            (Unit::Seconds, 0.1, "100 ms"),
            (Unit::Seconds, 2.5, "2.5 s"),
            (Unit::Bytes, 500.0, "500 B"),
            (Unit::Bytes, 1e6, "1 MB"),
            (Unit::Times, 1.5, "1.5x"),
            (Unit::Times, 40.0, "40x"),
        ] {
            assert_eq!(unit.label(value), text);
        }
    }
}
