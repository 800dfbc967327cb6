//! The calling thread, as the broker knows it.
//!
//! The incumbent's calls do not say which thread they are made on, so this crate keeps, per thread, one handle for each home that
//! the thread has met. It is the only place in Tierup that does. The thread's latest home is remembered beside, where the
//! hot path finds it in two instructions.
//!
//! A thread holds on to what the broker publishes only during a call into this crate: what it keeps afterwards are code
//! addresses, which stay good as long as their bead. So the end of every slow call is a quiescent point. A thread that makes no slow
//! calls any more keeps the broker's records of replaced code from being freed, until it ends.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    ptr,
    sync::{Arc, Weak},
};

use tierup_broker::InterpThread;

use crate::home::{Guest, Home};

type Thread = InterpThread<Guest>;

/// A thread's handle of one home.
struct Registered {
    /// Keeps the home's address from being used again, not the home.
    home: Weak<Home>,
    thread: UnsafeCell<Thread>,
    /// Calls of `visit` that are under way.
    visits: Cell<u32>,
    /// Not online.
    resting: Cell<bool>,
}

/// The handle that the thread used last.
struct Nearest {
    home: Cell<*const Home>,
    registered: Cell<*const Registered>,
}

impl Nearest {
    const fn nobody() -> Self {
        Nearest { home: Cell::new(ptr::null()), registered: Cell::new(ptr::null()) }
    }

    fn forget(&self) {
        self.home.set(ptr::null());
        self.registered.set(ptr::null());
    }
}

/// All handles of a thread.
#[allow(clippy::vec_box, reason = "their addresses are kept while others are added")]
struct Threads(Vec<Box<Registered>>);

impl Drop for Threads {
    fn drop(&mut self) {
        // Other destructors of this thread may still look.
        NEAREST.with(Nearest::forget);
    }
}

thread_local! {
    static NEAREST: Nearest = const { Nearest::nobody() };
    static THREADS: RefCell<Threads> = const { RefCell::new(Threads(Vec::new())) };
}

/// Whether the home is the one that this thread used last: then the thread is online there. No home is at `home` when a bead has none.
#[inline(always)]
pub(crate) fn is_nearest(home: *const Home) -> bool {
    NEAREST.with(|nearest| ptr::eq(nearest.home.get(), home))
}

/// Calls `look`, which comes back here by no way, with the handle of the home that this thread used last.
///
/// # Safety
///
/// [`is_nearest`] has said so of some home, and nothing else of this file was called since.
#[inline(always)]
pub(crate) unsafe fn with_nearest<R>(look: impl FnOnce(&Thread) -> R) -> R {
    NEAREST.with(|nearest| {
        // SAFETY: set together with `home`, to a registered handle; both are forgotten before that is dropped, or rests.
        let registered = unsafe { &*nearest.registered.get() };
        // SAFETY: a mutable reference exists only while a visit ends, which calls nothing that comes here.
        look(unsafe { &*registered.thread.get() })
    })
}

/// Calls `call` with the thread's handle of the home, which it registers the first time. `None` at the end of the thread, or
/// when there is no memory.
pub(crate) fn visit<R>(home: &Arc<Home>, call: impl FnOnce(&Thread) -> R) -> Option<R> {
    let nearest = NEAREST.with(|nearest| (ptr::eq(nearest.home.get(), Arc::as_ptr(home))).then(|| nearest.registered.get()));
    let registered = match nearest {
        Some(registered) => registered,
        None => come_to(home)?,
    };
    // SAFETY: boxed, and dropped only when its home is gone, which the caller holds, or with the thread.
    let registered = unsafe { &*registered };
    let visit = Visit::begin(registered);
    // SAFETY: mutable references are made where no visit is under way, and this is one.
    let result = call(unsafe { &*registered.thread.get() });
    drop(visit);
    Some(result)
}

/// Makes a home the nearest one.
#[cold]
fn come_to(home: &Arc<Home>) -> Option<*const Registered> {
    let found: *const Registered = THREADS.try_with(|threads| find_or_register(&mut threads.borrow_mut(), home)).ok()??;
    // SAFETY: as in `visit`.
    let registered = unsafe { &*found };
    if registered.resting.replace(false) {
        // SAFETY: no visit is under way when a thread rests, so this is the only reference.
        unsafe { &mut *registered.thread.get() }.wake();
    }
    NEAREST.with(|nearest| {
        nearest.home.set(Arc::as_ptr(home));
        nearest.registered.set(found);
    });
    Some(found)
}

fn find_or_register(threads: &mut Threads, home: &Arc<Home>) -> Option<*const Registered> {
    let found = threads.0.iter().find(|registered| ptr::eq(registered.home.as_ptr(), Arc::as_ptr(home)));
    if let Some(registered) = found {
        return Some(&raw const **registered);
    }
    // The nearest one may be among those that go.
    NEAREST.with(Nearest::forget);
    threads.0.retain(|registered| registered.home.strong_count() > 0);
    let thread = home.broker.register_thread().ok()?;
    let (visits, resting) = (Cell::new(0), Cell::new(false));
    threads.0.push(Box::new(Registered { home: Arc::downgrade(home), thread: UnsafeCell::new(thread), visits, resting }));
    threads.0.last().map(|registered| &raw const **registered)
}

/// A visit under way; when the outermost one ends the thread holds nothing.
struct Visit<'r>(&'r Registered);

impl<'r> Visit<'r> {
    fn begin(registered: &'r Registered) -> Self {
        registered.visits.set(registered.visits.get() + 1);
        Visit(registered)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.visits.set(self.0.visits.get() - 1);
        if self.0.visits.get() == 0 && !self.0.resting.get() {
            // SAFETY: no visit is under way on this handle, and what `with_nearest` calls does not come here: no reference is alive.
            unsafe { &mut *self.0.thread.get() }.quiescent();
        }
    }
}

/// Takes the thread's handles offline when it is dropped: for threads that may not come back for long.
pub(crate) struct RestAfter;

impl Drop for RestAfter {
    fn drop(&mut self) {
        let _ = THREADS.try_with(|threads| {
            let Ok(threads) = threads.try_borrow() else { return };
            NEAREST.with(Nearest::forget);
            for registered in threads.0.iter().filter(|registered| registered.visits.get() == 0) {
                if !registered.resting.replace(true) {
                    // SAFETY: no visit is under way. Until `visit` wakes it nobody finds the handle: it is not the nearest.
                    unsafe { (*registered.thread.get()).rest() };
                }
            }
        });
    }
}
