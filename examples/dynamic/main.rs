//! A small dynamically typed language whose compiled code speculates on types: it assumes what the interpreter has seen, leaves for the
//! interpreter in the midst of a function where that no longer holds, and is compiled again, wider. Copy from here.
//!
//! Run it with `cargo run --release --example dynamic`; with `-- every:7` (any number) its code leaves at every seventh operator as well,
//! with `-- random:1` at some. `-- llvm` (feature `llvm`) has LLVM compile it, from the same lowering.
//! `examples/tiny.rs` and `examples/osr.rs` are the simpler ones.

mod lang;

use std::sync::Arc;

use lang::value::{Value, int};
use lang::{Compiler, Config, Leave, Vm, parse};
use tierup::{Mode, Tiered};

const PROGRAM: &str = r#"
    fn sum(from, step, count) {
        let total = from;
        let i = 0;
        while i < count {
            total = total + step;
            i = i + 1;
        }
        return total;
    }

    fn fib(n) {
        if n < 2 { return n; }
        return fib(n - 1) + fib(n - 2);
    }

    fn join(from, count) { return sum(from, "ab", count); }
    fn half(from, count) { return sum(from, 1 / 2, count); }
"#;

/// What the command line says of who compiles, and of code that is to leave.
fn options() -> Result<(Compiler, Leave), Box<dyn std::error::Error>> {
    let (mut compiler, mut leave) = Default::default();
    for argument in std::env::args().skip(1) {
        match argument.split_once(':') {
            Some(("every", n)) => leave = Leave::Every(n.parse::<std::num::NonZero<u32>>()?.get()),
            Some(("random", seed)) => leave = Leave::Random(seed.parse()?),
            #[cfg(feature = "llvm")]
            None if argument == "llvm" => compiler = Compiler::Llvm,
            None if argument == "cranelift" => compiler = Compiler::Cranelift,
            _ => return Err(format!("{argument} is not every:N, random:SEED, or the name of a compiler").into()),
        }
    }
    Ok((compiler, leave))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (compiler, leave) = options()?;
    // On the calling thread, so that the trace is the same every time.
    let config = || Config { mode: Mode::Sync, policy: Tiered::development(), compiler, leave, ..Config::default() };
    let mut tiered = Vm::new(parse(PROGRAM)?, Config { trace: Some(Arc::new(|line: &str| println!("    {line}"))), ..config() })?;
    let mut interpreted = Vm::new(parse(PROGRAM)?, Config { compiler: Compiler::None, ..config() })?;
    let nothing = tiered.heap.string(String::new());
    interpreted.heap.string(String::new());

    let calls: [(&str, &str, &[Value]); 6] = [
        ("integers: the loop is entered while it runs", "sum", &[int(0), int(1), int(100_000)]),
        ("halves: the code leaves where the first one is met, and is compiled again", "half", &[int(0), int(100_000)]),
        ("integers again: the wider code takes both", "sum", &[int(0), int(1), int(100_000)]),
        ("more than an integer holds", "sum", &[int(0), int(i32::MAX), int(100_000)]),
        ("strings: there is nothing left to assume", "join", &[nothing, int(1_000)]),
        ("recursion", "fib", &[int(20)]),
    ];
    for (what, name, arguments) in calls {
        println!("{what}: {name}");
        for turn in 0..3 {
            let (got, want) = (tiered.run(name, arguments), interpreted.run(name, arguments));
            let (got, want) = (got.map(|value| tiered.heap.text(value)), want.map(|value| interpreted.heap.text(value)));
            assert_eq!(got, want, "{name}, turn {turn}");
            let text = got.map_err(|trap| trap.to_string())?;
            println!("  {name} = {}", if text.len() > 40 { format!("{}… ({} bytes)", &text[..40], text.len()) } else { text });
        }
    }
    println!("{} exits; every result is the interpreter's", tiered.exits());
    Ok(())
}
