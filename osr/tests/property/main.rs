//! A call that is stopped at any loop header, at any turn, and carried on by the variant for it, does what an uninterrupted call
//! does: the same result, the same effects, as many and in the same order.
//!
//! Random programs, run by Cranelift's interpreter. `TIERUP_FUZZ_SEED` runs one seed, `TIERUP_FUZZ_SECONDS` goes on for longer;
//! every failure names its seed.

mod lower;
mod program;
mod random;
mod run;

use std::time::{Duration, Instant};

use cranelift_codegen::{settings, verify_function};
use tierup_osr::{Limits, OsrError, Shared, Sites, Verified, shared, variant};

use crate::{lower::lower, program::generate, random::Random};

const NO_LIMIT: Limits = Limits { growth: usize::MAX, instructions: usize::MAX };

/// What became of one seed.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    entries: u32,
    /// Sites inside another loop.
    nested: u32,
    /// Entries at other sites than the one that a variant was asked for.
    shared: u32,
    /// Entries after which something differed.
    wrong: u32,
    /// Declarations that were refused.
    refused: u32,
}

/// Checks every site of the seed's program at some turns. `plant` may spoil the declarations first.
fn check(seed: u64, plant: impl Fn(&mut Sites, &mut Random)) -> Tally {
    let mut random = Random::new(seed);
    let program = generate(&mut random);
    let arguments = [random.next() as i64, random.next() as i64];
    let (body, mut sites) = lower(&program, None);
    plant(&mut sites, &mut random);
    let expected = run::call(&body, arguments);
    let mut tally = Tally::default();
    for site in 0..program.loops {
        let (stopping, _) = lower(&program, Some(site));
        let arrivals = run::arrivals(&stopping, arguments);
        if arrivals == 0 {
            continue;
        }
        let flags = settings::Flags::new(settings::builder());
        let verified = Verified::check(&body, &flags).expect("the generator makes valid functions");
        let one = |function| Shared { function, sites: vec![site] };
        let asked = random.below(program.loops as usize) as u32;
        let made = [
            variant(verified, &sites, site, &NO_LIMIT).map(one),
            shared(verified, &sites, site, &NO_LIMIT),
            // Where nothing leads to the site asked for there is none.
            shared(verified, &sites, asked, &NO_LIMIT).or_else(|_| shared(verified, &sites, site, &NO_LIMIT)),
        ];
        for made in made {
            let made = match made {
                Ok(made) => made,
                Err(OsrError::Lost { .. }) => {
                    tally.refused += 1;
                    continue;
                }
                Err(error) => panic!("seed {seed}, site {site}: {error}\n{program:#?}"),
            };
            if !made.sites.contains(&site) {
                continue;
            }
            if let Err(errors) = verify_function(&made.function, &flags) {
                panic!("seed {seed}, site {site}: {errors}\n{}", made.function.display());
            }
            for _ in 0..2 {
                let arrival = 1 + random.below(arrivals as usize) as i64;
                let stopped = run::stop(&stopping, arguments, arrival);
                tally.entries += 1;
                tally.shared += u32::from(made.sites[0] != site);
                if run::go_on(&made.function, site, &stopped) != expected {
                    tally.wrong += 1;
                    println!("seed {seed}, site {site} of {:?}, arrival {arrival} of {arrivals}", made.sites);
                }
            }
        }
        tally.nested += u32::from(site > 0 && arrivals > 1);
    }
    tally
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_turn_is_lost_or_made_twice() {
    let seeds = match number("TIERUP_FUZZ_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=u64::MAX,
    };
    let end = Instant::now() + number("TIERUP_FUZZ_SECONDS").map_or(Duration::from_secs(5), Duration::from_secs);
    let mut sum = Tally::default();
    let mut last = 0;
    // At least as many as find anything that ever was wrong here, and more while there is time.
    for seed in seeds.take_while(|&seed| seed <= 200 || Instant::now() < end) {
        let tally = check(seed, |_, _| {});
        assert_eq!((tally.wrong, tally.refused), (0, 0), "seed {seed}: {:#?}", generate(&mut Random::new(seed)));
        (sum.entries, sum.nested, last) = (sum.entries + tally.entries, sum.nested + tally.nested, seed);
        sum.shared += tally.shared;
    }
    println!("seeds to {last}: {} entries, {} elsewhere than asked, {} sites inside others", sum.entries, sum.shared, sum.nested);
    assert!(number("TIERUP_FUZZ_SEED").is_some() || sum.entries > 500 && sum.nested > 100 && sum.shared > 100, "{sum:?}");
}

/// Two slots of one site exchanged. Not every program can tell: the values may be equal, or used no more.
#[test]
fn a_wrong_slot_is_found() {
    let (mut found, mut entries) = (0, 0);
    for seed in 1..=60 {
        let tally = check(seed, |sites, random| {
            for site in &mut sites.sites {
                let (a, b) = (random.below(4), random.below(4));
                let (slot_a, slot_b) = (site.live[a].0, site.live[b].0);
                (site.live[a].0, site.live[b].0) = (slot_b, slot_a);
            }
        });
        (found, entries) = (found + tally.wrong, entries + tally.entries);
    }
    assert!(found * 4 > entries, "{found} of {entries}");
}

/// A slot that is not declared is refused as often as it is needed, and never makes a wrong variant.
#[test]
fn a_missing_slot_is_refused() {
    let (mut refused, mut entries) = (0, 0);
    for seed in 1..=60 {
        let tally = check(seed, |sites, random| {
            for site in &mut sites.sites {
                let lost = random.below(4);
                site.live.remove(lost);
            }
        });
        assert_eq!(tally.wrong, 0, "seed {seed}");
        (refused, entries) = (refused + tally.refused, entries + tally.entries);
    }
    assert!(refused > 100 && entries > 0, "{refused} refused, {entries} entries");
}
