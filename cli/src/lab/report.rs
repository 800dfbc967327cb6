//! `tierup lab report`: the tables as a page, with charts.

use std::fs;

use tierup_lab::{Comparison, Outcome};
use tierup_plot::{Axis, Bar, Bars, Chart, ChartError, Lines, Page, Table, Unit};

use super::replay::{comparisons, together};
use crate::error::CliError;
use crate::options::lab::ReportOptions;

/// Lines a chart of progress has at most, besides the best plan's: more cannot be told apart.
const LINES: usize = 7;

/// Replays traces and writes the page.
///
/// # Errors
///
/// As `tierup lab replay`, or when the page cannot be written.
pub(crate) fn report(options: &ReportOptions) -> Result<i32, CliError> {
    let comparisons = comparisons(&options.replay)?;
    let lab = &options.replay.lab;
    let few = lab.processors.map(|count| format!(", and longer in proportion where more run than {count} processors"));
    let few = few.unwrap_or_default();
    let mut page = Page::new("Promotion policies on recorded programs").prose(&format!(
        "Replayed on a virtual clock, with the broker's own counters, policies and queue: {} compile threads; while the program runs and a \
         compiler works, everything takes {} times as long{}; compiles cost {} times what was recorded. Regret is a policy's time over that of \
         the best plan found, less one; what the best plan is above a proven bound says how much of a regret is not known. A plan \
         compiles what was not called yet, as no policy can.",
        lab.workers, lab.sharing, few, lab.compile_cost_scale
    ));
    page = page.heading("All programs").table(regrets(&comparisons));
    if let Some(chart) = overall(&comparisons)? {
        page = page.chart(chart);
    }
    for comparison in &comparisons {
        page = page
            .heading(&comparison.program)
            .prose(&format!(
                "No plan takes less than {:.2} ms; the best found takes {:.2} ms ({:.1} % more).",
                comparison.bound / 1e6,
                comparison.best.0.time / 1e6,
                comparison.gap() * 100.0
            ))
            .chart(regret_bars(comparison)?)
            .chart(residency(comparison)?)
            .chart(progress(comparison)?)
            .table(outcomes(comparison));
    }
    let failed = |source| CliError::WriteFile { path: options.output.clone(), source };
    fs::write(&options.output, page.html()).map_err(failed)?;
    Ok(0)
}

fn names(comparison: &Comparison) -> impl Iterator<Item = &str> {
    comparison.policies.iter().map(|(name, _)| &name[..])
}

/// Regrets by policy, a column for each program.
fn regrets(comparisons: &[Comparison]) -> Table {
    let header = ["policy"].into_iter().chain(comparisons.iter().map(|comparison| &comparison.program[..])).chain(["together"]);
    let mut table = Table::new(header);
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    table =
        table.row(["best plan over the bound".to_owned()].into_iter().chain(comparisons.iter().map(|one| percent(one.gap()))));
    for (at, what) in ["compiling nothing before it was called", "before the default would ask"].into_iter().enumerate() {
        let lost: Vec<_> = comparisons.iter().map(|one| one.not_known()[at]).collect();
        let all = percent(together(&lost));
        table = table.row([what.to_owned()].into_iter().chain(lost.into_iter().map(percent)).chain([all]));
    }
    for (name, regrets) in by_policy(comparisons) {
        let all = percent(together(&regrets));
        table = table.row([name].into_iter().chain(regrets.into_iter().map(percent)).chain([all]));
    }
    table
}

/// The regrets of each policy on all programs.
fn by_policy(comparisons: &[Comparison]) -> Vec<(String, Vec<f64>)> {
    let Some(first) = comparisons.first() else { return Vec::new() };
    let of = |at: usize| comparisons.iter().map(|one| one.regret(&one.policies[at].1)).collect();
    names(first).enumerate().map(|(at, name)| (name.to_owned(), of(at))).collect()
}

fn overall(comparisons: &[Comparison]) -> Result<Option<Chart>, ChartError> {
    let all = by_policy(comparisons);
    if comparisons.len() < 2 || all.is_empty() {
        return Ok(None);
    }
    let bars = all.iter().map(|(_, regrets)| Some(Bar::new(together(regrets) * 100.0)));
    let chart = Bars::new(
        "Regret over all programs (geometric mean)",
        all.iter().map(|(name, _)| &name[..]),
        Axis::linear("regret, %", Unit::Number),
    );
    chart.series("all programs", bars).draw().map(Some)
}

fn regret_bars(comparison: &Comparison) -> Result<Chart, ChartError> {
    let bars = comparison.policies.iter().map(|(_, outcome)| Some(Bar::new(comparison.regret(outcome) * 100.0)));
    Bars::new(format!("{}: regret", comparison.program), names(comparison), Axis::linear("regret, %", Unit::Number))
        .series("regret", bars)
        .draw()
}

/// Where the program's time went, for each policy.
fn residency(comparison: &Comparison) -> Result<Chart, ChartError> {
    let mut chart =
        Bars::new(format!("{}: time in each tier", comparison.program), names(comparison), Axis::linear("time", Unit::Seconds));
    for (tier, name) in comparison.tiers.iter().enumerate() {
        chart =
            chart.series(&name[..], comparison.policies.iter().map(|(_, outcome)| Some(Bar::new(outcome.residency[tier] / 1e9))));
    }
    chart.draw()
}

/// How much was done when: of the policies that were fastest, and of the best plan.
fn progress(comparison: &Comparison) -> Result<Chart, ChartError> {
    let points = |outcome: &Outcome| outcome.progress.iter().map(|&(time, done)| (time / 1e9, done * 100.0)).collect::<Vec<_>>();
    let mut fastest: Vec<_> = comparison.policies.iter().collect();
    fastest.sort_by(|left, right| left.1.total.total_cmp(&right.1.total));
    let chart = Lines::new(
        format!(
            "{}: work done by a time, under the best plan and the {} fastest policies",
            comparison.program,
            LINES.min(fastest.len())
        ),
        Axis::linear("virtual time", Unit::Seconds),
        Axis::linear("work done, %", Unit::Number),
    );
    let chart = chart.envelope("best plan", points(&comparison.best.1));
    fastest.into_iter().take(LINES).fold(chart, |chart, (name, outcome)| chart.line(&name[..], points(outcome))).draw()
}

fn outcomes(comparison: &Comparison) -> Table {
    let header = [
        "policy",
        "time, ms",
        "regret",
        "excess, ms",
        "warm (90 %), ms",
        "compiles",
        "compiling, ms",
        "wasted",
        "late work",
        "wait, median and 99 %, ms",
    ];
    let mut table = Table::new(header.into_iter().chain(comparison.tiers.iter().map(String::as_str)));
    let rows = comparison.policies.iter().map(|(name, outcome)| (&name[..], outcome));
    for (name, outcome) in rows.chain([("best plan", &comparison.best.1)]) {
        let ms = |nanos: f64| format!("{:.2}", nanos / 1e6);
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        let cells = [
            name.to_owned(),
            ms(outcome.total),
            percent(comparison.regret(outcome)),
            ms(outcome.excess),
            ms(outcome.warm[1]),
            outcome.compiles.to_string(),
            ms(outcome.compile_time),
            percent(outcome.wasted / outcome.compile_time.max(1.0)),
            format!("{:.1} M", outcome.late_work / 1e6),
            format!("{}, {}", ms(outcome.wait(0.5)), ms(outcome.wait(0.99))),
        ];
        let all: f64 = outcome.residency.iter().sum::<f64>().max(1.0);
        table = table.row(cells.into_iter().chain(outcome.residency.iter().map(|time| percent(time / all))));
    }
    table
}
