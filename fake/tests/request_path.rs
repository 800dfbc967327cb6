//! The request path, from the call that spends a function's budget to the request that lies in the inbox: the interpreter thread
//! allocates nothing and calls the system for nothing, whatever the workers do meanwhile.
//!
//! Allocations are counted by the allocator. System calls are caught: while a thread is under watch the kernel turns each into a signal
//! (`PR_SET_SYSCALL_USER_DISPATCH`), whose handler counts it and lets it through. A lock shows as the call by which the thread waits
//! for it: while thousands of requests wait, workers hold the queue's lock for most of the time. Instructions are counted by having the
//! processor trap after each.
#![cfg(all(not(miri), feature = "threads"))]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use common::*;
use tierup_broker::{Bead, Broker, BrokerBuilder, InterpThread, Mode, Tiered};
use tierup_fake::{FakeCompiler, Guest};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator; each thread's allocations are counted.
struct Counting;

// SAFETY: passes everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a thread did while it was watched.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Calls of the allocator.
    allocations: u64,
    /// System calls by number; `None` where they cannot be caught.
    system_calls: Option<Vec<i64>>,
}

/// Runs `what` on this thread under watch.
fn watched(what: impl FnOnce()) -> Seen {
    let calls = trap::Watch::begin();
    let before = ALLOCATIONS.get();
    what();
    let allocations = ALLOCATIONS.get() - before;
    Seen { allocations, system_calls: calls.map(trap::Watch::end) }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trap {
    use std::{
        cell::{Cell, UnsafeCell},
        ptr,
        sync::Once,
    };

    const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
    const PR_SYS_DISPATCH_ON: u64 = 1;
    const ALLOW: u8 = 0;
    const BLOCK: u8 = 1;
    /// The length of the `syscall` instruction.
    const SYSCALL: i64 = 2;
    /// Calls that are told apart; more are only counted.
    const KEPT: usize = 64;

    thread_local! {
        /// Read by the kernel at each system call of this thread.
        static SELECTOR: UnsafeCell<u8> = const { UnsafeCell::new(ALLOW) };
        static CALLS: Cell<([i64; KEPT], usize)> = const { Cell::new(([0; KEPT], 0)) };
    }

    /// Written volatile: the kernel reads it.
    fn select(what: u8) {
        // SAFETY: this thread's own byte.
        SELECTOR.with(|selector| unsafe { selector.get().write_volatile(what) });
    }

    extern "C" fn caught(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // Also for the call by which this handler returns.
        select(ALLOW);
        // SAFETY: `si_syscall` is the third field of the kernel's `_sigsys`, after an address; this handler is for SIGSYS only.
        let number = unsafe { *info.cast::<u8>().add(24).cast::<i32>() };
        let (mut kept, count) = CALLS.get();
        kept[count.min(KEPT - 1)] = number.into();
        CALLS.set((kept, count + 1));
        // SAFETY: the kernel's record of the interrupted thread. The call is made again, and let through.
        unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] -= SYSCALL };
    }

    /// A thread that is watched. Not nested.
    pub(super) struct Watch(());

    impl Watch {
        /// `None` where the kernel cannot.
        pub(super) fn begin() -> Option<Self> {
            static HANDLER: Once = Once::new();
            HANDLER.call_once(|| {
                // SAFETY: all zeroes is a valid `sigaction`; the handler only touches thread-local cells without destructors.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    action.sa_sigaction = caught as *const () as usize;
                    action.sa_flags = libc::SA_SIGINFO;
                    assert_eq!(libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()), 0);
                }
            });
            CALLS.set(([0; KEPT], 0));
            let selector = SELECTOR.with(UnsafeCell::get);
            // SAFETY: the selector is this thread's, and lives as long.
            let on = unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, selector) } == 0;
            if on {
                select(BLOCK);
            }
            on.then_some(Watch(()))
        }

        /// Ends it, and says which calls were made. After the first one the thread was not watched any more.
        pub(super) fn end(self) -> Vec<i64> {
            select(ALLOW);
            let (kept, count) = CALLS.get();
            kept[..count.min(KEPT)].to_vec()
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod trap {
    pub(super) struct Watch(());

    impl Watch {
        pub(super) fn begin() -> Option<Self> {
            None
        }

        pub(super) fn end(self) -> Vec<i64> {
            Vec::new()
        }
    }
}

/// How many instructions something takes.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod steps {
    use std::{arch::asm, cell::Cell, ptr, sync::Once};

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
    }

    extern "C" fn stepped(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
        TAKEN.set(TAKEN.get() + 1);
    }

    /// Runs `what` on this thread, step by step.
    pub(super) fn of(what: impl FnOnce()) -> u64 {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: all zeroes is a valid `sigaction`; the handler only touches a thread-local cell without a destructor.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = stepped as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
            }
        });
        TAKEN.set(0);
        // SAFETY: sets the trap flag: the processor raises a signal after each instruction, for which there is a handler. The kernel clears
        // the flag for the handler.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
        what();
        // SAFETY: clears it.
        unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
        TAKEN.get()
    }
}

