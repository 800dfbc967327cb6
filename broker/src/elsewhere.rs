//! A new thread begins on another processor than the one that asked for it, and wakes when it wants to.
//!
//! Linux queues a new thread behind its parent unless another processor looks less loaded, which in the first milliseconds of a
//! process none does, however idle; the parent then runs to the end of its slice, 3 ms, before the first compile begins. Or it lets the
//! new thread preempt its parent, which then waits for all that the thread does first.
//! Narrowing the new thread's affinity moves it at once, and widening it again lets it be moved as any other from then on. So both see to
//! it: the parent when it is back from the spawn, and the thread before it does anything else, when the parent is not back yet.
//! Everywhere else, and whenever the system refuses, the thread begins where it was put.

use crate::sync::thread::JoinHandle;

/// The processor that a thread was on when it asked for another thread, if the system told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here(#[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))] Option<usize>);

#[cfg(all(target_os = "linux", not(loom), not(miri)))]
mod system {
    use std::{mem::size_of, os::unix::thread::JoinHandleExt};

    use super::{Here, JoinHandle};

    const SIZE: usize = size_of::<libc::cpu_set_t>();

    impl Here {
        /// Where this thread is.
        pub(crate) fn now() -> Self {
            // SAFETY: no precondition.
            Here(usize::try_from(unsafe { libc::sched_getcpu() }).ok())
        }

        /// The thread that was asked for here has just begun: moves it, which is the calling one, if it began here as well.
        pub(crate) fn leave(self) {
            if self.0.is_some() && self.0 == Here::now().0 {
                // SAFETY: no precondition.
                self.move_away(unsafe { libc::pthread_self() });
            }
        }

        fn move_away(self, thread: libc::pthread_t) {
            let Some(here) = self.0 else { return };
            // SAFETY: a set of processors is a plain array of bits, and all of them may be clear.
            let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: `thread` is the calling one, or neither joined nor detached while its handle is borrowed; the set is as long as
            // is said. On machines with more processors than it has bits the call fails.
            if here >= 8 * SIZE || unsafe { libc::pthread_getaffinity_np(thread, SIZE, &raw mut allowed) } != 0 {
                return;
            }
            let mut others = allowed;
            // SAFETY: `here` is a bit of the set, by the check above.
            unsafe { libc::CPU_CLR(here, &mut others) };
            // SAFETY: as above. An empty set is refused, and nothing changes.
            if unsafe { libc::pthread_setaffinity_np(thread, SIZE, &raw const others) } == 0 {
                // SAFETY: as above. The set is the one that the thread began with.
                unsafe { libc::pthread_setaffinity_np(thread, SIZE, &raw const allowed) };
            }
        }
    }

    /// Moves a thread that was just spawned off this processor. Takes four system calls.
    pub(crate) fn begin_elsewhere<T>(thread: &JoinHandle<T>) {
        Here::now().move_away(thread.as_pthread_t());
    }
}

#[cfg(all(target_os = "linux", not(loom), not(miri)))]
pub(crate) use system::begin_elsewhere;

#[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
pub(crate) fn begin_elsewhere<T>(_: &JoinHandle<T>) {}

#[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
impl Here {
    pub(crate) fn now() -> Self {
        Here(None)
    }

    pub(crate) fn leave(self) {}
}

