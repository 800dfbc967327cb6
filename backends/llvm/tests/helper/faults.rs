//! Helpers that are missing, wrong, crash, hang or are killed: each costs one compile and says why, and the next one works.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tierup_backends::{LlvmBackend, LlvmBackendBuilder, llvm::protocol::VERSION};
use tierup_broker::{BailoutReason, BeadSpec, Broker, CompileNowError, Event, Reason, Transition};

use super::{Provide, TIER, adds, build, builder, call, provide};

/// Whether the bailout is retryable, and its message.
fn bailout(builder: LlvmBackendBuilder) -> (bool, String) {
    let bailout = build(builder).compile_direct(&adds(1), TIER).unwrap_err();
    (bailout.is_retryable(), bailout.to_string())
}

/// A file that does not exist yet.
struct Marker(PathBuf);

impl Marker {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tierup-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Marker(path)
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A builder whose first helper misbehaves at its first request, and no other.
fn once(kind: &str, marker: &Marker) -> LlvmBackendBuilder {
    let builder = builder().helper_argument("--fault").helper_argument(kind);
    builder.helper_argument("--fault-once").helper_argument(&marker.0)
}

fn always(kind: &str) -> LlvmBackendBuilder {
    builder().helper_argument("--fault").helper_argument(kind)
}

#[test]
fn no_executable_is_terminal() {
    let (retryable, message) = bailout(LlvmBackend::builder().helper("/nowhere/tierup-llvm"));
    assert!(!retryable && message.contains("/nowhere/tierup-llvm"), "{message}");
    let (retryable, message) = bailout(LlvmBackend::builder().helper("/dev/null"));
    assert!(!retryable && message.contains("/dev/null"), "not executable: {message}");
}

#[test]
fn another_protocol_version_is_terminal() {
    let (retryable, message) = bailout(always("version"));
    let versions = format!("version {}, not {VERSION}", VERSION + 1);
    assert!(!retryable && message.contains(&versions), "{message}");
}

#[test]
fn something_that_is_no_helper_is_refused() {
    // Says nothing; what it is asked comes back; gone at once.
    let (retryable, message) = bailout(LlvmBackend::builder().helper("/bin/true"));
    assert!(retryable && message.contains("died (exit status: 0)"), "{message}");
    let (retryable, message) = bailout(LlvmBackend::builder().helper("/bin/echo"));
    assert!(!retryable && message.contains("helper is none"), "{message}");
}

#[test]
fn wrong_arguments_show_in_the_message() {
    let (retryable, message) = bailout(builder().helper_argument("--no-such-option"));
    assert!(retryable && message.contains("--no-such-option"), "{message}");
}

#[test]
fn a_crash_costs_one_compile_and_says_what_was_said() {
    let marker = Marker::new("crash");
    let backend = build(once("crash", &marker));
    let bailout = backend.compile_direct(&adds(1), TIER).unwrap_err();
    let message = bailout.to_string();
    assert!(bailout.is_retryable() && message.contains("SIGABRT") && message.contains("crashing as asked"), "{message}");
    let code = backend.compile_direct(&adds(1), TIER).unwrap();
    assert_eq!(call(code.entry(), 1), 2);
}

#[test]
fn garbage_costs_one_compile() {
    let marker = Marker::new("garbage");
    let backend = build(once("garbage", &marker));
    let bailout = backend.compile_direct(&adds(1), TIER).unwrap_err();
    assert!(bailout.is_retryable() && bailout.to_string().contains("confused"), "{bailout}");
    assert!(backend.compile_direct(&adds(1), TIER).is_ok());
}

#[test]
fn a_helper_that_hangs_is_killed_after_its_time() {
    let marker = Marker::new("hang");
    let backend = build(once("hang", &marker).answer_limit(Duration::from_secs(2)));
    backend.prewarm();
    let pid = backend.source().idle()[0];
    let start = Instant::now();
    let bailout = backend.compile_direct(&adds(1), TIER).unwrap_err();
    assert!(bailout.is_retryable() && bailout.to_string().contains("silent for 2s"), "{bailout}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!alive(pid));
    assert!(backend.compile_direct(&adds(1), TIER).is_ok());
}

#[test]
fn a_helper_that_is_killed_in_the_middle_costs_one_compile() {
    let marker = Marker::new("killed");
    let backend = build(once("hang", &marker));
    backend.prewarm();
    backend.prewarm();
    let [pid] = backend.source().idle()[..] else { panic!("one helper is warm") };
    thread::scope(|scope| {
        let compile = scope.spawn(|| backend.compile_direct(&adds(1), TIER).unwrap_err());
        while !marker.0.exists() {
            thread::sleep(Duration::from_millis(5));
        }
        kill(pid, libc::SIGKILL);
        let bailout = compile.join().unwrap();
        assert!(bailout.is_retryable() && bailout.to_string().contains("SIGKILL"), "{bailout}");
    });
    assert!(backend.compile_direct(&adds(1), TIER).is_ok());
}

#[test]
fn a_helper_that_is_killed_while_idle_costs_nothing() {
    let backend = build(builder());
    backend.compile_direct(&adds(1), TIER).unwrap();
    kill(backend.source().idle()[0], libc::SIGKILL);
    thread::sleep(Duration::from_millis(50));
    assert!(backend.compile_direct(&adds(1), TIER).is_ok());
}

#[test]
fn helpers_go_with_their_backend() {
    let backend = build(builder());
    backend.compile_direct(&adds(1), TIER).unwrap();
    let pid = backend.source().idle()[0];
    assert!(alive(pid));
    drop(backend);
    assert!(!alive(pid));
}

/// Through a broker: the program's own thread sees nothing but that there is no code yet, one event tells, and the compile is
/// tried again.
#[test]
fn a_broker_goes_on_after_a_hang() {
    let marker = Marker::new("broker");
    let backend = once("hang", &marker).answer_limit(Duration::from_secs(1)).build(provide as Provide).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let tell = move |event: &Event| told.lock().unwrap().push(event.what.clone());
    let broker = Broker::builder().compiler(backend).on_event(Arc::new(tell)).build().unwrap();
    let bead = broker.register(adds(5), BeadSpec { size: 1 }).unwrap();
    broker.promote(bead.as_ref(), TIER, Reason::Forced);
    broker.drain();
    let hung = |what: &&Transition| match what {
        Transition::BailedOut { bailout, disabled: false } => bailout.to_string().contains("silent for 1s"),
        _ => false,
    };
    assert_eq!(events.lock().unwrap().iter().filter(hung).count(), 1, "{events:?}");
    broker.promote(bead.as_ref(), TIER, Reason::Forced);
    broker.drain();
    assert!(matches!(events.lock().unwrap().last(), Some(Transition::Installed)), "{events:?}");
}

/// Past the broker's deadline the helper is killed and the tier given up for this function: it would be too slow again.
#[test]
fn the_brokers_deadline_reaches_the_helper() {
    let backend = Arc::new(build(always("hang")));
    backend.prewarm();
    let pid = backend.source().idle()[0];
    let broker = Broker::builder().compiler(Arc::clone(&backend)).deadline(Duration::from_millis(300)).build().unwrap();
    let bead = broker.register(adds(5), BeadSpec { size: 1 }).unwrap();
    let result = broker.compile_now(bead.as_ref(), TIER);
    assert!(
        matches!(&result, Err(CompileNowError::Bailout(bailout)) if *bailout.reason() == BailoutReason::Deadline),
        "{result:?}"
    );
    assert!(!alive(pid));
}

/// Whether a process exists that has not ended.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state comes behind the name, which ends with the last bracket.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: a process this test started.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), signal) }, 0);
}
