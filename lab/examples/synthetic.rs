//! All policies that come with the broker, on programs that are made up to be hard: `cargo run --release -p tierup-lab --example synthetic`.
//!
//! A first argument is the number of workers (2), a second how much a thread and a compile slow each other (1), a third a seed (1), a fourth the number of
//! processors (enough).

use std::env;

use tierup_broker::{PolicyChoice, PolicyConfig, PolicyConfigError, Threshold};
use tierup_lab::{Comparison, Machine, synthetic};

fn main() {
    let mut args = env::args().skip(1);
    let workers = args.next().map_or(Ok(2), |text| text.parse()).expect("a number of workers");
    let sharing = args.next().map_or(Ok(1.0), |text| text.parse()).expect("a factor from 1 on");
    let seed = args.next().map_or(Ok(1), |text| text.parse()).expect("a seed");
    let processors = args.next().map_or(Ok(usize::MAX), |text| text.parse()).expect("a number of processors");
    let machine = Machine { workers, sharing, processors };
    for program in synthetic::all(seed) {
        let named = PolicyConfig::NAMES.iter().filter_map(|name| Some((*name, PolicyConfig::named(name)?)));
        let never = PolicyConfig::new(PolicyChoice::Threshold(Threshold { calls: u32::MAX }));
        let policies: Result<Vec<_>, _> =
            named.chain([("never", never)]).map(|(name, config)| Ok((name.to_owned(), config.build()?))).collect();
        let policies = match policies {
            Ok(policies) => policies,
            Err::<_, PolicyConfigError>(error) => return eprintln!("{error}"),
        };
        match Comparison::new(&program, machine, policies, seed, 2_000) {
            Ok(comparison) => println!("{comparison}"),
            Err(error) => eprintln!("{}: {error}", program.name),
        }
    }
}
