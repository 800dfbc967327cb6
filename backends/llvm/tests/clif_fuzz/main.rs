//! Random CLIF through Cranelift, the quick compiler, LLVM and, where it can, Cranelift's interpreter, and into the midst of the quick compiler's loops. A few seconds; `TIERUP_FUZZ_SECONDS` for more,
//! `TIERUP_FUZZ_SEED` for the same again, `TIERUP_FUZZ_PROGRAM` for one program of it, printed, `TIERUP_FUZZ_PLAIN` for what the quick compiler knows. Batches run in child processes:
//! LLVM aborts on what it has not foreseen. What was found and fixed is in `regressions/`.

mod generate;
mod midst;
mod oracles;
mod random;
#[path = "../tiers/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the conformance test, which crosses tiers")]
mod tiers;

use std::{
    env, fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use generate::Program;
use oracles::Tally;
use random::Random;

const SECONDS: &str = "TIERUP_FUZZ_SECONDS";
const SEED: &str = "TIERUP_FUZZ_SEED";
/// Seed of one program, as a find says it.
const PROGRAM: &str = "TIERUP_FUZZ_PROGRAM";
/// If set, only programs that the quick compiler knows.
const PLAIN: &str = "TIERUP_FUZZ_PLAIN";
/// First seed and number of seeds of a child.
const BATCH: &str = "TIERUP_FUZZ_BATCH";
const MARK: &str = "clif-fuzz ";
/// Seconds of processor time after which a child hangs. (A batch takes two or three.)
const CHILD_SECONDS: libc::rlim_t = 100;

/// Not a test of its own: what a child runs.
#[test]
fn child_process() {
    let Ok(batch) = env::var(BATCH) else { return };
    let (first, count) = batch.split_once(' ').unwrap();
    let mut seeds = Random::new(first.parse().unwrap());
    let count: usize = count.parse().unwrap();
    let limit = libc::rlimit { rlim_cur: CHILD_SECONDS, rlim_max: CHILD_SECONDS };
    // SAFETY: reads a structure that is alive.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CPU, &limit) }, 0);
    let plain = env::var_os(PLAIN).is_some();
    let run = move || {
        let mut tally = Tally::default();
        println!();
        for _ in 0..count {
            let seed = seeds.next();
            let seed = if plain { seed - seed % generate::EACH_PLAIN } else { seed };
            println!("{MARK}seed {seed:#x}");
            let checked = oracles::check(seed, &generate::program(seed), &mut tally);
            if let Err(find) = checked.and_then(|()| midst::check(seed, &mut tally)) {
                println!("{MARK}find {}", find.replace('\n', "\n| "));
                break;
            }
        }
        let Tally { programs, calls, pointed, interpreted, outvoted, skipped, quick, declined, entries, refused } = tally;
        println!(
            "{MARK}end {programs} {calls} {pointed} {interpreted} {outvoted} {skipped} {quick} {declined} {entries} {refused}"
        );
    };
    thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap().join().unwrap();
}

fn batch(seed: u64, count: usize) -> Result<Tally, String> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child_process", "--nocapture"]).env(BATCH, format!("{seed} {count}")).env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(find) = text.find(&format!("{MARK}find ")) {
        return Err(text[find..].to_owned());
    }
    let end = text.lines().find_map(|line| line.strip_prefix(MARK)?.strip_prefix("end "));
    let numbers: Vec<usize> = end.unwrap_or("").split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [programs, calls, pointed, interpreted, outvoted, skipped, quick, declined, entries, refused]
            if output.status.success() =>
        {
            Ok(Tally { programs, calls, pointed, interpreted, outvoted, skipped, quick, declined, entries, refused })
        }
        _ => {
            let last = text.lines().rev().find(|line| line.starts_with(MARK)).unwrap_or("before the first").to_owned();
            // The interpreter panics at what it does not know; the last lines are what matters.
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let end = stderr.lines().rev().take(6).collect::<Vec<_>>().join(" <- ");
            Err(format!("{}: {last}: {end}", output.status))
        }
    }
}

#[test]
fn three_oracles_agree() {
    if let Ok(seed) = env::var(PROGRAM) {
        let seed = u64::from_str_radix(seed.trim_start_matches("0x"), 16).unwrap();
        let (program, mut tally) = (generate::program(seed), Tally::default());
        println!("{}", oracles::text(&program.functions));
        let checked = oracles::check(seed, &program, &mut tally).and_then(|()| midst::check(seed, &mut tally));
        return checked.unwrap_or_else(|find| panic!("{find}"));
    }
    let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or_else(now);
    println!("{SEED}={seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut seeds, mut total, mut finds) = (Random::new(seed), Tally::default(), Vec::new());
    loop {
        match batch(seeds.next(), 40) {
            Ok(tally) => {
                total.programs += tally.programs;
                total.calls += tally.calls;
                total.pointed += tally.pointed;
                total.interpreted += tally.interpreted;
                total.outvoted += tally.outvoted;
                total.skipped += tally.skipped;
                total.quick += tally.quick;
                total.declined += tally.declined;
                total.entries += tally.entries;
                total.refused += tally.refused;
            }
            Err(find) => {
                println!("{find}");
                finds.push(find);
            }
        }
        if Instant::now() >= end || finds.len() >= 10 {
            break;
        }
    }
    println!("{total:?}");
    assert!(finds.is_empty(), "{} finds, {SEED}={seed}", finds.len());
    // The comparison means something: programs were compiled and called, most of them also interpreted.
    assert!(total.programs > total.skipped && total.interpreted * 2 > total.calls - total.pointed);
    let is_quick_here = is_x86_feature_detected!("bmi2");
    assert!(
        total.quick > 9 * total.declined || !is_quick_here,
        "the quick compiler knows {} functions of {}",
        total.quick,
        total.declined
    );
    assert!(total.entries > 9 * total.refused || !is_quick_here, "{total:?}");
}

/// Two slots of a frame exchanged. Not every program can tell: the values may be equal, or used no more.
#[test]
fn wrong_slots_are_noticed() {
    if !is_x86_feature_detected!("bmi2") {
        return println!("skipped: the quick compiler does not know this processor");
    }
    let plain = (0..60).map(|nth| nth * generate::EACH_PLAIN);
    let with_loops: Vec<u64> = plain.filter(|&seed| !generate::enterable(seed, None).sites.is_empty()).collect();
    let noticed = with_loops.iter().filter(|&&seed| midst::notices_wrong_slots(seed)).count();
    println!("{noticed} of {} noticed", with_loops.len());
    assert!(noticed * 2 > with_loops.len() && with_loops.len() > 20, "{noticed} of {}", with_loops.len());
}

#[test]
fn nothing_comes_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clif_fuzz/regressions");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let program = Program::of(cranelift_reader::parse_functions(&fs::read_to_string(&path).unwrap()).unwrap());
        // Odd and even: each second pipeline.
        for seed in 0..8 {
            let outcome = oracles::check(seed, &program, &mut Tally::default());
            outcome.unwrap_or_else(|find| panic!("{}: {find}", path.display()));
        }
    }
}

#[test]
fn mistakes_are_noticed() {
    let noticed = (0..40).filter(|&seed| oracles::notices_mistakes(seed, &generate::program(seed))).count();
    // Not every program contains such an instruction and looks at what it made.
    assert!(noticed >= 10, "{noticed} of 40");
    println!("{noticed} of 40 noticed");
}
