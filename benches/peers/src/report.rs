//! The report: everything as JSON, and as tables a person reads.

use std::fmt::Write;

use serde::Serialize;

use crate::engines::EngineId;
use crate::error::Error;
use crate::machine::{self, Machine};
use crate::measure::{Cell, Measured, Pair, Verdict};
use crate::options::Plan;
use crate::stats::{geomean, geomean_interval};

/// One run of one experiment.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    experiment: &'static str,
    subject: EngineId,
    engines: Vec<EngineId>,
    machine: Machine,
    load_at_end: f64,
    cells: Vec<Cell>,
    geomeans: Vec<Geomean>,
}

/// The subject against one peer over all rows of a column.
#[derive(Debug, Serialize)]
struct Geomean {
    column: String,
    peer: EngineId,
    /// Geometric mean of the rows' median ratios (subject / peer).
    ratio: f64,
    /// 95 % bootstrap interval.
    interval: Option<(f64, f64)>,
    rows: usize,
}

impl Report {
    pub(crate) fn new(
        experiment: &'static str,
        subject: EngineId,
        engines: Vec<EngineId>,
        machine: Machine,
        cells: Vec<Cell>,
    ) -> Self {
        let mut report =
            Self { experiment, subject, engines, machine, load_at_end: machine::load(), cells, geomeans: Vec::new() };
        report.geomeans = report.geomeans();
        report
    }

    /// Whether any engine failed in any cell.
    pub(crate) fn has_failures(&self) -> bool {
        self.failures().next().is_some()
    }

    /// Prints the tables, and writes the files the plan names.
    pub(crate) fn write(&self, plan: &Plan) -> Result<(), Error> {
        let markdown = self.markdown();
        print!("{markdown}");
        if let Some(path) = &plan.markdown {
            std::fs::write(path, &markdown).map_err(Error::file(path))?;
        }
        if let Some(path) = &plan.json {
            let json = serde_json::to_string_pretty(self)?;
            std::fs::write(path, json).map_err(Error::file(path))?;
        }
        Ok(())
    }

    fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !columns.contains(&cell.column.as_str()) {
                columns.push(&cell.column);
            }
        }
        columns
    }

    fn failures(&self) -> impl Iterator<Item = (&Cell, &Measured, &str)> {
        self.cells.iter().flat_map(|cell| {
            let failed = move |one| Measured::failure(one).map(|why| (cell, one, why));
            cell.engines.iter().filter_map(failed)
        })
    }

    fn geomeans(&self) -> Vec<Geomean> {
        let mut geomeans = Vec::new();
        for column in self.columns() {
            for &peer in &self.engines {
                let in_column = self.cells.iter().filter(|cell| cell.column == column);
                let pairs: Vec<&Pair> = in_column.flat_map(|cell| cell.pairs.iter().filter(|pair| pair.peer == peer)).collect();
                if pairs.is_empty() {
                    continue;
                }
                let ratios: Vec<Vec<f64>> = pairs.iter().map(|pair| pair.ratios.clone()).collect();
                geomeans.push(Geomean {
                    column: column.to_owned(),
                    peer,
                    ratio: geomean(pairs.iter().map(|pair| pair.median)),
                    interval: geomean_interval(&ratios),
                    rows: pairs.len(),
                });
            }
        }
        geomeans
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.render(&mut text);
        text
    }

    fn render(&self, out: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
        writeln!(out, "# {}\n", self.experiment)?;
        writeln!(
            out,
            "{} cores of {}, Linux {}; commit {}; time {}; load {:.2} at the start, {:.2} at the end.\n",
            machine.cores, machine.cpu, machine.kernel, machine.commit, machine.time, machine.load_at_start, self.load_at_end
        )?;
        for column in self.columns() {
            self.render_column(out, column)?;
        }
        if self.has_failures() {
            writeln!(out, "Failures:\n")?;
            for (cell, measured, why) in self.failures() {
                writeln!(out, "- {} {} {}: {why}", cell.row, cell.column, measured.engine)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn render_column(&self, out: &mut String, column: &str) -> std::fmt::Result {
        let subject = self.subject;
        writeln!(
            out,
            "## {column}\n\nMedian (min .. max); in brackets {subject}'s time divided by the engine's, with its 95 % interval; \"?\": not decided.\n"
        )?;
        write!(out, "| |")?;
        for engine in &self.engines {
            write!(out, " {engine} |")?;
        }
        writeln!(out, "\n|---|{}", "---|".repeat(self.engines.len()))?;
        let cells: Vec<&Cell> = self.cells.iter().filter(|cell| cell.column == column).collect();
        for cell in &cells {
            write!(out, "| {} |", cell.row)?;
            for measured in &cell.engines {
                let pair = cell.pairs.iter().find(|pair| pair.peer == measured.engine);
                write!(out, " {} |", entry(measured, pair))?;
            }
            writeln!(out)?;
        }
        write!(out, "| **geomean** |")?;
        for (at, &engine) in self.engines.iter().enumerate() {
            let medians: Vec<f64> =
                cells.iter().map(|cell| cell.engines[at].median).filter(|median| median.is_finite()).collect();
            let time = match medians.len() {
                0 => "-".to_owned(),
                rows if rows == cells.len() => seconds(geomean(medians)),
                rows => format!("{} ({rows} of {})", seconds(geomean(medians)), cells.len()),
            };
            let of = self.geomeans.iter().find(|mean| mean.column == column && mean.peer == engine);
            let versus = of.map_or(String::new(), |mean| format!(" [{}]", ratio(mean.ratio, mean.interval)));
            write!(out, " **{time}**{versus} |")?;
        }
        writeln!(out, "\n")?;
        self.render_costs(out, &cells)
    }

    /// Compile time and code size of the engines that tell.
    fn render_costs(&self, out: &mut String, cells: &[&Cell]) -> std::fmt::Result {
        let tells = |at: &usize| cells.iter().any(|cell| cell.engines[*at].cost.is_some());
        let telling: Vec<usize> = (0..self.engines.len()).filter(tells).collect();
        if telling.is_empty() {
            return Ok(());
        }
        write!(out, "Time spent compiling, and bytes of machine code:\n\n| |")?;
        for &at in &telling {
            write!(out, " {} |", self.engines[at])?;
        }
        writeln!(out, "\n|---|{}", "---|".repeat(telling.len()))?;
        for cell in cells {
            write!(out, "| {} |", cell.row)?;
            for &at in &telling {
                match cell.engines[at].cost {
                    Some(cost) => write!(out, " {}, {} |", seconds(cost.compile), cost.code)?,
                    None => write!(out, " - |")?,
                }
            }
            writeln!(out)?;
        }
        writeln!(out)
    }
}

impl Measured {
    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

fn entry(measured: &Measured, pair: Option<&Pair>) -> String {
    if measured.samples.is_empty() {
        return "failed".to_owned();
    }
    let mut text = format!("{} ({} .. {})", seconds(measured.median), seconds(measured.min), seconds(measured.max));
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
    }
}
