//! `--stats`: what tiered, when, why, and what it cost.

pub(crate) mod table;
mod timeline;
pub(crate) mod units;
mod why;

use std::fmt;
use std::time::Duration;

use tierup::{Event, Stats, Tier, Transition};
use tierup_interp::{Engine, TemplateStats};

use table::{Align, Table};
pub(crate) use timeline::Timeline;
pub(crate) use why::why;

/// Rows of the table of functions.
const TOP_FUNCTIONS: usize = 15;
/// Rows of the timeline, half of them its beginning, half its end.
const TIMELINE_ROWS: usize = 30;
/// Rows of the table of bailouts.
const BAILOUT_ROWS: usize = 20;

/// How long events are waited for that are being delivered: much longer than that takes.
const PATIENCE: Duration = Duration::from_millis(100);

/// A snapshot of an engine, to be displayed.
pub(crate) struct Report {
    wall: Duration,
    stats: Stats,
    functions: Vec<Function>,
    events: Vec<Event>,
    /// Parts of functions, in all compiles.
    left_out: u64,
    /// The interpreter's machine code.
    templates: TemplateStats,
}

struct Function {
    /// From the name section, if it has one.
    name: Option<String>,
    index: u32,
    tier: Tier,
    work: u64,
    size: u32,
    code_bytes: usize,
}

impl Report {
    /// What `engine` has done so far, with the events `timeline` recorded, after running for `wall`.
    pub(crate) fn new(engine: &Engine, timeline: &Timeline, wall: Duration) -> Self {
        let broker = engine.broker();
        // Delivers events that still wait.
        broker.collect();
        let mut functions = Vec::new();
        broker.walk(|bead| {
            functions.push(Function {
                name: bead.guest.name(),
                index: bead.guest.index(),
                tier: bead.stats.tier,
                work: bead.stats.work,
                size: bead.stats.size,
                code_bytes: bead.stats.code_bytes,
            });
        });
        let stats = broker.stats();
        // Or somebody is delivering them now.
        let installs = stats.tiers.iter().map(|tier| tier.installed).sum();
        let events = timeline.events(installs, PATIENCE);
        Self { wall, stats, functions, events, left_out: engine.left_out(), templates: engine.templates() }
    }

    fn tier_name(&self, tier: Tier) -> String {
        match usize::from(tier.index()).checked_sub(1).and_then(|i| self.stats.tiers.get(i)) {
            Some(stats) => format!("{tier} ({})", stats.name),
            None => tier.to_string(),
        }
    }

    fn tiers(&self) -> Table {
        let mut table = Table::new(&[
            ("tier", Align::Left),
            ("functions", Align::Right),
            ("code", Align::Right),
            ("requested", Align::Right),
            ("installed", Align::Right),
            ("given up", Align::Right),
            ("compiling", Align::Right),
            ("longest", Align::Right),
            ("waiting", Align::Right),
            ("longest", Align::Right),
        ]);
        let running = |tier: Tier| self.functions.iter().filter(move |f| f.tier == tier);
        let mut interpreted = vec![self.tier_name(Tier::INTERPRETER), running(Tier::INTERPRETER).count().to_string()];
        interpreted.resize(10, String::new());
        table.row(interpreted);
        for (i, stats) in self.stats.tiers.iter().enumerate() {
            let tier = Tier::new(i as u8 + 1);
            let given_up: u64 = stats.bailouts.iter().map(|&(_, count)| count).sum();
            table.row(vec![
                self.tier_name(tier),
                running(tier).count().to_string(),
                units::bytes(running(tier).map(|f| f.code_bytes as u64).sum()),
                stats.requested.to_string(),
                stats.installed.to_string(),
                given_up.to_string(),
                units::duration(stats.compile_total),
                units::duration(stats.compile_max),
                units::duration(mean(stats.wait_total, stats.compiled)),
                units::duration(stats.wait_max),
            ]);
        }
        table
    }

    fn top(&self) -> Table {
        let mut table = Table::new(&[
            ("work", Align::Right),
            ("share", Align::Right),
            ("tier", Align::Left),
            ("bytecode", Align::Right),
            ("code", Align::Right),
            ("function", Align::Left),
        ]);
        let total: u64 = self.functions.iter().map(|f| f.work).sum();
        let mut busiest: Vec<&Function> = self.functions.iter().filter(|f| f.work > 0).collect();
        busiest.sort_by(|a, b| b.work.cmp(&a.work).then(a.index.cmp(&b.index)));
        for function in busiest.into_iter().take(TOP_FUNCTIONS) {
            table.row(vec![
                function.work.to_string(),
                format!("{:.1} %", 100.0 * function.work as f64 / total as f64),
                function.tier.to_string(),
                units::bytes(function.size.into()),
                if function.code_bytes == 0 { String::new() } else { units::bytes(function.code_bytes as u64) },
                match &function.name {
                    Some(name) => format!("{name} (function {})", function.index),
                    None => format!("function {}", function.index),
                },
            ]);
        }
        table
    }

