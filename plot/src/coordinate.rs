//! A range of positions with marks that were chosen beforehand, as the drawing library wants to hear of it.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Positions between two ends, in proportion. (The library's own ranges choose their marks themselves.)
pub(crate) struct Marked {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Where a label stands.
    pub(crate) major: Vec<f64>,
    /// Where none does.
    pub(crate) minor: Vec<f64>,
}

impl Ranged for Marked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value - self.low) / (self.high - self.low);
        (f64::from(from) + part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { self.minor.clone() } else { self.major.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}
