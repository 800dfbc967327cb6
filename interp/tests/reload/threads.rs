//! A thread reloads while others run: each call is of one body or the other from its beginning to its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tierup_interp::{Linker, Module, Store, Val};

use super::{configurations, wasm};

/// Adds up `n` turns of `step`, in other loops and other locals for each edition, with a callee that may become part of it.
fn edition(number: u32) -> String {
    let step = 1 + number;
    let (locals, loops) = ("(local f64)".repeat(number as usize), "(loop)".repeat(number as usize));
    format!(
        r#"(module
            (func $step (param i64) (result i64) (i64.add (local.get 0) (i64.const 0)))
            (func (export "f") (param $n i32) (result i64) {locals} (local $inner i32) (local $sum i64) {loops}
                (loop $turn
                    (local.set $inner (i32.const 10))
                    (loop $again
                        (local.set $sum (call $step (i64.add (local.get $sum) (i64.const {step}))))
                        (br_if $again (local.tee $inner (i32.sub (local.get $inner) (i32.const 1)))))
                    (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                local.get $sum))"#
    )
}

const EDITIONS: u32 = 4;

#[test]
fn no_call_is_of_two_bodies() {
    let editions: Vec<_> = (0..EDITIONS).map(|number| wasm(&edition(number))).collect();
    for configuration in configurations() {
        let engine = configuration.engine().expect("an engine");
        let module = Module::new(&engine, editions[0].clone()).expect("a valid module");
        let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut reloads = 0;
        let until = Instant::now() + Duration::from_millis(400);
        thread::scope(|scope| {
            for n in [60, 2000] {
                let (engine, module, done, calls) = (&engine, &module, &done, &calls);
                scope.spawn(move || {
                    let mut store = Store::new(engine, ()).expect("a store");
                    let instance = Linker::new().instantiate(&mut store, module).expect("it needs nothing");
                    let f = instance.func(&store, "f").unwrap();
                    while !done.load(Ordering::Relaxed) {
                        let Val::I64(sum) = f.call(&mut store, &[Val::I32(n)]).unwrap()[0] else { panic!("an i64") };
                        let turns = i64::from(n) * 10;
                        assert!(
                            sum % turns == 0 && (1..=i64::from(EDITIONS)).contains(&(sum / turns)),
                            "{configuration}: {sum} of {turns} turns"
                        );
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let are_few = |calls, reloads| calls < 4 || reloads < 4;
            while Instant::now() < until && calls.load(Ordering::Relaxed) < 4000
                || are_few(calls.load(Ordering::Relaxed), reloads)
            {
                reloads += 1;
                let edition = &editions[reloads % editions.len()];
                assert_eq!(module.reload_from(edition).expect("an edition").functions.len(), 1, "{configuration}");
                thread::sleep(Duration::from_micros(200 * (reloads as u64 % 8)));
            }
            done.store(true, Ordering::Relaxed);
        });
        println!("{configuration}: {} calls, {reloads} reloads", calls.load(Ordering::Relaxed));
        // Compiles of old ones may be under way.
        while module.later_bodies() > 1 {
            assert!(until.elapsed() < Duration::from_secs(60), "{configuration}: {} bodies", module.later_bodies());
            engine.broker().collect();
            thread::yield_now();
        }
    }
}
