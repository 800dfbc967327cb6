//! Turns a subcommand into the cells to measure, and measures them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::engines::EngineId;
use crate::error::Error;
use crate::kernels::{KERNELS, SIZES};
use crate::machine::Machine;
use crate::measure::{Effort, measure};
use crate::options::{Command, Plan};
use crate::programs;
use crate::report::Report;
use crate::sample::{Commands, Work};

/// Runs the experiment the command names.
pub(crate) fn run(command: &Command, plan: &Plan) -> Result<Report, Error> {
    let data = std::env::var_os("TIERUP_TESTDATA").ok_or(Error::NoTestData)?;
    let data = PathBuf::from(data);
    let commands = Commands::find(plan.tierup.as_deref(), &data)?;
    let whole = matches!(command, Command::Corpus(_) | Command::SqliteSelect1(_));
    let engines = engines(&commands, plan, whole)?;
    let subject = subject(plan, &engines)?;
    let (name, works) = match command {
        Command::Steady(_) => ("steady", kernels(&data, plan, &["10ms"], Some(plan.seconds))?),
        Command::Corpus(_) => ("corpus", corpus(&data, plan)?),
        Command::SqliteSelect1(_) => ("sqlite-select1", vec![select1(&data)?]),
        Command::Cold(_) | Command::Child(_) => ("cold", kernels(&data, plan, &SIZES, None)?),
    };
    let effort = Effort { rounds: plan.repeat.max(1), close_pairs: plan.close_pairs };
    let machine = Machine::here();
    let mut cells = Vec::new();
    for (at, (row, column, work)) in works.iter().enumerate() {
        progress(format_args!("{}/{} {row} {column}", at + 1, works.len()));
        cells.push(measure(&commands, (row, column), work, &engines, subject, effort));
    }
    progress(format_args!(""));
    Ok(Report::new(name, subject, engines, machine, cells))
}

type Planned = (String, String, Work);

fn kernels(data: &Path, plan: &Plan, default_sizes: &[&str], steady: Option<f64>) -> Result<Vec<Planned>, Error> {
    let names = KERNELS.map(|kernel| kernel.name);
    let kernels = chosen("kernel", &plan.kernels, &names, &names)?;
    let sizes = chosen("size", &plan.sizes, &SIZES, default_sizes)?;
    let mut works = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| kernels.contains(&kernel.name)) {
        let module = data.join("kernels").join(format!("{}.wasm", kernel.name));
        for (size, n) in SIZES.into_iter().zip(kernel.n) {
            let module = module.clone();
            if sizes.contains(&size) {
                let work = match steady {
                    Some(seconds) => Work::Steady { module, n, seconds },
                    None => Work::Cold { module, n },
                };
                works.push((kernel.name.to_owned(), size.to_owned(), work));
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