    /// One row for each change of tier, with the reason it was asked for.
    fn changes(&self) -> Table {
        let mut table = Table::new(&[
            ("at", Align::Right),
            ("function", Align::Left),
            ("what", Align::Left),
            ("why", Align::Left),
            ("waited", Align::Right),
            ("compiled in", Align::Right),
            ("code", Align::Right),
            ("left at", Align::Left),
        ]);
        let rows: Vec<_> = self.events.iter().enumerate().filter(|(_, event)| is_change(&event.what)).collect();
        let hidden = rows.len().saturating_sub(TIMELINE_ROWS);
        let head = if hidden == 0 { rows.len() } else { TIMELINE_ROWS / 2 };
        for (shown, &(at, event)) in rows.iter().enumerate() {
            if hidden > 0 && shown == head {
                table.gap(format!("… {hidden} more; --log tierup=debug tells all"));
            }
            if shown >= head && shown < head + hidden {
                continue;
            }
            let (what, why) = match &event.what {
                Transition::Installed => (format!("{} → {}", event.from, event.to), self.reason(at)),
                other => (format!("leaves {}", event.from), other.to_string()),
            };
            table.row(vec![
                units::duration(event.time),
                subject(event),
                what,
                why,
                units::duration(event.queue_wait),
                units::duration(event.cost),
                units::bytes(event.code_bytes as u64),
                event.guards.clone(),
            ]);
        }
        table
    }

    /// Why the install told by event `at` was asked for: the last request before it for the same of that bead.
    fn reason(&self, at: usize) -> String {
        let subject = |event: &Event| (event.bead, event.site, event.to);
        let install = subject(&self.events[at]);
        let asked = self.events[..at].iter().rev().find_map(|event| match &event.what {
            Transition::Requested(reason) if subject(event) == install => Some(reason),
            _ => None,
        });
        asked.map_or_else(String::new, ToString::to_string)
    }

    fn bailouts(&self) -> Table {
        let mut table =
            Table::new(&[("at", Align::Right), ("function", Align::Left), ("tier", Align::Left), ("why", Align::Left)]);
        let failures: Vec<_> = self.events.iter().filter(|event| is_failure(&event.what)).collect();
        for event in failures.iter().take(BAILOUT_ROWS) {
            table.row(vec![units::duration(event.time), subject(event), event.to.to_string(), event.what.to_string()]);
        }
        if failures.len() > BAILOUT_ROWS {
            table.gap(format!("… {} more", failures.len() - BAILOUT_ROWS));
        }
        table
    }
}

/// What an event is about: a function, or the code that is entered at one of its loops.
fn subject(event: &Event) -> String {
    match event.site {
        Some(site) => format!("{} from loop {site}", event.name),
        None => event.name.clone(),
    }
}

/// Whether the bead runs other code afterwards.
fn is_change(what: &Transition) -> bool {
    matches!(
        what,
        Transition::Installed
            | Transition::Deoptimized { .. }
            | Transition::Invalidated(_)
            | Transition::Reloaded
            | Transition::Disabled
    )
}

/// Whether a compile, or a tier, was given up.
fn is_failure(what: &Transition) -> bool {
    matches!(what, Transition::BailedOut { .. } | Transition::Abandoned | Transition::TierOff | Transition::Never(_))
}

fn mean(total: Duration, count: u64) -> Duration {
    u32::try_from(count).ok().filter(|&count| count > 0).map_or(Duration::ZERO, |count| total / count)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let native = self.functions.iter().filter(|function| !function.tier.is_interpreter()).count();
        writeln!(
            f,
            "\n{}: {} native of {}, {} of machine code, {} pending",
            units::duration(self.wall),
            native,
            units::count(self.functions.len() as u64, "function"),
            units::bytes(self.stats.code_live),
            units::count(self.stats.pending as u64, "request"),
        )?;
        if self.templates.bodies > 0 {
            let TemplateStats { bodies, bytes } = self.templates;
            writeln!(
                f,
                "{} interpreted by templates, {} of machine code",
                units::count(bodies, "function"),
                units::bytes(bytes)
            )?;
        }
        if self.left_out > 0 {
            writeln!(f, "{} that had never run left out of LLVM's code", units::count(self.left_out, "part"))?;
        }
        for (title, table) in [
            ("Tiers", self.tiers()),
            ("Functions by work counted (native code that is final counts nothing)", self.top()),
            ("What tiered, when and why", self.changes()),
            ("Given up", self.bailouts()),
        ] {
            if !table.is_empty() {
                write!(f, "\n{title}\n{table}")?;
            }
        }
        Ok(())
    }
}
