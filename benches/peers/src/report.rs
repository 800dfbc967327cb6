//! One run of one experiment, as it is kept: every sample, and what was made of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engines::EngineId;
use crate::error::Error;
use crate::experiment::Experiment;
use crate::machine::{self, Machine};
use crate::markdown;
use crate::measure::{Cell, Measured, Pair};
use crate::options::Outputs;
use crate::page;
use crate::stats::{geomean, geomean_interval};

/// One run of one experiment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) experiment: Experiment,
    pub(crate) subject: EngineId,
    pub(crate) engines: Vec<EngineId>,
    pub(crate) machine: Machine,
    pub(crate) load_at_end: f64,
    /// Of a warm-up: where the curves' windows end, in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) windows: Vec<f64>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) geomeans: Vec<Geomean>,
}

/// The subject against one peer over all rows of a column.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Geomean {
    pub(crate) column: String,
    pub(crate) peer: EngineId,
    /// Geometric mean of the rows' median ratios (subject / peer).
    pub(crate) ratio: f64,
    /// 95 % bootstrap interval.
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) rows: usize,
}

impl Report {
    pub(crate) fn new(
        experiment: Experiment,
        subject: EngineId,
        engines: Vec<EngineId>,
        machine: Machine,
        windows: Vec<f64>,
        cells: Vec<Cell>,
    ) -> Self {
        let load_at_end = machine::load();
        let mut report = Self { experiment, subject, engines, machine, load_at_end, windows, cells, geomeans: Vec::new() };
        report.geomeans = report.geomeans();
        report
    }

    /// Whether any engine failed in any cell.
    pub(crate) fn has_failures(&self) -> bool {
        self.failures().next().is_some()
    }

    /// Where, when and of what the samples are.
    pub(crate) fn circumstances(&self) -> String {
        let Machine { cpu, cores, kernel, load_at_start, commit, .. } = &self.machine;
        let rounds = self.cells.iter().flat_map(|cell| cell.engines.iter()).map(|one| one.samples.len());
        let (fewest, most) =
            rounds.filter(|rounds| *rounds > 0).fold((usize::MAX, 0), |(low, high), n| (low.min(n), high.max(n)));
        format!(
            "{cores} processors of {cpu}, Linux {kernel}; commit {commit}; {}; {fewest} to {most} samples a cell; load {load_at_start:.2} at the start, {:.2} at the end.",
            self.machine.date(),
            self.load_at_end
        )
    }

    /// The cells of a column.
    pub(crate) fn column<'r>(&'r self, column: &'r str) -> impl Iterator<Item = &'r Cell> {
        self.cells.iter().filter(move |cell| cell.column == column)
    }

    /// The columns of the tables, in the order they were measured.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !columns.contains(&cell.column.as_str()) {
                columns.push(&cell.column);
            }
        }
        columns
    }

    /// What went wrong, and where.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&Cell, &Measured, &str)> {
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
}

impl Measured {
    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// A text file that goes on the page as it is.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What a file holds that `--json` wrote: one report in older ones, else several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Many(Vec<Report>),
    One(Box<Report>),
}

/// Reads what [`write()`] wrote as JSON.
pub(crate) fn read(path: &Path) -> Result<Vec<Report>, Error> {
    let text = std::fs::read(path).map_err(Error::file(path))?;
    let kept = serde_json::from_slice(&text).map_err(|source| Error::Foreign { path: path.to_owned(), source })?;
    Ok(match kept {
        Kept::Many(reports) => reports,
        Kept::One(report) => vec![*report],
    })
}

/// Reads a file to be attached.
pub(crate) fn attachment(path: &Path) -> Result<Attachment, Error> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Attachment { name, text: std::fs::read_to_string(path).map_err(Error::file(path))? })
}

/// Prints the tables, and writes the files that are wanted.
pub(crate) fn write(reports: &[Report], attached: &[Attachment], outputs: &Outputs) -> Result<(), Error> {
    let markdown = markdown::markdown(reports, attached);
    print!("{markdown}");
    let write = |path: &Option<_>, text: &str| match path {
        Some(path) => std::fs::write(path, text).map_err(Error::file(path)),
        None => Ok(()),
    };
    write(&outputs.markdown, &markdown)?;
    if outputs.json.is_some() {
        write(&outputs.json, &serde_json::to_string(reports)?)?;
    }
    if outputs.html.is_some() {
        write(&outputs.html, &page::page(reports, attached)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written before there were warm-up curves and memory, and an engine that failed.
    const OLDER: &str = r#"{
        "experiment": "cold", "subject": "tierup-auto", "engines": ["tierup-auto", "wasmi"],
        "machine": {"cpu": "c", "cores": 2, "kernel": "k", "load_at_start": 0.5, "commit": "abc", "time": 0},
        "load_at_end": 0.5,
        "cells": [{"row": "fib", "column": "1ms", "engines": [
            {"engine": "tierup-auto", "samples": [0.001], "median": 0.001, "min": 0.001, "max": 0.001, "cost": null, "failure": null},
            {"engine": "wasmi", "samples": [], "median": null, "min": null, "max": null, "cost": null, "failure": "no"}],
            "pairs": []}],
        "geomeans": []}"#;

    #[test]
    fn older_files_are_read() {
        let Kept::One(report) = serde_json::from_str(OLDER).expect("reads") else { panic!("one report") };
        assert!(report.cells[0].engines[1].median.is_nan());
        assert!(report.has_failures());
        let page = page::page(&[*report], &[]).expect("draws");
        assert!(page.contains("<svg") && page.contains("wasmi: no"), "{page}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let Kept::One(report) = serde_json::from_str(OLDER).expect("reads") else { panic!("one report") };
        let text = serde_json::to_string(&[&report]).expect("writes");
        let Kept::Many(again) = serde_json::from_str(&text).expect("reads") else { panic!("many reports") };
        assert_eq!(serde_json::to_string(&again).expect("writes"), text);
    }

    #[test]
    fn strangers_are_refused() {
        assert!(serde_json::from_str::<Kept>(&OLDER.replace("wasmi", "wasm9")).is_err());
        assert!(serde_json::from_str::<Kept>("{}").is_err());
    }
}