/// What this thread sleeps for, it sleeps for, and not up to 50 us longer, Linux's way to have fewer interrupts.
#[cfg(all(target_os = "linux", not(loom), not(miri)))]
pub(crate) fn sleep_precisely() {
    let nanoseconds: libc::c_ulong = 1_000;
    // SAFETY: changes a number that belongs to this thread. If it fails, naps are longer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}

#[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
pub(crate) fn sleep_precisely() {}

#[cfg(all(test, target_os = "linux", not(loom), not(miri)))]
mod tests {
    use std::{
        hint,
        os::unix::thread::JoinHandleExt,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicI32, Ordering},
        },
        thread,
    };

    use super::{Here, begin_elsewhere};

    fn here() -> i32 {
        // SAFETY: no precondition.
        unsafe { libc::sched_getcpu() }
    }

    /// The processors that the calling thread may run on.
    fn allowed() -> libc::cpu_set_t {
        // SAFETY: a set of processors is a plain array of bits.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is as long as is said.
        assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) }, 0);
        set
    }

    fn allow(thread: libc::pthread_t, set: &libc::cpu_set_t) {
        // SAFETY: the thread is this one, or one that somebody holds the handle of; the set is as long as is said.
        assert_eq!(unsafe { libc::pthread_setaffinity_np(thread, size_of_val(set), set) }, 0);
    }

    /// Threads that wait behind their parent begin elsewhere, nearly all, and may run where they could before.
    #[test]
    fn a_thread_begins_elsewhere_and_may_run_everywhere() {
        let everywhere = allowed();
        // SAFETY: the set was filled by the system.
        if unsafe { libc::CPU_COUNT(&everywhere) } < 2 {
            eprintln!("skipped: this process may use one processor only");
            return;
        }
        let parent = here();
        // SAFETY: as in `allowed`; the parent's processor is a bit of the set.
        let only_here = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(usize::try_from(parent).expect("a processor's number"), &mut set);
            set
        };
        // SAFETY: no precondition.
        let this = unsafe { libc::pthread_self() };
        let (mut waited, mut went) = (0, 0);
        for _ in 0..20 {
            let (began, moved) = (Arc::new(AtomicI32::new(-1)), Arc::new(AtomicBool::new(false)));
            // What the parent may do, its child may do: it is queued here.
            allow(this, &only_here);
            let child = thread::spawn({
                let (began, moved) = (Arc::clone(&began), Arc::clone(&moved));
                move || {
                    // Ordering: Relaxed. Only a number.
                    began.store(here(), Ordering::Relaxed);
                    // Ordering: Acquire. Pairs with: the parent's Release. Carries: the thread was moved.
                    while !moved.load(Ordering::Acquire) {
                        hint::spin_loop();
                    }
                    allowed()
                }
            });
            allow(child.as_pthread_t(), &everywhere);
            // Some run at once, and their parent waits.
            let waits = began.load(Ordering::Relaxed) < 0;
            begin_elsewhere(&child);
            moved.store(true, Ordering::Release);
            while began.load(Ordering::Relaxed) < 0 {
                hint::spin_loop();
            }
            // SAFETY: the system filled both sets.
            assert!(unsafe { libc::CPU_EQUAL(&child.join().expect("no panic"), &everywhere) });
            waited += u32::from(waits);
            went += u32::from(waits && began.load(Ordering::Relaxed) != parent);
            allow(this, &everywhere);
        }
        assert!(waited < 4 || 2 * went >= waited, "{went} of {waited}");
    }

    /// As a thread does that found itself where its parent was, which now waits for it.
    #[test]
    fn a_thread_leaves_its_parents_processor() {
        let everywhere = allowed();
        // SAFETY: the set was filled by the system.
        if unsafe { libc::CPU_COUNT(&everywhere) } < 2 {
            eprintln!("skipped: this process may use one processor only");
            return;
        }
        let left = (0..20).filter(|_| {
            let before = Here::now();
            before.leave();
            // SAFETY: the system filled both sets.
            assert!(unsafe { libc::CPU_EQUAL(&allowed(), &everywhere) });
            Here::now().0 != before.0
        });
        let left = left.count();
        // The system may bring it back between the two looks, but hardly ever does.
        assert!(left >= 10, "{left} of 20");
    }

    /// Where nobody else may be, or nobody knows where the parent was, it stays.
    #[test]
    fn a_thread_that_may_be_nowhere_else_stays() {
        let (everywhere, parent) = (allowed(), Here::now());
        // SAFETY: the parent's processor is a bit of the set.
        let only_here = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(parent.0.expect("a processor's number"), &mut set);
            set
        };
        // SAFETY: no precondition.
        let this = unsafe { libc::pthread_self() };
        allow(this, &only_here);
        for before in [parent, Here(None)] {
            before.leave();
            assert_eq!(Here::now().0, parent.0);
            // SAFETY: the system filled both sets.
            assert!(unsafe { libc::CPU_EQUAL(&allowed(), &only_here) });
        }
        allow(this, &everywhere);
    }
}
