//! What one fresh process does: take one sample and print it, or be a WASI program and exit.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::engines::{self, Cost, EngineId, Kernel};
use crate::error::Error;
use crate::machine;
use crate::wasi::Wasi;

#[derive(Debug, Args)]
pub(crate) struct Child {
    engine: EngineId,
    module: PathBuf,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    Cold {
        n: i32,
    },
    Steady {
        n: i32,
        seconds: f64,
    },
    Warmup {
        n: i32,
        seconds: f64,
    },
    Program {
        #[arg(long)]
        root: Option<PathBuf>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// One line on stdout.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Nanoseconds.
    pub(crate) ns: u64,
    /// What `run(n)` returned.
    pub(crate) answer: i64,
    /// What the code that answered cost, where the engine can tell; of steady samples only.
    #[serde(default)]
    pub(crate) cost: Option<Cost>,
    /// The most memory the process had, in bytes.
    #[serde(default)]
    pub(crate) peak_rss: Option<u64>,
    /// Nanoseconds when `run` could be called, and at the end of each call; of warm-up samples only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ends: Vec<u64>,
}

/// Does what the command line says.
pub(crate) fn run(child: &Child) -> Result<ExitCode, Error> {
    let wasm = std::fs::read(&child.module).map_err(Error::file(&child.module))?;
    let answer = match &child.work {
        Work::Cold { n } => cold(child.engine, &wasm, *n)?,
        Work::Steady { n, seconds } => steady(child.engine, &wasm, *n, *seconds)?,
        Work::Warmup { n, seconds } => warmup(child.engine, &wasm, *n, *seconds)?,
        Work::Program { root, args } => {
            let code = program(child.engine, &wasm, root.as_deref(), args)?;
            std::process::exit(code);
        }
    };
    println!("{}", serde_json::to_string(&Answer { peak_rss: machine::peak_rss(), ..answer })?);
    Ok(ExitCode::SUCCESS)
}

/// The clock starts with the bytes in memory, before the engine exists.
fn cold(engine: EngineId, wasm: &[u8], n: i32) -> Result<Answer, Error> {
    let start = Instant::now();
    let mut kernel = engines::load(engine, wasm)?;
    let answer = kernel.run(n)?;
    Ok(Answer::new(start.elapsed(), answer))
}

/// Calls until the warm-up is over, then keeps the best call.
fn steady(engine: EngineId, wasm: &[u8], n: i32, seconds: f64) -> Result<Answer, Error> {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1));
    let mut kernel = engines::load(engine, wasm)?;
    let warm = Instant::now();
    let (_, first) = timed(&mut *kernel, n)?;
    while warm.elapsed() < span {
        timed(&mut *kernel, n)?;
    }
    let measuring = Instant::now();
    let mut best = Duration::MAX;
    loop {
        let (time, answer) = timed(&mut *kernel, n)?;
        if answer != first {
            // A warm call that answers otherwise than the cold one: report the wrong one, the parent compares.
            return Ok(Answer::new(time, answer));
        }
        best = best.min(time);
        if measuring.elapsed() >= span {
            return Ok(Answer { cost: kernel.cost(), ..Answer::new(best, first) });
        }
    }
}

/// Notes the end of every call from the first on; the clock starts as in [`cold`].
fn warmup(engine: EngineId, wasm: &[u8], n: i32, seconds: f64) -> Result<Answer, Error> {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1));
    // Growing it must not be part of a call.
    let mut ends = Vec::with_capacity(1 << 18);
    let start = Instant::now();
    let mut kernel = engines::load(engine, wasm)?;
    ends.push(start.elapsed());
    let first = kernel.run(n)?;
    ends.push(start.elapsed());
    while ends.last().is_some_and(|last| *last < span) {
        let answer = kernel.run(n)?;
        ends.push(start.elapsed());
        if answer != first {
            return Ok(Answer::new(start.elapsed(), answer));
        }
    }
    let per_call = start.elapsed() / u32::try_from(ends.len() - 1).unwrap_or(u32::MAX);
    let ends = ends.iter().map(|end| u64::try_from(end.as_nanos()).unwrap_or(u64::MAX)).collect();
    Ok(Answer { ends, ..Answer::new(per_call, first) })
}

fn timed(kernel: &mut dyn Kernel, n: i32) -> Result<(Duration, i32), Error> {
    let start = Instant::now();
    let answer = kernel.run(n)?;
    Ok((start.elapsed(), answer))
}

fn program(engine: EngineId, wasm: &[u8], root: Option<&Path>, args: &[String]) -> Result<i32, Error> {
    let wasi = Wasi::new(args, root).map_err(Error::file(root.unwrap_or(Path::new("stdio"))))?;
    Ok(engines::run_program(engine, wasm, wasi)?)
}

impl Answer {
    fn new(time: Duration, answer: i32) -> Self {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { ns, answer: i64::from(answer), cost: None, peak_rss: None, ends: Vec::new() }
    }
}
