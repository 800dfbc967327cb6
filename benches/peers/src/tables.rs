//! The tables of a report, as text that both Markdown and the page show.

use std::fmt::Write;

use tierup_plot::Unit;

use crate::experiment::Experiment;
use crate::measure::{Cell, Measured, Pair, Verdict};
use crate::report::Report;
use crate::stats::geomean;

/// Rows under a header, and what to know about them.
#[derive(Debug)]
pub(crate) struct Grid {
    /// Of the column of the experiment that it shows; the tables after the first of a column have none.
    pub(crate) heading: Option<String>,
    pub(crate) note: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// All tables of a report, in order.
pub(crate) fn grids(report: &Report) -> Vec<Grid> {
    let mut grids = Vec::new();
    for column in report.columns() {
        let cells: Vec<&Cell> = report.column(column).collect();
        grids.push(times(report, column, &cells));
        if report.experiment == Experiment::Steady {
            grids.extend(costs(report, &cells));
            grids.extend(memory(report, &cells));
        }
    }
    grids
}

fn times(report: &Report, column: &str, cells: &[&Cell]) -> Grid {
    let subject = report.subject;
    let mut rows = Vec::new();
    for cell in cells {
        let mut row = vec![cell.row.clone()];
        for measured in &cell.engines {
            row.push(entry(measured, cell.pairs.iter().find(|pair| pair.peer == measured.engine)));
        }
        rows.push(row);
    }
    let mut means = vec!["geomean".to_owned()];
    for (at, &engine) in report.engines.iter().enumerate() {
        let medians: Vec<f64> = cells.iter().map(|cell| cell.engines[at].median).filter(|median| median.is_finite()).collect();
        let mut text = match medians.len() {
            0 => "-".to_owned(),
            rows if rows == cells.len() => seconds(geomean(medians)),
            rows => format!("{} ({rows} of {})", seconds(geomean(medians)), cells.len()),
        };
        if let Some(mean) = report.geomeans.iter().find(|mean| mean.column == column && mean.peer == engine) {
            let _ = write!(text, " [{}]", ratio(mean.ratio, mean.interval));
        }
        means.push(text);
    }
    rows.push(means);
    let what = match report.experiment {
        Experiment::Warmup => "Time per call, all that came before the first included; median",
        _ => "Median",
    };
    let note = format!(
        "{what} (min .. max); in brackets {subject}'s time divided by the engine's, with its 95 % interval; \"?\": not decided."
    );
    Grid { heading: Some(column.to_owned()), note, header: header(report, 0..report.engines.len()), rows }
}

/// Compile time and code size of the engines that tell.
fn costs(report: &Report, cells: &[&Cell]) -> Option<Grid> {
    let note = "Time spent compiling, and bytes of machine code, where the engine tells:";
    told(report, cells, note, |one| {
        one.cost.map(|cost| format!("{}, {}", seconds(cost.compile), Unit::Bytes.label(cost.code as f64)))
    })
}

fn memory(report: &Report, cells: &[&Cell]) -> Option<Grid> {
    let note = "The most memory the process had (its peak resident set; without processes that it started):";
    told(report, cells, note, |one| one.peak_rss.map(|bytes| Unit::Bytes.label(bytes as f64)))
}

/// A table of what not every engine tells, with those that do.
fn told(report: &Report, cells: &[&Cell], note: &str, tell: impl Fn(&Measured) -> Option<String>) -> Option<Grid> {
    let tells = |at: &usize| cells.iter().any(|cell| tell(&cell.engines[*at]).is_some());
    let telling: Vec<usize> = (0..report.engines.len()).filter(tells).collect();
    if telling.is_empty() {
        return None;
    }
    let row = |cell: &&Cell| {
        let told = telling.iter().map(|&at| tell(&cell.engines[at]).unwrap_or_else(|| "-".to_owned()));
        std::iter::once(cell.row.clone()).chain(told).collect()
    };
    let rows = cells.iter().map(row).collect();
    Some(Grid { heading: None, note: note.to_owned(), header: header(report, telling), rows })
}

fn header(report: &Report, engines: impl IntoIterator<Item = usize>) -> Vec<String> {
    let names = engines.into_iter().map(|at| report.engines[at].name().to_owned());
    std::iter::once(String::new()).chain(names).collect()
}

fn entry(measured: &Measured, pair: Option<&Pair>) -> String {
    if measured.samples.is_empty() {
        return if measured.failure.is_some() { "failed" } else { "-" }.to_owned();
    }
    let mut text = seconds(measured.median);
    if measured.samples.len() > 1 {
        let _ = write!(text, " ({} .. {})", seconds(measured.min), seconds(measured.max));
    }
    if let Some(pair) = pair {
        let mark = if pair.verdict == Verdict::Undecided { "?" } else { "" };
        let _ = write!(text, " [{}{mark}]", ratio(pair.median, pair.interval));
    }
    text
}

fn ratio(value: f64, interval: Option<(f64, f64)>) -> String {
    match interval {
        Some((low, high)) => format!("{value:.3}: {low:.3}-{high:.3}"),
        None => format!("{value:.3}"),
    }
}

/// Three or four significant digits and a unit.
fn seconds(value: f64) -> String {
    // The sum of nothing is -0.0.
    let value = value + 0.0;
    if !value.is_finite() {
        "-".to_owned()
    } else if value < 1e-3 {
        format!("{:.0} us", value * 1e6)
    } else if value < 1.0 {
        format!("{:.2} ms", value * 1e3)
    } else {
        format!("{value:.3} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(seconds(12.34e-6), "12 us");
        assert_eq!(seconds(12.34e-3), "12.34 ms");
        assert_eq!(seconds(2.5), "2.500 s");
        assert_eq!(seconds(f64::NAN), "-");
        assert_eq!(seconds(-0.0), "0 us");
    }
}
