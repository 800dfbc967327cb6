//! A trap in a frame of an old body names offsets of the binary which that body came with, in each tier.

use tierup_interp::{Error, Val};

use super::{configurations, start, wasm};

/// `outer` calls `inner`, which reloads both and then divides by zero. `pad` moves all offsets.
fn edition(pad: usize) -> String {
    let pad = "nop ".repeat(pad);
    format!(
        r#"(module (import "host" "reload" (func $reload))
            (func $inner (param i32) (result i32)
                {pad}
                call $reload
                {pad}
                (i32.div_u (i32.const 1) (local.get 0)))
            (func (export "outer") (param i32) (result i32)
                {pad}
                (i32.add (i32.const 1) (call $inner (local.get 0)))))"#
    )
}

/// Offsets of the division and of the call of `inner`.
fn offsets(binary: &[u8]) -> [u64; 2] {
    use wasmparser::{Operator, Parser, Payload};
    let mut found = [0, 0];
    for payload in Parser::new(0).parse_all(binary) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            for operator in body.get_operators_reader().unwrap().into_iter_with_offsets() {
                match operator.unwrap() {
                    (Operator::I32DivU, at) => found[0] = at,
                    (Operator::Call { function_index: 1 }, at) => found[1] = at,
                    _ => {}
                }
            }
        }
    }
    found
}

#[test]
fn backtraces_are_of_the_bodies_that_ran() {
    for configuration in configurations() {
        for rounds in [0, 40] {
            let (old, new) = (edition(1), edition(30));
            let (mut store, instance, _) = start(configuration, &old, &[]);
            let outer = instance.func(&store, "outer").unwrap();
            for _ in 0..rounds {
                assert_eq!(outer.call(&mut store, &[Val::I32(1)]).unwrap(), [Val::I32(2)]);
            }
            store.data_mut().next = vec![wasm(&new)].into_iter();
            for edition in [&old, &new] {
                let Err(Error::Trap(trap)) = outer.call(&mut store, &[Val::I32(0)]) else { panic!("it traps") };
                let frames: Vec<_> = trap.backtrace().iter().map(|frame| (frame.function, frame.offset)).collect();
                let [division, call] = offsets(&wasm(edition));
                assert_eq!(frames, [(1, division), (2, call)], "{configuration}, after {rounds} calls");
            }
            assert_eq!(store.data().reloaded, [[1, 2]]);
        }
    }
}
