//! Reports as Markdown.

use std::fmt::Write;

use crate::report::{Attachment, Report};
use crate::tables::{Grid, grids};

/// All reports, and what is attached, as one text.
pub(crate) fn markdown(reports: &[Report], attached: &[Attachment]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut text, reports, attached);
    text
}

fn render(out: &mut String, reports: &[Report], attached: &[Attachment]) -> std::fmt::Result {
    for report in reports {
        writeln!(out, "# {}\n\n{}\n", report.experiment.name(), report.circumstances())?;
        for grid in grids(report) {
            table(out, &grid)?;
        }
        if report.has_failures() {
            writeln!(out, "Failures:\n")?;
            for (cell, measured, why) in report.failures() {
                writeln!(out, "- {} {} {}: {why}", cell.row, cell.column, measured.engine)?;
            }
            writeln!(out)?;
        }
    }
    for Attachment { name, text } in attached {
        writeln!(out, "# {name}\n\n```\n{}\n```\n", text.trim_end())?;
    }
    Ok(())
}

fn table(out: &mut String, grid: &Grid) -> std::fmt::Result {
    if let Some(heading) = &grid.heading {
        writeln!(out, "## {heading}\n")?;
    }
    writeln!(out, "{}\n", grid.note)?;
    writeln!(out, "| {} |\n|{}", grid.header.join(" | "), "---|".repeat(grid.header.len()))?;
    for row in &grid.rows {
        writeln!(out, "| {} |", row.join(" | "))?;
    }
    writeln!(out)
}