/// Nothing at all, as far as it can be seen.
#[track_caller]
fn assert_nothing(seen: &Seen, what: &str) {
    assert_eq!(seen.allocations, 0, "{what}");
    match &seen.system_calls {
        Some(calls) => assert_eq!(*calls, [0_i64; 0], "{what}"),
        None => println!("skipped: this system cannot catch system calls"),
    }
}

fn builder(calls: u32) -> BrokerBuilder<Guest> {
    let compilers = [FakeCompiler::with_osr(), FakeCompiler::with_osr()];
    let builder = compilers.into_iter().fold(Broker::builder(), BrokerBuilder::compiler);
    builder.mode(Mode::Background).policy(Tiered::new(calls, calls)).max_beads(1 << 15).stale_after(None)
}

/// Calls each function until the request is made that its budget is for; the last call makes it.
fn make_hot(thread: &InterpThread<Guest>, beads: &[Bead<Guest>], calls: u32) {
    for bead in beads {
        times(calls as usize + 1, || thread.on_invoke(bead.as_ref()));
    }
}

#[test]
fn the_watch_sees_what_it_is_for() {
    let seen = watched(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(seen.allocations, 2);
    assert!(seen.system_calls.is_none_or(|calls| calls.is_empty()));
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        let seen = watched(|| {
            // SAFETY: asks for a number.
            std::hint::black_box(unsafe { libc::getppid() });
        });
        assert!(seen.system_calls.is_none_or(|calls| calls == [libc::SYS_getppid]));
        // Somebody else's lock.
        let lock = std::sync::Mutex::new(());
        let seen = std::thread::scope(|scope| {
            let held = lock.lock();
            let waits = scope.spawn(|| watched(|| drop(lock.lock())));
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
            waits.join().unwrap()
        });
        assert!(seen.system_calls.is_none_or(|calls| calls == [libc::SYS_futex]));
    }
}

#[test]
fn the_first_request_of_all_costs_neither_allocation_nor_system_call() {
    let broker = builder(0).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let seen = watched(|| assert!(thread.on_invoke(bead.as_ref()).is_none()));
    assert_nothing(&seen, "the first request");
    wait_for("it to be compiled", || invoke(&thread, &bead).is_some());
}

#[test]
fn nor_does_one_that_finds_every_worker_parked() {
    let broker = builder(3).build().unwrap();
    let thread = broker.register_thread().unwrap();
    for round in 0..3 {
        let beads: Vec<_> = (0..10).map(|value| bead(&broker, Guest::new(value))).collect();
        // Longer than workers poll.
        std::thread::sleep(Duration::from_millis(300));
        let seen = watched(|| make_hot(&thread, &beads, 3));
        assert_nothing(&seen, &format!("round {round}"));
        wait_for("it to be compiled", || beads.iter().all(|bead| invoke(&thread, bead).is_some()));
    }
}

#[test]
fn nor_do_ten_thousand_at_once_while_workers_compile() {
    for tier in [TIER1, TIER2] {
        let broker = builder(1).workers(2).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let beads: Vec<_> = (0..10_000).map(|value| bead(&broker, Guest::new(value))).collect();
        if tier == TIER2 {
            make_hot(&thread, &beads, 1);
            broker.drain();
        }
        let seen = watched(|| make_hot(&thread, &beads, 1));
        assert_nothing(&seen, &format!("ten thousand requests for {tier}"));
        broker.drain();
        let stats = broker.stats();
        assert_eq!(stats.tiers[usize::from(tier.index()) - 1].requested, 10_000, "each is asked for once");
        assert_eq!(stats.tiers[usize::from(tier.index()) - 1].installed, 10_000, "none is lost");
    }
}

#[test]
fn nor_does_a_loop_that_asks_for_a_variant() {
    let broker = builder(2).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let seen = watched(|| times(2_000, || thread.on_back_edge(bead.as_ref(), 0, 100)));
    assert_nothing(&seen, "a loop");
    wait_for("the variant", || thread.osr_entry(bead.as_ref(), 0).is_some());
}

/// The number of instructions is bounded, and does not depend on how many requests wait.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_request_takes_as_many_instructions_whoever_waits() {
    const BOUND: u64 = 2_500;
    assert!((3..50).contains(&steps::of(|| _ = std::hint::black_box(1))), "steps are counted");
    for mode in [Mode::Pump, Mode::Background] {
        let broker = builder(0).mode(mode).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let beads: Vec<_> = (0..10_000).map(|value| bead(&broker, Guest::new(value))).collect();
        let mut taken = Vec::new();
        for (number, bead) in beads.iter().enumerate() {
            // A worker may be faster than this thread now.
            let ask = || _ = std::hint::black_box(thread.on_invoke(bead.as_ref()));
            // Now and then three of them: each step is a signal.
            if number % 1_000 < 3 { taken.push(steps::of(ask)) } else { ask() }
        }
        let least: Vec<_> = taken.chunks(3).map(|three| *three.iter().min().unwrap()).collect();
        println!("{mode:?}: {least:?}");
        assert!(least.iter().all(|&least| least < BOUND), "{mode:?}: {taken:?}");
        // A look at the clock may have to be taken again.
        assert!(least.iter().max().unwrap() - least.iter().min().unwrap() < 50, "{mode:?}: {taken:?}");
        broker.drain();
        assert_eq!(broker.stats().tiers[0].installed, 10_000, "{mode:?}: none is lost");
    }
}
