//! Steady state: each kernel's time as a multiple of native code's.

use tierup_plot::{Axis, Bar, Bars, Chart, ChartError, Unit};

use super::{Colours, yardstick};
use crate::engines::EngineId;
use crate::measure::Cell;
use crate::report::Report;
use crate::stats::geomean;

/// Compilers and interpreters apart: the one would be invisible beside the other.
pub(super) fn charts(report: &Report, colours: &Colours) -> Result<Vec<Chart>, ChartError> {
    let mut charts = Vec::new();
    for column in report.columns() {
        let cells: Vec<&Cell> = report.column(column).collect();
        for (kind, interprets) in [("compiled", false), ("interpreted", true)] {
            charts.extend(chart(report, colours, &cells, &format!("Steady state, {kind}; calls of {column}"), interprets)?);
        }
    }
    Ok(charts)
}

fn chart(
    report: &Report,
    colours: &Colours,
    cells: &[&Cell],
    title: &str,
    interprets: bool,
) -> Result<Option<Chart>, ChartError> {
    let yardstick = yardstick(report);
    let Some(base) = report.engines.iter().position(|engine| *engine == yardstick) else { return Ok(None) };
    let groups = cells.iter().map(|cell| cell.row.clone()).chain(["geomean".to_owned()]);
    let axis = Axis::linear(format!("multiple of {yardstick}'s time"), Unit::Times);
    let mut chart = Bars::new(title, groups, axis).reference(yardstick.name(), 1.0);
    let mut drawn = false;
    for (at, &engine) in report.engines.iter().enumerate() {
        if engine.interprets() != interprets || engine == EngineId::Native {
            continue;
        }
        let bar = |cell: &&Cell| {
            let (one, base) = (&cell.engines[at], cell.engines[base].median);
            let bar = Bar::between(one.median / base, one.min / base, one.max / base);
            bar.value.is_finite().then_some(bar)
        };
        let mut bars: Vec<Option<Bar>> = cells.iter().map(bar).collect();
        if bars.iter().all(Option::is_none) {
            continue;
        }
        let all: Option<Vec<f64>> = bars.iter().map(|bar| bar.map(|bar| bar.value)).collect();
        bars.push(all.map(|values| Bar::new(geomean(values))));
        chart = chart.series_in(colours.of(engine), engine.name(), bars);
        drawn = true;
    }
    if drawn { chart.draw().map(Some) } else { Ok(None) }
}
