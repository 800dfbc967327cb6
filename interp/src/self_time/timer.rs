//! A timer that interrupts the thread that starts it, and notes two of its registers.
//!
//! The handler finds the record of its thread in a thread-local, and takes only what that record's own timer sends. It stores to memory that
//! is there already, and calls nothing.

use std::io;
use std::time::Duration;

/// Two registers of an interrupted thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) pc: usize,
    /// What handlers of the interpreter call `ip`, if one was interrupted.
    pub(super) ip: usize,
}

/// What became of a timer.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) moments: Vec<Moment>,
    pub(super) lost: u64,
    /// Processor time of the thread meanwhile.
    pub(super) time: Duration,
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) use linux::Timer;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(super) use nowhere::Timer;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod nowhere {
    use super::*;

    pub(in super::super) enum Timer {}

    impl Timer {
        pub(in super::super) fn start(_: Duration) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn stop(self) -> Record {
            match self {}
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use std::cell::Cell;
    use std::ffi::{c_int, c_void};
    use std::mem;
    use std::ptr;
    use std::sync::Once;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Samples there is room for.
    const ROOM: usize = 200_000;

    /// Written by the handler, on the thread that owns it.
    struct Notes {
        taken: AtomicUsize,
        moments: Box<[[AtomicUsize; 2]]>,
    }

    thread_local! {
        /// The record of the innermost timer of this thread. Without a destructor, so that a handler may look.
        static INNERMOST: Cell<*const Notes> = const { Cell::new(ptr::null()) };
    }

    /// A running timer. It stays on the thread that started it: raw pointers are not `Send`.
    pub(in super::super) struct Timer {
        id: libc::timer_t,
        /// A leaked box; the handler has the same pointer.
        notes: *mut Notes,
        /// Of the timer that was the innermost before.
        outer: *const Notes,
        started: Duration,
    }

    impl Timer {
        pub(in super::super) fn start(period: Duration) -> io::Result<Self> {
            install()?;
            let moments = (0..ROOM).map(|_| [const { AtomicUsize::new(0) }; 2]).collect();
            let notes = Box::into_raw(Box::new(Notes { taken: AtomicUsize::new(0), moments }));
            let outer = INNERMOST.replace(notes);
            let mut timer = Timer { id: ptr::null_mut(), notes, outer, started: thread_time() };
            // SAFETY: an all-zero event is valid; the fields that matter are set below.
            let mut event: libc::sigevent = unsafe { mem::zeroed() };
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGPROF;
            event.sigev_value.sival_ptr = notes.cast();
            // SAFETY: asks for a number.
            event.sigev_notify_thread_id = unsafe { libc::gettid() };
            // SAFETY: both places are there.
            if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer.id) } != 0 {
                let error = io::Error::last_os_error();
                INNERMOST.set(outer);
                // SAFETY: leaked above; there is no timer that knows of it.
                drop(unsafe { Box::from_raw(notes) });
                mem::forget(timer);
                return Err(error);
            }
            let every = libc::timespec { tv_sec: period.as_secs() as _, tv_nsec: period.subsec_nanos().max(1).into() };
            let times = libc::itimerspec { it_interval: every, it_value: every };
            // SAFETY: the timer was made above. Should the times be refused, nothing is noted.
            unsafe { libc::timer_settime(timer.id, 0, &raw const times, ptr::null_mut()) };
            Ok(timer)
        }

        pub(in super::super) fn stop(self) -> Record {
            self.end();
            let time = thread_time().saturating_sub(self.started);
            // SAFETY: leaked by `start`; the handler runs no more.
            let notes = unsafe { Box::from_raw(self.notes) };
            mem::forget(self);
            // Ordering: Relaxed, throughout. Handler and this function are the same thread.
            let taken = notes.taken.load(Ordering::Relaxed);
            let moment = |[pc, ip]: &[AtomicUsize; 2]| Moment { pc: pc.load(Ordering::Relaxed), ip: ip.load(Ordering::Relaxed) };
            let moments = notes.moments.iter().take(taken).map(moment).collect();
            Record { moments, lost: taken.saturating_sub(ROOM) as u64, time }
        }

        /// No signal of the timer arrives after this: one that is pending comes at the latest when the system call returns, for it
        /// is for this thread, which does not block it.
        fn end(&self) {
            // SAFETY: made by `start`, deleted once: by `stop`, which forgets it, or by `drop`.
            unsafe { libc::timer_delete(self.id) };
            INNERMOST.set(self.outer);
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            self.end();
            // SAFETY: as in `stop`.
            drop(unsafe { Box::from_raw(self.notes) });
        }
    }

    /// Puts the handler in place, once, and lets the signal through to this thread.
    fn install() -> io::Result<()> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            // SAFETY: an all-zero action is valid; the fields that matter are set below.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = handler as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            // SAFETY: the handler is async-signal-safe.
            unsafe { libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut()) };
        });
        // SAFETY: an empty set, to which one signal is added.
        let blocked = unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGPROF);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut())
        };
        if blocked == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(blocked)) }
    }

    extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel passes a valid siginfo.
        let info = unsafe { &*info };
        if info.si_code != libc::SI_TIMER {
            return;
        }
        // SAFETY: a timer's signal carries the timer's value.
        let sender = unsafe { info.si_value() }.sival_ptr as *const Notes;
        let notes = INNERMOST.get();
        // SAFETY: null, or what a timer of this thread that was not stopped has leaked.
        let Some(notes) = (unsafe { notes.as_ref() }).filter(|_| notes == sender) else { return };
        // SAFETY: the kernel passes a valid ucontext.
        let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        // Ordering: Relaxed. Only this thread reads it.
        let at = notes.taken.fetch_add(1, Ordering::Relaxed);
        if let Some([pc, ip]) = notes.moments.get(at) {
            pc.store(registers[libc::REG_RIP as usize] as usize, Ordering::Relaxed);
            ip.store(registers[libc::REG_RDI as usize] as usize, Ordering::Relaxed);
        }
    }

    /// Processor time that the thread has had.
    fn thread_time() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is there; every thread has this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}
