//! Every exit leaves with the frames an interpreter would have there, and the call that goes on from them ends as if nothing
//! had happened: one body of tests for both compilers.
//!
//! Random programs whose lowering inlines their calls, so that exits have one frame or several; a reference interpreter that is
//! stopped at the same exit at the same visit. Bodies leave through the finish stub, variants by their status.
//! `TIERUP_FUZZ_SEED` runs one seed, `TIERUP_FUZZ_SECONDS` goes on for longer; every failure names its seed.

pub(crate) mod cost;
mod liveness;
mod lower;
mod program;
#[path = "../../../osr/tests/property/random.rs"]
mod random;
mod reference;
mod run;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tierup_backends::{CodeMap, CompiledFunction};
use tierup_broker::Bailout;

pub(crate) use lower::{Guest, lower};
use program::generate;
use random::Random;
use reference::{Machine, Stop};
use run::{Ended, Thread};

/// What the tests need of a backend.
pub(crate) trait ExitCompiler {
    fn body(&self, guest: &Guest) -> Result<CompiledFunction, Bailout>;
    fn variant(&self, guest: &Guest, site: u32) -> Result<CompiledFunction, Bailout>;
    fn map(&self) -> &CodeMap;
}

/// What became of some seeds.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    exits: u32,
    /// With more than one frame.
    nested: u32,
    /// Out of variants.
    from_variants: u32,
    /// Whose frames were not the reference's.
    wrong: u32,
    /// Whose first two slots do not hold the same.
    exchangeable: u32,
}

/// Takes some exits of the seed's program, out of its body and out of some variants.
fn check(compiler: &dyn ExitCompiler, seed: u64, is_spoilt: bool, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let program = Arc::new(generate(&mut random));
    let arguments = [random.next() as i64, random.next() as i64];
    let guest = Guest { program: Arc::clone(&program), is_spoilt };
    let mut whole = Machine::new(&program, arguments);
    let result = whole.run(None).expect("nothing stops it");
    let expected = Ended { result, trace: whole.trace };

    let body = compiler.body(&guest).unwrap();
    let mut thread = Thread::new(&program, compiler.map());
    assert_eq!(thread.call(&body, arguments), expected, "seed {seed}");
    let exits: Vec<u32> = (0..program.exits).filter(|&exit| whole.exits[exit as usize] > 0).collect();
    for _ in 0..4.min(2 * exits.len()) {
        let exit = exits[random.below(exits.len())];
        let visit = 1 + random.below(whole.exits[exit as usize] as usize) as u64;
        let mut stopped = Machine::new(&program, arguments);
        assert_eq!(stopped.run(Some(Stop::Exit(exit, visit))), None);
        thread.expect(exit, visit, &stopped);
        let ended = thread.call(&body, arguments);
        tally.count(&thread, &stopped);
        if !is_spoilt {
            assert!(thread.is_right(), "seed {seed}, exit {exit}, visit {visit}: {:#?}", thread.difference());
            assert_eq!(ended, expected, "seed {seed}, exit {exit}, visit {visit}");
        }
    }

    let sites: Vec<u32> = (0..program.sites).filter(|&site| whole.sites[site as usize] > 0).collect();
    if sites.is_empty() {
        return;
    }
    let site = sites[random.below(sites.len())];
    // Deep nests of many statements are too large for a variant.
    let Ok(variant) = compiler.variant(&guest, site) else { return };
    for _ in 0..3 {
        let arrival = 1 + random.below(whole.sites[site as usize] as usize) as u64;
        let mut entered = Machine::new(&program, arguments);
        assert_eq!(entered.run(Some(Stop::Site(site, arrival))), None);
        let later: Vec<u32> =
            exits.iter().copied().filter(|&exit| whole.exits[exit as usize] > entered.exits[exit as usize]).collect();
        let frame = entered.slots();
        if later.is_empty() {
            thread.expect_nothing();
            assert_eq!(thread.enter(&variant, site, &frame, entered.trace), expected, "seed {seed}, site {site}");
            continue;
        }
        let exit = later[random.below(later.len())];
        let before = entered.exits[exit as usize];
        let visit = 1 + random.below((whole.exits[exit as usize] - before) as usize) as u64;
        let mut stopped = Machine::new(&program, arguments);
        assert_eq!(stopped.run(Some(Stop::Exit(exit, before + visit))), None);
        thread.expect(exit, visit, &stopped);
        let ended = thread.enter(&variant, site, &frame, entered.trace);
        tally.from_variants += 1;
        tally.count(&thread, &stopped);
        if !is_spoilt {
            let place = format!("seed {seed}, site {site} at {arrival}, exit {exit} at {visit}");
            assert!(thread.is_right(), "{place}: {:#?}", thread.difference());
            assert_eq!(ended, expected, "{place}");
        }
    }
}

impl Tally {
    fn count(&mut self, thread: &Thread<'_>, stopped: &Machine<'_>) {
        let frames = stopped.frames();
        self.exits += 1;
        self.nested += u32::from(frames.len() > 1);
        self.wrong += u32::from(!thread.is_right());
        if let [first, second, ..] = frames.last().expect("it runs").slots[..] {
            self.exchangeable += u32::from(first.1 != second.1);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// At least `least` seeds, and more while there is time.
pub(crate) fn every_exit_leaves_with_the_references_frames(compiler: &dyn ExitCompiler, least: u64) {
    let seeds = match number("TIERUP_FUZZ_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=u64::MAX,
    };
    let end = Instant::now() + number("TIERUP_FUZZ_SECONDS").map_or(Duration::from_secs(3), Duration::from_secs);
    let (mut tally, mut last) = (Tally::default(), 0);
    for seed in seeds.take_while(|&seed| seed <= least || Instant::now() < end) {
        check(compiler, seed, false, &mut tally);
        last = seed;
    }
    println!("seeds to {last}: {tally:?}");
    let is_enough = tally.exits > 100 && tally.nested > 20 && tally.from_variants > 20;
    assert!(number("TIERUP_FUZZ_SEED").is_some() || is_enough, "{tally:?}");
}

/// Wherever the slots exchanged do not happen to hold the same.
pub(crate) fn a_wrong_slot_is_found_every_time(compiler: &dyn ExitCompiler) {
    let mut tally = Tally::default();
    for seed in 1..=40 {
        check(compiler, seed, true, &mut tally);
    }
    assert_eq!(tally.wrong, tally.exchangeable);
    assert!(tally.wrong > 50, "{tally:?}");
}
