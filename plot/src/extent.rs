//! How far a chart's values reach, and whether its axes can show them.

use crate::axis::{Axis, Scale};
use crate::error::ChartError;

/// The smallest and the largest value, all of which an axis can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Default for Extent {
    fn default() -> Self {
        Self { low: f64::INFINITY, high: f64::NEG_INFINITY }
    }
}

impl Extent {
    pub(crate) fn include(&mut self, chart: &str, series: &str, axis: &Axis, value: f64) -> Result<(), ChartError> {
        let (chart, series, label) = (chart.to_owned(), series.to_owned(), axis.label.clone());
        if !value.is_finite() {
            return Err(ChartError::NotFinite { chart, series, axis: label, value });
        }
        if axis.scale == Scale::Log && value <= 0.0 {
            return Err(ChartError::NotPositive { chart, series, axis: label, value });
        }
        self.low = self.low.min(value);
        self.high = self.high.max(value);
        Ok(())
    }
}
