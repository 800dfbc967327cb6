//! Warm-up: throughput over time.

use tierup_plot::{Axis, Chart, ChartError, Lines, Unit};

use super::{Colours, yardstick};
use crate::measure::{Cell, Measured};
use crate::report::Report;
use crate::stats::{geomean, median};

/// The mean over the kernels, in native code's speed, then each kernel's calls per second.
pub(super) fn charts(report: &Report, colours: &Colours) -> Result<Vec<Chart>, ChartError> {
    let mut charts = Vec::new();
    for column in report.columns() {
        let cells: Vec<&Cell> = report.column(column).collect();
        charts.extend(mean(report, colours, &cells, column)?);
        for cell in cells {
            charts.extend(one(report, colours, cell)?);
        }
    }
    Ok(charts)
}

fn mean(report: &Report, colours: &Colours, cells: &[&Cell], column: &str) -> Result<Option<Chart>, ChartError> {
    let yardstick = yardstick(report);
    let Some(base) = report.engines.iter().position(|engine| *engine == yardstick) else { return Ok(None) };
    // How fast it was in the end.
    let peaks: Vec<f64> =
        cells.iter().filter_map(|cell| curve(&cell.engines[base]).last().copied()).filter(|peak| *peak > 0.0).collect();
    if peaks.len() < cells.len() {
        return Ok(None);
    }
    let title = format!("Warm-up, geometric mean over the kernels; calls of {column}");
    let speed = Axis::log(format!("speed, of {yardstick}'s in the end"), Unit::Times);
    let mut chart = Lines::new(title, Axis::log("time since the bytes are there", Unit::Seconds), speed);
    let mut drawn = false;
    for (at, &engine) in report.engines.iter().enumerate() {
        let curves: Vec<Vec<f64>> = cells.iter().map(|cell| curve(&cell.engines[at])).collect();
        let at_window = |window: usize| {
            let rates = curves.iter().zip(&peaks).map(|(curve, peak)| curve.get(window).map_or(0.0, |rate| rate / peak));
            geomean(rates)
        };
        let points = points(&report.windows, (0..report.windows.len()).map(at_window));
        if !points.is_empty() {
            chart = chart.line_in(colours.of(engine), engine.name(), points);
            drawn = true;
        }
    }
    if drawn { chart.draw().map(Some) } else { Ok(None) }
}

fn one(report: &Report, colours: &Colours, cell: &Cell) -> Result<Option<Chart>, ChartError> {
    let title = format!("Warm-up: {}, calls of {}", cell.row, cell.column);
    let time = Axis::log("time since the bytes are there", Unit::Seconds);
    let mut chart = Lines::new(title, time, Axis::log("calls per second", Unit::Number));
    let mut drawn = false;
    for measured in &cell.engines {
        let points = points(&report.windows, curve(measured));
        if !points.is_empty() {
            chart = chart.line_in(colours.of(measured.engine), measured.engine.name(), points);
            drawn = true;
        }
    }
    if drawn { chart.draw().map(Some) } else { Ok(None) }
}

/// The median of the samples, window by window.
fn curve(measured: &Measured) -> Vec<f64> {
    let windows = measured.curves.iter().map(Vec::len).min().unwrap_or(0);
    let at = |window| median(&measured.curves.iter().map(|curve| curve[window]).collect::<Vec<f64>>());
    (0..windows).map(at).collect()
}

/// Windows in which nothing was done have no place on a logarithmic axis. The others lie in their middle, as such an axis has it.
fn points(windows: &[f64], rates: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
    let begins = std::iter::once(windows.first().map_or(0.0, |end| end / 4.0)).chain(windows.iter().copied());
    let middles = begins.zip(windows).map(|(begin, end)| (begin * end).sqrt());
    middles.zip(rates).filter(|(_, rate)| *rate > 0.0 && rate.is_finite()).collect()
}
