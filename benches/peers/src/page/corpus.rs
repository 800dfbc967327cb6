//! Whole processes: each program's time as a multiple of the fastest engine's.

use tierup_plot::{Axis, Bar, Bars, Chart, ChartError, Unit};

use super::Colours;
use crate::measure::Cell;
use crate::report::Report;

/// A chart per length of the programs' input.
pub(super) fn charts(report: &Report, colours: &Colours) -> Result<Vec<Chart>, ChartError> {
    let mut charts = Vec::new();
    for column in report.columns() {
        let cells: Vec<&Cell> = report.column(column).collect();
        charts.extend(chart(report, colours, &cells, &format!("Whole processes: {column}"))?);
    }
    Ok(charts)
}

fn chart(report: &Report, colours: &Colours, cells: &[&Cell], title: &str) -> Result<Option<Chart>, ChartError> {
    let fastest = |cell: &Cell| cell.engines.iter().map(|one| one.median).fold(f64::NAN, f64::min);
    let axis = Axis::linear("multiple of the fastest engine's time", Unit::Times);
    let mut chart = Bars::new(title, cells.iter().map(|cell| cell.row.clone()), axis);
    let mut drawn = false;
    for (at, &engine) in report.engines.iter().enumerate() {
        let bar = |cell: &&Cell| {
            let (one, base) = (&cell.engines[at], fastest(cell));
            let bar = Bar::between(one.median / base, one.min / base, one.max / base);
            bar.value.is_finite().then_some(bar)
        };
        let bars: Vec<Option<Bar>> = cells.iter().map(bar).collect();
        if bars.iter().any(Option::is_some) {
            chart = chart.series_in(colours.of(engine), engine.name(), bars);
            drawn = true;
        }
    }
    if drawn { chart.draw().map(Some) } else { Ok(None) }
}
