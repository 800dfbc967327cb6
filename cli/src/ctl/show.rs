//! What the service says, for people. Names are the program's: not to be trusted with a terminal.

use std::fmt::Write;
use std::time::Duration;

use tierup_service::Streamed;
use tierup_service::protocol::{Answer, BeadRecord, EventRecord, Hello, Kind, StatsRecord};

use crate::report::table::{Align, Table};
use crate::report::units;

/// An answer to one request.
pub(super) fn answer(answer: &Answer, hello: &Hello) -> String {
    match answer {
        Answer::Why { bead, missing } => why(bead, missing),
        Answer::Stats(stats) => statistics(stats, hello),
        Answer::Invalidated { bead, had_code: true } => format!("{bead}: its code is not entered any more"),
        Answer::Invalidated { bead, had_code: false } => format!("{bead}: it had no code"),
        Answer::Reloaded { bead } => format!("{bead}: it starts over"),
        Answer::Disabled { bead } => format!("{bead}: it stays in the interpreter until it is reloaded"),
        Answer::ShutDown => "nothing is compiled any more, and the socket is closed".to_owned(),
        other => format!("{other:?}"),
    }
}

fn tier(index: u8) -> String {
    tierup::Tier::new(index).to_string()
}

fn tiers(indices: &[u8]) -> String {
    indices.iter().map(|&index| tier(index)).collect::<Vec<_>>().join(", ")
}

fn why(bead: &BeadRecord, missing: &str) -> String {
    let mut text = format!(
        "{} ({}): {}, {} of bytecode",
        bead.name.escape_debug(),
        bead.bead,
        tier(bead.tier),
        units::bytes(bead.size.into())
    );
    let mut say = |part: String| {
        text.push_str(", ");
        text.push_str(&part);
    };
    if bead.code_bytes > 0 {
        say(format!("{} of code", units::bytes(bead.code_bytes)));
    }
    for variant in &bead.variants {
        say(format!("loop {} in {}", variant.site, tier(variant.tier)));
    }
    if !bead.resident.is_empty() {
        say(format!("{} to fall back on", tiers(&bead.resident)));
    }
    if !bead.disabled.is_empty() {
        say(format!("{} disabled", tiers(&bead.disabled)));
    }
    if bead.exits > 0 || bead.deopts > 0 {
        say(format!("left {} and given up {}", units::count(bead.exits, "time"), units::count(bead.deopts.into(), "time")));
    }
    say(format!("{} done", units::count(bead.work, "work unit")));
    let _ = write!(text, "\nmissing: {missing}");
    text
}

fn statistics(stats: &StatsRecord, hello: &Hello) -> String {
    let mut text = format!(
        "{} (process {}): {}, {} pending, {} of code in use, {} waiting to be freed, {} freed{}\n",
        hello.server.escape_debug(),
        hello.pid,
        units::count(stats.beads, "function"),
        units::count(stats.pending, "request"),
        units::bytes(stats.code_live),
        units::bytes(stats.code_retired),
        units::bytes(stats.code_reclaimed),
        if stats.shut_down { "; shut down" } else { "" },
    );
    let mut table = Table::new(&[
        ("tier", Align::Left),
        ("requested", Align::Right),
        ("installed", Align::Right),
        ("of loops", Align::Right),
        ("given up", Align::Right),
        ("dropped", Align::Right),
        ("deopts", Align::Right),
        ("compiling", Align::Right),
        ("longest", Align::Right),
    ]);
    for (index, tier) in (1_u8..).zip(&stats.tiers) {
        table.row(vec![
            format!("{} ({}){}", self::tier(index), tier.name.escape_debug(), if tier.off { ", off" } else { "" }),
            tier.requested.to_string(),
            tier.installed.to_string(),
            tier.installed_osr.to_string(),
            tier.bailouts.iter().map(|(_, count)| count).sum::<u64>().to_string(),
            tier.dropped.to_string(),
            tier.deopts.to_string(),
            time(tier.compile_total_ns),
            time(tier.compile_max_ns),
        ]);
    }
    let _ = write!(text, "{table}");
    text.trim_end().to_owned()
}

/// A table of functions.
pub(super) fn beads(beads: &[BeadRecord]) -> String {
    let mut table = Table::new(&[
        ("id", Align::Left),
        ("tier", Align::Left),
        ("work", Align::Right),
        ("bytecode", Align::Right),
        ("code", Align::Right),
        ("function", Align::Left),
    ]);
    for bead in beads {
        table.row(vec![
            bead.bead.to_string(),
            tier(bead.tier),
            bead.work.to_string(),
            units::bytes(bead.size.into()),
            if bead.code_bytes == 0 { String::new() } else { units::bytes(bead.code_bytes) },
            bead.name.escape_debug().to_string(),
        ]);
    }
    table.to_string().trim_end().to_owned()
}

/// One line of the stream of events.
pub(super) fn streamed(streamed: &Streamed) -> String {
    match streamed {
        Streamed::Event(event) => self::event(event),
        Streamed::Missed(missed) => format!("… {} missed", units::count(*missed, "event")),
        Streamed::End(farewell) => format!("the end: {farewell}"),
    }
}

fn event(event: &EventRecord) -> String {
    let mut text = format!("{:>10}  {}", time(event.at_ns), event.name.escape_debug());
    if let Some(site) = event.site {
        let _ = write!(text, " from loop {site}");
    }
    let _ = write!(text, ": {}", event.what.escape_debug());
    if event.from != event.to {
        let _ = write!(text, " ({} → {})", tier(event.from), tier(event.to));
    }
    if event.cost_ns > 0 {
        let _ = write!(text, ", waited {}, compiled in {}", time(event.queue_wait_ns), time(event.cost_ns));
    }
    if event.code_bytes > 0 {
        let _ = write!(text, ", {} of code", units::bytes(event.code_bytes));
    }
    if !event.guards.is_empty() {
        let may_be = if event.kind == Kind::Installed { "may be " } else { "" };
        let _ = write!(text, ", {may_be}left at {}", event.guards.escape_debug());
    }
    text
}

fn time(nanos: u64) -> String {
    units::duration(Duration::from_nanos(nanos))
}
