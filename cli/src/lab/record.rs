//! `tierup lab record`.

use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tierup_interp::{Config, Engine, FuncHandle, TierMode};
use tierup_lab::facts::{self, Measured};
use tierup_lab::{Recorded, Recorder};

use super::subject::{Subject, counted};
use super::tier_run::{Seen, Wanted, tier_run};
use crate::error::CliError;
use crate::options::lab::RecordOptions;
use crate::output;

/// Records a program, and says what came of it.
///
/// # Errors
///
/// Anything that kept the program from running to its end, or the trace from being written.
pub(crate) fn record(options: &RecordOptions) -> Result<i32, CliError> {
    let failed = |source| CliError::WriteFile { path: options.output.clone(), source };
    let subject = Subject::new(options)?;
    let tiers = &["interpreter", "baseline", "optimizing"][..1 + usize::from(subject.config().compiled_tiers())];
    let out = BufWriter::new(File::create(&options.output).map_err(failed)?);
    let recorder = counted_run(&subject, Recorder::new(out, tiers).map_err(failed)?)?;
    let functions = recorder.functions().to_vec();
    let mut runs = vec![tier_run(&subject, Wanted::Interpreted, &functions)?];
    let hot = hot(&functions, &runs[0]);
    runs.extend((tiers.len() > 1).then(|| tier_run(&subject, Wanted::Baseline, &functions)).transpose()?);
    runs.extend((tiers.len() > 2).then(|| tier_run(&subject, Wanted::Optimized(&hot), &functions)).transpose()?);
    let apart = (tiers.len() > 2).then(|| tier_run(&subject, Wanted::Apart(&hot), &functions)).transpose()?;
    tiers.iter().zip(&runs).for_each(|(name, seen)| tell(name, seen, &runs[0]));
    apart.iter().for_each(|seen| tell("optimizing, nothing inlined", seen, &runs[0]));
    let mut counting = None;
    if tiers.len() > 2 {
        let mut sampled = tier_run(&subject, Wanted::Sampled, &functions)?;
        let mut counted = tier_run(&subject, Wanted::Counting, &functions)?;
        for (name, seen) in [("baseline below another tier", &mut sampled), ("the same, counting", &mut counted)] {
            tell(name, seen, &runs[0]);
            blame_for_helpers(seen, &runs[1]);
        }
        // What is compiled while the program runs takes longer.
        sampled.run.compiles = std::mem::take(&mut runs[1].run.compiles);
        (runs[1], counting) = (sampled, Some(counted));
    }
    let measured: Vec<_> = functions.iter().map(|function| Measured { size: function.size, work: function.work }).collect();
    let runs: Vec<_> = runs.into_iter().map(|seen| seen.run).collect();
    let [counting, apart] = [counting, apart].map(|seen| seen.map(|seen| seen.run));
    recorder.finish(&facts::facts(&measured, &runs, counting.as_ref(), apart.as_ref())).map_err(failed)?;
    Ok(0)
}

/// Functions whose compile by the highest tier is looked at, at most: each takes some tens of milliseconds.
const MOST_OPTIMIZED: usize = 40;
/// The part of the time in functions that these take together, unless they are too many.
const OPTIMIZED_PART: f64 = 0.98;

/// The functions that take most of the time interpreted: what is worth an optimizing compile is among them.
fn hot(functions: &[Recorded], interpreted: &Seen) -> Vec<u32> {
    let mut by_time: Vec<_> =
        functions.iter().zip(&interpreted.run.met).map(|(function, met)| (met.unwrap_or(0), function)).collect();
    by_time.sort_by_key(|(met, function)| (std::cmp::Reverse((*met, function.work)), function.id));
    let all: u64 = by_time.iter().map(|(met, _)| met).sum();
    let mut before = 0;
    let most = by_time.into_iter().take(MOST_OPTIMIZED).take_while(|(met, _)| {
        before += met;
        (before - met) as f64 <= all as f64 * OPTIMIZED_PART
    });
    most.map(|(_, function)| function.id).collect()
}

/// Code that may go higher notes what its indirect calls call, in a helper, which counts as elsewhere. What is elsewhere beyond what is in code that
/// stays where it is, is put down to all functions, in proportion to the time in them.
fn blame_for_helpers(seen: &mut Seen, stays: &Seen) {
    let outside = |seen: &Seen| seen.elsewhere as f64 * seen.run.look;
    let helpers = (outside(seen) - outside(stays)).max(0.0);
    seen.run.look *= 1.0 + helpers / seen.nanos.max(1.0);
}

/// Runs the program interpreted, and writes down what it does.
fn counted_run(subject: &Subject<'_>, recorder: Recorder<BufWriter<File>>) -> Result<Recorder<BufWriter<File>>, CliError> {
    let started = Instant::now();
    let describing = Engine::new(Config { tier: TierMode::Interp, ..subject.config() }).map_err(CliError::Engine)?;
    // Bodies do not change while it runs: what is told of a function can be found in another copy of the module.
    let copy = subject.load(&describing)?;
    let recorder = Arc::new(Mutex::new(Some(recorder)));
    let noting = Arc::clone(&recorder);
    let on_work = move |function: &FuncHandle, work| {
        let index = function.index();
        let describe = || {
            let name = copy.function_name(index).map_or_else(|| format!("function {index}"), str::to_owned);
            (name, copy.body_size(index).unwrap_or(0))
        };
        // The command runs programs on one thread.
        if let Some(recorder) = &mut *noting.lock().unwrap_or_else(PoisonError::into_inner) {
            recorder.note(0, index, work, describe);
        }
    };
    let engine =
        Engine::new(Config { on_work: Some(Arc::new(on_work)), ..counted(subject.config()) }).map_err(CliError::Engine)?;
    subject.run(&engine, &subject.load(&engine)?)?;
    let recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner).take().expect("only taken here");
    let sum = |what: fn(&Recorded) -> u64| recorder.functions().iter().map(what).sum::<u64>() as f64 / 1e6;
    output::tell(format_args!(
        "counted: {} functions, {:.2} million calls, {:.1} million units of work ({:.1} s)",
        recorder.functions().len(),
        sum(|function| function.calls),
        sum(|function| function.work),
        started.elapsed().as_secs_f64()
    ));
    Ok(recorder)
}

fn tell(name: &str, seen: &Seen, interpreter: &Seen) {
    let all = (seen.here + seen.below + seen.elsewhere).max(1) as f64;
    let percent = |looks: u64| looks as f64 / all * 100.0;
    let speed = interpreter.nanos / seen.nanos.max(1.0);
    let compiles: Vec<_> = seen.run.compiles.iter().flatten().map(|(nanos, _)| *nanos as f64 / 1e6).collect();
    let compiled = if compiles.is_empty() {
        String::new()
    } else {
        format!("; {} compiles of {:.0} ms together", compiles.len(), compiles.iter().sum::<f64>())
    };
    output::tell(format_args!(
        "{name}: {:.1} ms in functions, {speed:.2} times as fast; {} looks in {} runs, {:.0} % in the tier, {:.0} % in another, {:.0} % elsewhere{compiled}",
        seen.nanos / 1e6,
        seen.here + seen.below + seen.elsewhere,
        seen.runs,
        percent(seen.here),
        percent(seen.below),
        percent(seen.elsewhere),
    ));
}
