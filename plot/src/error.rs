//! Why a chart cannot be drawn.

/// A chart that was refused, and the place in it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// There is nothing to draw.
    #[error("chart `{chart}`: it has no series")]
    NoSeries {
        /// The chart's title.
        chart: String,
    },
    /// A series without a value.
    #[error("chart `{chart}`: series `{series}` is empty")]
    EmptySeries {
        /// The chart's title.
        chart: String,
        /// The series' name.
        series: String,
    },
    /// NaN or an infinity.
    #[error("chart `{chart}`: series `{series}` has the value {value} on the axis `{axis}`")]
    NotFinite {
        /// The chart's title.
        chart: String,
        /// The series' name.
        series: String,
        /// The axis' label.
        axis: String,
        /// The value.
        value: f64,
    },
    /// Zero or less where the axis is logarithmic.
    #[error("chart `{chart}`: series `{series}` has the value {value} on the logarithmic axis `{axis}`")]
    NotPositive {
        /// The chart's title.
        chart: String,
        /// The series' name.
        series: String,
        /// The axis' label.
        axis: String,
        /// The value.
        value: f64,
    },
    /// A series with more or fewer bars than there are groups.
    #[error("chart `{chart}`: series `{series}` has {bars} bars for {groups} groups")]
    Uneven {
        /// The chart's title.
        chart: String,
        /// The series' name.
        series: String,
        /// How many bars it has.
        bars: usize,
        /// How many it should have.
        groups: usize,
    },
    /// The drawing library refused.
    #[error("chart `{chart}`: {message}")]
    Drawing {
        /// The chart's title.
        chart: String,
        /// What it said.
        message: String,
    },
}
