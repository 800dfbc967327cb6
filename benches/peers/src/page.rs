//! Reports as one page: for each its charts, then its tables.

mod cold;
mod corpus;
mod steady;
mod warmup;

use tierup_plot::{Chart, ChartError, Page, Table};

use crate::engines::EngineId;
use crate::error::Error;
use crate::experiment::Experiment;
use crate::report::{Attachment, Report};
use crate::tables::grids;

/// All reports, and what is attached, as one HTML file.
pub(crate) fn page(reports: &[Report], attached: &[Attachment]) -> Result<String, Error> {
    let mut page = Page::new("Tierup and its peers on the same bytes").prose(
        "Every sample is taken in a fresh process, and what it answers is compared with what every other engine answers. Engines take \
         turns, sample by sample. Times are medians; error bars go from the smallest sample to the largest.",
    );
    let colours = Colours::new(reports);
    for report in reports {
        let (title, prose) = about(report.experiment);
        page = page.heading(title).prose(prose).prose(&report.circumstances());
        for chart in charts(report, &colours)? {
            page = page.chart(chart);
        }
        for grid in grids(report) {
            if let Some(heading) = &grid.heading {
                page = page.subheading(heading);
            }
            let rows = grid.rows.iter().map(|row| row.iter().map(|cell| in_lines(cell)));
            let table = rows.fold(Table::new(grid.header), Table::row);
            page = page.prose(&grid.note).table(table);
        }
        for (cell, measured, why) in report.failures() {
            page = page.prose(&format!("Failed: {} {} {}: {why}", cell.row, cell.column, measured.engine));
        }
    }
    for Attachment { name, text } in attached {
        page = page.heading(name).preformatted(text);
    }
    Ok(page.html())
}

/// A figure above its spread and its ratio: side by side they would make a table that nobody sees whole.
fn in_lines(cell: &str) -> String {
    cell.replace(" (", "\n(").replace(" [", "\n[")
}

fn about(experiment: Experiment) -> (&'static str, &'static str) {
    match experiment {
        Experiment::Cold => (
            "From bytes to the result",
            "From the module's bytes in memory, before the engine exists, to the result of one call. The work is what native code \
             takes about so long for. Process start is not in it.",
        ),
        Experiment::Steady => ("Steady state", "The fastest call after a warm-up in the same process."),
        Experiment::Warmup => (
            "Warm-up",
            "One short call after another, from the moment the bytes are there: how fast the work goes in each window of time. Windows \
             grow; a call that is longer than a window counts in each by its part. A line begins where all that it is a mean of have begun.",
        ),
        Experiment::Corpus => (
            "Real programs, whole processes",
            "From before the process exists until it has ended and its output is read; the output is compared with the expected one. \
             Each engine compiles anew: there is no cache.",
        ),
        Experiment::SqliteSelect1 => ("The smallest run of sqlite", "A whole process: start, one statement, exit."),
    }
}

fn charts(report: &Report, colours: &Colours) -> Result<Vec<Chart>, ChartError> {
    match report.experiment {
        Experiment::Cold => cold::charts(report, colours),
        Experiment::Steady => steady::charts(report, colours),
        Experiment::Warmup => warmup::charts(report, colours),
        Experiment::Corpus | Experiment::SqliteSelect1 => corpus::charts(report, colours),
    }
}

/// An engine has the same colour in all charts of a page; those that are on it share out the colours.
struct Colours(Vec<EngineId>);

impl Colours {
    fn new(reports: &[Report]) -> Self {
        let drawn = |engine: &EngineId| reports.iter().any(|report| report.engines.contains(engine));
        Self(EngineId::ALL.into_iter().filter(drawn).collect())
    }

    fn of(&self, engine: EngineId) -> usize {
        self.0.iter().position(|one| *one == engine).unwrap_or(self.0.len())
    }
}

/// What the engines are compared with where it is known: native code.
fn yardstick(report: &Report) -> EngineId {
    if report.engines.contains(&EngineId::Native) { EngineId::Native } else { report.subject }
}
