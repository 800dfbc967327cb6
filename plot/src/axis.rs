//! An axis: what it shows, on which scale, in which unit.

use crate::unit::Unit;

/// How values become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences, equal lengths. Starts at zero unless a value is negative.
    Linear,
    /// Equal ratios, equal lengths. Takes positive values only.
    Log,
}

impl Scale {
    /// Where the value lies along the axis.
    pub(crate) fn position(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
        }
    }

    /// The value that lies there.
    pub(crate) fn value(self, position: f64) -> f64 {
        match self {
            Self::Linear => position,
            Self::Log => 10f64.powf(position),
        }
    }
}

/// One axis of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What is said beside it.
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
    /// How values are written.
    pub unit: Unit,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), scale: Scale::Linear, unit }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), scale: Scale::Log, unit }
    }
}
