//! The broker under loom: each test is one race, at most three threads.
//!
//! Run by `make loom`, which is
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release --no-default-features -p tierup-fake --test loom --target-dir target/loom`.
//! The negative control runs a model without the fence it depends on, and requires it to fail.
#![cfg(loom)]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use tierup_broker::{
    Bailout, BailoutReason, Bead, BeadSpec, Broker, CodeUnit, CompileRequest, Compiler, InterpThread, InvalidateReason, Mode,
    Reason, Threshold, Tier,
};

const TIER1: Tier = Tier::new(1);

/// What loom can see of compiled code: bytes somebody writes, and a mapping somebody takes away.
struct Code {
    /// The "machine code": written, Relaxed, by the compiler; read, Relaxed, by callers.
    bytes: AtomicUsize,
    freed: AtomicBool,
}

/// Units one model may compile.
const UNITS: usize = 3;

/// A compiler whose every unit is a [`Code`], found again through its address. All of them exist from the start: loom lets a
/// reader see stale bytes only of what was there before.
struct LoomCompiler {
    panics: bool,
    units: [std::sync::Arc<Code>; UNITS],
    used: std::sync::atomic::AtomicUsize,
}

struct Mapping(std::sync::Arc<Code>);

impl Drop for Mapping {
    fn drop(&mut self) {
        // Relaxed on purpose: only the reclaimer orders this after the callers' reads.
        assert!(!self.0.freed.swap(true, Ordering::Relaxed), "freed twice");
    }
}

// SAFETY: nobody calls these entries: callers look at the `Code` behind them.
unsafe impl Compiler<usize> for LoomCompiler {
    fn name(&self) -> &str {
        "loom"
    }

    fn compile(&self, request: &CompileRequest<'_, usize>) -> Result<CodeUnit, Bailout> {
        if self.panics {
            return Err(Bailout::terminal(BailoutReason::Other("stands in for a panic loom would report".to_owned())));
        }
        let code = self.units[self.used.fetch_add(1, Ordering::SeqCst)].clone();
        code.bytes.store(*request.guest() + 1, Ordering::Relaxed);
        let entry = std::sync::Arc::as_ptr(&code).cast::<u8>();
        Ok(request.unit(entry, 1, Box::new(Mapping(code))))
    }
}

fn broker(panics: bool) -> (Broker<usize>, std::sync::Arc<LoomCompiler>) {
    let compiler = std::sync::Arc::new(LoomCompiler {
        panics,
        units: std::array::from_fn(|_| std::sync::Arc::new(Code { bytes: AtomicUsize::new(0), freed: AtomicBool::new(false) })),
        used: std::sync::atomic::AtomicUsize::new(0),
    });
    let broker = Broker::builder()
        .mode(Mode::Pump)
        .policy(Threshold { calls: 0 })
        .compiler(compiler.clone())
        .deadline(None)
        .max_beads(2)
        .build()
        .unwrap();
    (broker, compiler)
}

fn bead(broker: &Broker<usize>, guest: usize) -> Bead<usize> {
    broker.register(guest, BeadSpec { size: 1 }).unwrap()
}

/// Calls the function: what native code would have computed.
fn call(interpreter: &InterpThread<usize>, bead: &Bead<usize>) -> Option<usize> {
    let code = interpreter.on_invoke(bead.as_ref())?;
    // SAFETY: entries point at a `Code` which the compiler's list keeps allocated; `freed` says whether it would be mapped.
    let code = unsafe { &*code.address().as_ptr().cast::<Code>() };
    let value = code.bytes.load(Ordering::Relaxed);
    assert!(!code.freed.load(Ordering::Relaxed), "inside freed code");
    assert_ne!(value, 0, "inside code whose bytes are not there yet");
    Some(value)
}

fn all_freed(compiler: &LoomCompiler) {
    for code in &compiler.units[..compiler.used.load(Ordering::SeqCst)] {
        assert!(code.freed.load(Ordering::Relaxed), "leaked");
    }
}

#[test]
fn request_vs_request() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = Arc::new(bead(&broker, 1));
        let other = {
            let (broker, bead) = (broker.clone(), bead.clone());
            thread::spawn(move || broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced))
        };
        broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced);
        other.join().unwrap();
        assert_eq!(broker.stats().pending, 1, "asked for once");
        assert_eq!(broker.run_pending(usize::MAX), 1);
        assert_eq!(broker.run_pending(usize::MAX), 0);
        drop(bead);
        broker.collect();
        all_freed(&compiler);
    });
}

#[test]
fn install_vs_call() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = Arc::new(bead(&broker, 6));
        broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced);
        let worker = {
            let broker = broker.clone();
            thread::spawn(move || broker.run_pending(1))
        };
        let interpreter = broker.register_thread().unwrap();
        assert!(matches!(call(&interpreter, &bead), None | Some(7)));
        worker.join().unwrap();
        assert_eq!(call(&interpreter, &bead), Some(7));
        drop((interpreter, bead));
        broker.collect();
        all_freed(&compiler);
    });
}

#[test]
fn install_vs_invalidate() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = Arc::new(bead(&broker, 6));
        broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced);
        let worker = {
            let broker = broker.clone();
            thread::spawn(move || broker.run_pending(1))
        };
        let had_code = broker.invalidate(Bead::as_ref(&bead), InvalidateReason::Assumption);
        worker.join().unwrap();
        let stats = broker.bead_stats(Bead::as_ref(&bead)).unwrap();
        if had_code {
            assert_eq!(stats.tier, Tier::INTERPRETER, "invalidated code is back");
        }
        assert_eq!(broker.stats().pending, 0);
        drop(bead);
        broker.collect();
        all_freed(&compiler);
    });
}

#[test]
fn install_vs_reload() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = Arc::new(bead(&broker, 1));
        broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced);
        let worker = {
            let broker = broker.clone();
            thread::spawn(move || broker.run_pending(1))
        };
        assert!(broker.reload(Bead::as_ref(&bead), 8));
        let interpreter = broker.register_thread().unwrap();
        assert_ne!(call(&interpreter, &bead), Some(2), "the old body's code");
        worker.join().unwrap();
        assert_ne!(call(&interpreter, &bead), Some(2), "the old body's code");
        drop((interpreter, bead));
        broker.run_pending(2);
        broker.collect();
        all_freed(&compiler);
    });
}

#[test]
fn retire_vs_call() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = Arc::new(bead(&broker, 6));
        broker.compile_now(Bead::as_ref(&bead), TIER1).unwrap();
        let mut interpreter = broker.register_thread().unwrap();
        interpreter.offline(|| ());
        let caller = {
            let bead = bead.clone();
            thread::spawn(move || {
                interpreter.offline(|| ());
                call(&interpreter, &bead);
                drop(interpreter);
            })
        };
        broker.invalidate(Bead::as_ref(&bead), InvalidateReason::Assumption);
        broker.collect();
        caller.join().unwrap();
        drop(bead);
        broker.run_pending(2);
        broker.collect();
        all_freed(&compiler);
    });
}

#[test]
fn a_failing_compile_vs_request() {
    loom::model(|| {
        let (broker, _) = broker(true);
        let bead = Arc::new(bead(&broker, 1));
        broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced);
        let worker = {
            let broker = broker.clone();
            thread::spawn(move || broker.run_pending(1))
        };
        broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced);
        worker.join().unwrap();
        broker.run_pending(2);
        let stats = broker.bead_stats(Bead::as_ref(&bead)).unwrap();
        assert_eq!((stats.pending, stats.disabled.len()), (false, 1), "the claim is given back, the failure remembered");
        assert_eq!(broker.stats().pending, 0);
    });
}

#[test]
fn shutdown_vs_compile() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = bead(&broker, 1);
        broker.promote(bead.as_ref(), TIER1, Reason::Forced);
        let worker = {
            let broker = broker.clone();
            thread::spawn(move || broker.run_pending(1))
        };
        broker.shutdown();
        worker.join().unwrap();
        assert_eq!(broker.stats().pending, 0, "compiled or dropped, not forgotten");
        drop(bead);
        drop(broker);
        all_freed(&compiler);
    });
}

#[test]
fn release_vs_compile() {
    loom::model(|| {
        let (broker, compiler) = broker(false);
        let bead = bead(&broker, 1);
        broker.promote(bead.as_ref(), TIER1, Reason::Forced);
        let worker = {
            let broker = broker.clone();
            thread::spawn(move || broker.run_pending(1))
        };
        drop(bead);
        worker.join().unwrap();
        broker.prune();
        assert_eq!((broker.stats().pending, broker.stats().beads), (0, 0));
        all_freed(&compiler);
        assert_eq!(self::bead(&broker, 2).id().id, 0, "the slot is free again");
    });
}

/// Runs one model in a process of its own with an ordering weakened: it has to notice.
fn must_notice(weakened: &str, model: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", model])
        .env("TIERUP_WEAKEN", weakened)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("test {model} ... FAILED")), "`{model}` does not notice that `{weakened}` is weak:\n{text}");
}

#[test]
fn a_missing_fence_on_coming_online_is_noticed() {
    must_notice("online", "retire_vs_call");
}
