//! `tierup lab live`: the same policies on the same program, replayed and run.

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tierup_lab::{Agreement, Interval, Program, replay as replay_one};

use super::replay::{machine, policies, read};
use crate::error::CliError;
use crate::options::lab::{LiveOptions, Named};
use crate::output;

/// Runs the program live under each policy, replays it, and prints both.
///
/// # Errors
///
/// Whatever keeps it from being run or replayed.
pub(crate) fn live(options: &LiveOptions) -> Result<i32, CliError> {
    let program = read(&options.trace, &options.lab)?;
    let policies = policies(&options.lab)?;
    let replayed = policies.iter().map(|policy| replayed(&program, policy, options)).collect::<Result<Vec<_>, _>>()?;
    let mut times = vec![Vec::new(); policies.len()];
    // In turns, so that what else the machine does is everybody's, and each time another one first, so that none always comes after the same.
    for round in 0..options.repeats as usize {
        for turn in 0..policies.len() {
            let at = (round + turn) % policies.len();
            times[at].push(run(&policies[at].0, options)?);
        }
    }
    output::line("| policy | replayed, ms | live, ms: median, and where it is (95 %) |\n|---|---|---|")?;
    let mut pairs = Vec::new();
    for (((name, _), replayed), mut times) in policies.iter().zip(replayed).zip(times) {
        times.sort_by(f64::total_cmp);
        let Some(live) = Interval::of_median(&times) else { continue };
        let median = times[times.len() / 2];
        output::line(format_args!(
            "| {name} | {:.1} | {:.1} [{:.1}, {:.1}] |",
            replayed / 1e6,
            median / 1e6,
            live.low / 1e6,
            live.high / 1e6
        ))?;
        pairs.push((replayed, live));
    }
    let agreement = Agreement::of(&pairs);
    output::line(format_args!(
        "\npairs: {} alike, {} contrary, {} tied, {} not told apart; tau {}",
        agreement.alike,
        agreement.contrary,
        agreement.tied,
        agreement.open,
        agreement.tau().map_or("none".to_owned(), |tau| format!("{tau:.2}"))
    ))?;
    Ok(0)
}

fn replayed(program: &Program, (_, config): &Named, options: &LiveOptions) -> Result<f64, CliError> {
    let policy = config.clone().build().map_err(CliError::Policy)?;
    let outcome = replay_one(program, machine(&options.lab), policy);
    Ok(outcome.map_err(|source| CliError::Replay { path: options.trace.clone(), source })?.total)
}

/// Runs the program once under a policy: nanoseconds from the start of the process to its end.
fn run(policy: &str, options: &LiveOptions) -> Result<f64, CliError> {
    let program = &options.program;
    let failed = |message: String| CliError::Live { path: program.module().to_owned(), message };
    let command = env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(command);
    // A threshold that nothing reaches is what `never` is.
    let policy = if policy == "never" { "threshold=4294967295" } else { policy };
    command.args(["run", "--policy", policy, "--threads", &options.lab.workers.to_string()]);
    for grant in &program.dirs {
        command.arg("--dir").arg(format!("{}::{}", grant.host.display(), grant.guest));
    }
    for (key, value) in &program.env {
        command.arg("--env").arg(format!("{key}={value}"));
    }
    command.args(program.invoke.iter().flat_map(|name| ["--invoke", name]));
    command.arg(program.module()).args(program.args());
    let stdin = match &options.stdin {
        Some(path) => open(path)?.into(),
        None => Stdio::null(),
    };
    command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    let time = started.elapsed();
    // Programs may exit with any code; what the command could not do it says.
    let told = String::from_utf8_lossy(&output.stderr);
    match told.lines().find(|line| line.starts_with("tierup: ")) {
        Some(line) => Err(failed(format!("under {policy}: {line}"))),
        None => Ok(time.as_nanos() as f64),
    }
}

fn open(path: &Path) -> Result<File, CliError> {
    File::open(path).map_err(|source| CliError::Read { path: path.to_owned(), source })
}
