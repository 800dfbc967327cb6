//! Bodies that were replaced are kept as long as frames of theirs are.

use tierup_interp::{Caller, Instance, Linker, Module, Store, Val};

use super::wasm;

/// `f` calls the host, which reloads it, and then itself: a stack of frames of as many bodies.
fn generations(number: u32, depth: u32) -> String {
    let locals = "(local i64)".repeat(number as usize % 7);
    let loops = "(loop)".repeat(number as usize % 5);
    // Too large to become part of itself.
    let filler = "(local.set $twice (i32.add (local.get $twice) (i32.const 1)))".repeat(100);
    format!(
        r#"(module
            (import "host" "next" (func $next (param i32)))
            (func $leaf (param i32) (result i32) (i32.const {number}))
            (func $f (export "f") (param $depth i32) (result i64) {locals} (local $twice i32) (local $sum i64) {loops}
                {filler} (local.set $twice (i32.const 0))
                (call $next (local.get $depth))
                (if (i32.lt_u (local.get $depth) (i32.const {depth}))
                    (then (local.set $sum (call $f (i32.add (local.get $depth) (i32.const 1))))))
                (loop $again
                    (local.set $sum (i64.add (local.get $sum) (i64.const {number})))
                    (drop (call $leaf (i32.const 0)))
                    (br_if $again (i32.lt_u (local.tee $twice (i32.add (local.get $twice) (i32.const 1))) (i32.const 2))))
                local.get $sum))"#
    )
}

/// Each frame goes on in its own body, however many reloads and censuses there were since it began.
#[test]
fn bodies_on_the_stack_stay() {
    const DEPTH: u32 = 40;
    for configuration in super::configurations() {
        let engine = configuration.engine().expect("an engine");
        let module = Module::new(&engine, wasm(&generations(0, DEPTH))).expect("a valid module");
        let mut store = Store::new(&engine, 0_usize).expect("a store");
        let mut linker = Linker::new();
        let reloads = module.clone();
        linker.func_wrap("host", "next", move |mut caller: Caller<'_, usize>, depth: i32| {
            // The number of the frame that is calling is its depth; the next one's, one more.
            let next = wasm(&generations(depth as u32 + 1, DEPTH));
            let _ = reloads.reload_from(&next).expect("an edition");
            if depth as u32 == DEPTH {
                // What was replaced goes, but for what is on the stack.
                let spin = wasm(&generations(depth as u32 + 2, DEPTH));
                for _ in 0..150 {
                    assert_eq!(reloads.reload_from(&spin).expect("an edition").functions.len(), 2);
                    assert_eq!(reloads.reload_from(&next).expect("an edition").functions.len(), 2);
                }
                tierup_interp::AsStore::parked(&caller, || reloads.engine().broker().collect());
                reloads.engine().broker().collect();
                *caller.data_mut() = reloads.later_bodies();
            }
        });
        let instance: Instance = linker.instantiate(&mut store, &module).expect("it has what it needs");
        let f = instance.func(&store, "f").unwrap();
        let want: i64 = (0..=i64::from(DEPTH)).map(|number| 2 * number).sum();
        assert_eq!(f.call(&mut store, &[Val::I32(0)]).unwrap(), [Val::I64(want)], "{configuration}");
        let kept = *store.data();
        println!("{configuration}: {kept} bodies with {DEPTH} on the stack");
        assert!(kept < 200, "{configuration}: {kept} bodies");
    }
}
