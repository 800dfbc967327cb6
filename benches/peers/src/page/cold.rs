//! Time against work, a line per engine, and the envelope: the best that any peer reaches at each size.

use tierup_plot::{Axis, Chart, ChartError, Lines, Unit};

use super::Colours;
use crate::engines::EngineId;
use crate::kernels;
use crate::measure::Cell;
use crate::report::Report;
use crate::stats::geomean;

/// Over all kernels, then each.
pub(super) fn charts(report: &Report, colours: &Colours) -> Result<Vec<Chart>, ChartError> {
    let all: Vec<(&str, Vec<&Cell>)> = report.columns().iter().map(|column| (*column, report.column(column).collect())).collect();
    let mut charts = vec![chart("Time against work, geometric mean over the kernels".to_owned(), report, colours, &all)?];
    let mut rows: Vec<&str> = Vec::new();
    for cell in &report.cells {
        if !rows.contains(&cell.row.as_str()) {
            rows.push(&cell.row);
        }
    }
    if rows.len() > 1 {
        for row in rows {
            let of_row =
                all.iter().map(|(column, cells)| (*column, cells.iter().copied().filter(|cell| cell.row == row).collect()));
            let one: Vec<(&str, Vec<&Cell>)> = of_row.collect();
            charts.push(chart(format!("Time against work: {row}"), report, colours, &one)?);
        }
    }
    Ok(charts)
}

/// A chart of the geometric means over some cells of each column.
fn chart(title: String, report: &Report, colours: &Colours, cells: &[(&str, Vec<&Cell>)]) -> Result<Chart, ChartError> {
    let mut chart = Lines::new(title, Axis::log("work (native time, about)", Unit::Seconds), Axis::log("time", Unit::Seconds));
    let mut envelope: Vec<(f64, f64)> = Vec::new();
    for (at, &engine) in report.engines.iter().enumerate() {
        let mut points = Vec::new();
        for (column, cells) in cells {
            let medians: Vec<f64> =
                cells.iter().map(|cell| cell.engines[at].median).filter(|median| median.is_finite()).collect();
            // A mean over fewer kernels than the other engines' would lie elsewhere.
            if let (Some(work), true) = (kernels::work(column), !cells.is_empty() && medians.len() == cells.len()) {
                points.push((work, geomean(medians)));
            }
        }
        if !engine.is_ours() && engine != EngineId::Native {
            for &(work, time) in &points {
                match envelope.iter_mut().find(|best| best.0 == work) {
                    Some(best) => best.1 = best.1.min(time),
                    None => envelope.push((work, time)),
                }
            }
        }
        if !points.is_empty() {
            chart = chart.line_in(colours.of(engine), engine.name(), points);
        }
    }
    envelope.sort_by(|one, other| one.0.total_cmp(&other.0));
    if !envelope.is_empty() {
        chart = chart.envelope("best peer", envelope);
    }
    chart.draw()
}
