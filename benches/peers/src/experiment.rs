//! Turns a subcommand into the cells to measure, and measures them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::curve;
use crate::engines::EngineId;
use crate::error::Error;
use crate::kernels::{KERNELS, SIZES};
use crate::machine::Machine;
use crate::measure::{Effort, measure};
use crate::options::Plan;
use crate::programs;
use crate::report::Report;
use crate::sample::{Commands, Work};

/// What is measured; `README.md` says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Experiment {
    Cold,
    Steady,
    Warmup,
    Corpus,
    SqliteSelect1,
}

impl Experiment {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Steady => "steady",
            Self::Warmup => "warmup",
            Self::Corpus => "corpus",
            Self::SqliteSelect1 => "sqlite-select1",
        }
    }

    /// Whether its samples are whole processes.
    const fn is_whole(self) -> bool {
        matches!(self, Self::Corpus | Self::SqliteSelect1)
    }
}

/// Runs one experiment.
pub(crate) fn run(experiment: Experiment, plan: &Plan) -> Result<Report, Error> {
    let data = std::env::var_os("TIERUP_TESTDATA").ok_or(Error::NoTestData)?;
    let data = PathBuf::from(data);
    let commands = Commands::find(plan.tierup.as_deref(), &data)?;
    let engines = engines(&commands, plan, experiment.is_whole())?;
    let subject = subject(plan, &engines)?;
    let seconds = plan.seconds;
    let works = match experiment {
        Experiment::Cold => kernels(&data, plan, &SIZES, |module, n| Work::Cold { module, n })?,
        Experiment::Steady => kernels(&data, plan, &["10ms"], |module, n| Work::Steady { module, n, seconds })?,
        Experiment::Warmup => kernels(&data, plan, &["100us"], |module, n| Work::Warmup { module, n, seconds })?,
        Experiment::Corpus => corpus(&data, plan)?,
        Experiment::SqliteSelect1 => vec![select1(&data)?],
    };
    let machine = Machine::here();
    let limit = plan.minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
    let end = limit.map(|limit| Instant::now() + limit);
    let mut cells = Vec::new();
    for (at, (row, column, work)) in works.iter().enumerate() {
        progress(format_args!("{}/{} {row} {column}", at + 1, works.len()));
        // What earlier cells left over is shared by those to come.
        let until = end.map(|end| {
            let left = end.saturating_duration_since(Instant::now());
            Instant::now() + left / u32::try_from(works.len() - at).unwrap_or(1)
        });
        let asked = |engine: &EngineId| !(plan.spare_interpreters && column == "700ms" && engine.interprets());
        let asked: Vec<EngineId> = engines.iter().copied().filter(asked).collect();
        let effort = Effort { rounds: plan.repeat.max(1), close_pairs: plan.close_pairs, until };
        cells.push(measure(&commands, (row, column), work, (&engines, &asked), subject, effort));
    }
    progress(format_args!(""));
    let windows = if experiment == Experiment::Warmup { curve::windows(seconds) } else { Vec::new() };
    Ok(Report::new(experiment, subject, engines, machine, windows, cells))
}

type Planned = (String, String, Work);

fn kernels(data: &Path, plan: &Plan, default_sizes: &[&str], work: impl Fn(PathBuf, i32) -> Work) -> Result<Vec<Planned>, Error> {
    let names = KERNELS.map(|kernel| kernel.name);
    let kernels = chosen("kernel", &plan.kernels, &names, &names)?;
    let sizes = chosen("size", &plan.sizes, &SIZES, default_sizes)?;
    let mut works = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| kernels.contains(&kernel.name)) {
        let module = data.join("kernels").join(format!("{}.wasm", kernel.name));
        for (size, n) in SIZES.into_iter().zip(kernel.n) {
            if sizes.contains(&size) {
                works.push((kernel.name.to_owned(), size.to_owned(), work(module.clone(), n)));
            }
        }
    }
    Ok(works)
}

fn corpus(data: &Path, plan: &Plan) -> Result<Vec<Planned>, Error> {
    let corpus = data.join("corpus");
    let names = programs::names(&corpus)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut works = Vec::new();
    let lengths = chosen("size", &plan.sizes, &programs::LENGTHS, &["short"])?;
    for name in chosen("program", &plan.kernels, &names, &names)? {
        for length in &lengths {
            let program = programs::load(&corpus, name, length)?;
            works.push((name.to_owned(), (*length).to_owned(), Work::Process(program)));
        }
    }
    Ok(works)
}

fn select1(data: &Path) -> Result<Planned, Error> {
    let program = programs::sqlite_select1(&data.join("corpus"))?;
    Ok(("sqlite".to_owned(), "SELECT 1".to_owned(), Work::Process(program)))
}

/// The known names that were asked for, in the known order; the default when none was.
fn chosen<'k>(what: &'static str, asked: &[String], known: &[&'k str], default: &[&'k str]) -> Result<Vec<&'k str>, Error> {
    if asked.is_empty() {
        return Ok(default.to_vec());
    }
    if let Some(stranger) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::Unknown { what, name: stranger.clone(), known: known.join(", ") });
    }
    let asked_for = |name: &&&str| asked.iter().any(|ask| ask == **name);
    Ok(known.iter().filter(asked_for).copied().collect())
}

/// What was asked for must be there; of all engines, those that are there.
fn engines(commands: &Commands, plan: &Plan, whole: bool) -> Result<Vec<EngineId>, Error> {
    if !plan.engines.is_empty() {
        let mut engines: Vec<EngineId> = Vec::new();
        for name in &plan.engines {
            let engine = name.parse()?;
            commands.check(engine, whole)?;
            if !engines.contains(&engine) {
                engines.push(engine);
            }
        }
        return Ok(engines);
    }
    let mut engines = Vec::new();
    for engine in EngineId::ALL {
        if whole && engine == EngineId::TierupOpt {
            eprintln!(
                "skipped: {engine} gives LLVM a whole program before it starts, which takes minutes; name it to have it measured"
            );
            continue;
        }
        match commands.check(engine, whole) {
            Ok(()) => engines.push(engine),
            Err(why) => eprintln!("skipped: {why}"),
        }
    }
    Ok(engines)
}

fn subject(plan: &Plan, engines: &[EngineId]) -> Result<EngineId, Error> {
    if let Some(name) = &plan.subject {
        let subject = name.parse()?;
        return if engines.contains(&subject) {
            Ok(subject)
        } else {
            Err(Error::Unavailable { engine: subject, why: "it is not among the engines to be measured".into() })
        };
    }
    let ours = engines.iter().rev().find(|engine| engine.is_ours());
    ours.or(engines.first()).copied().ok_or(Error::NoEngines)
}

/// On a terminal only: one line that is written over.
fn progress(what: std::fmt::Arguments<'_>) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}
