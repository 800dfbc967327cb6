//! Faults that are not traps keep their meaning: each case runs in a child process, because most end it.

use std::{
    env, mem,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    ptr,
};

use tierup_backends::{GuardedRegion, trap::AlternateStack};

/// Runs this test binary again with only `case`, as the child.
fn child(case: &str) -> ExitStatus {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", case, "--nocapture", "--test-threads=1"]).env("TIERUP_FAULT_CHILD", "1");
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.status().unwrap()
}

fn is_child() -> bool {
    env::var_os("TIERUP_FAULT_CHILD").is_some()
}

fn region() -> GuardedRegion {
    GuardedRegion::reserve(1 << 20, 2).unwrap()
}

#[test]
fn a_host_access_to_a_guarded_region_still_crashes() {
    if is_child() {
        let region = region();
        // SAFETY: none: the access faults, which is what is tested.
        unsafe { region.base().read_volatile() };
        return;
    }
    let status = child("a_host_access_to_a_guarded_region_still_crashes");
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_null_read_still_crashes() {
    if is_child() {
        let _region = region();
        // SAFETY: none: the access faults, which is what is tested.
        unsafe { ptr::without_provenance::<u8>(8).read_volatile() };
        return;
    }
    assert_eq!(child("a_null_read_still_crashes").signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_stack_overflow_is_still_reported_by_rust() {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn endless(depth: [u64; 64]) -> u64 {
        std::hint::black_box(endless(depth.map(|x| x + 1))) + depth[0]
    }
    if is_child() {
        let _region = region();
        std::hint::black_box(endless([0; 64]));
        return;
    }
    // Rust's handler, which ours chains to, reports and aborts.
    assert_eq!(child("a_stack_overflow_is_still_reported_by_rust").signal(), Some(libc::SIGABRT));
}

#[test]
fn a_signal_that_was_sent_still_kills() {
    if is_child() {
        // Rust's own handler swallows the first one it is sent; take it out of the chain.
        // SAFETY: plain system call.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        let _region = region();
        // SAFETY: plain system call.
        unsafe { libc::raise(libc::SIGBUS) };
        return;
    }
    assert_eq!(child("a_signal_that_was_sent_still_kills").signal(), Some(libc::SIGBUS));
}

#[test]
fn the_previous_handler_is_called() {
    extern "C" fn leave(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel's siginfo, passed on.
        let address = unsafe { (*info).si_addr() } as usize;
        // SAFETY: async-signal-safe, and does not return.
        unsafe { libc::_exit(if address == 16 { 42 } else { 43 }) };
    }
    if is_child() {
        // SAFETY: an all-zero sigaction is valid.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = leave as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: a handler of the right type.
        unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) };
        let _region = region();
        // SAFETY: none: the access faults, which is what is tested.
        unsafe { ptr::without_provenance::<u8>(16).read_volatile() };
        return;
    }
    assert_eq!(child("the_previous_handler_is_called").code(), Some(42));
}

#[test]
fn threads_without_an_alternate_stack_get_one() {
    extern "C" fn raw(_: *mut libc::c_void) -> *mut libc::c_void {
        let first = AlternateStack::for_this_thread().unwrap();
        let second = AlternateStack::for_this_thread().unwrap();
        let ok = first.is_some() && second.is_none();
        usize::from(ok) as *mut libc::c_void
    }
    let (mut thread, mut returned) = (0, ptr::null_mut());
    // SAFETY: a pthread with default attributes.
    assert_eq!(unsafe { libc::pthread_create(&mut thread, ptr::null(), raw, ptr::null_mut()) }, 0);
    // SAFETY: made above, joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, &mut returned) }, 0);
    assert_eq!(returned as usize, 1);
    assert!(AlternateStack::for_this_thread().unwrap().is_none(), "Rust's threads have one");
}
