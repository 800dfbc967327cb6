//! The compilers of a home: they run the closures that users submit.

use std::{
    cell::Cell,
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::Arc,
};

use tierup_broker::{Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler};

use crate::{
    Bead, here,
    home::{Guest, Home},
    image::Image,
};

/// The compiler of one tier.
pub(crate) struct Runner {
    /// Which of the adapter's tiers it is; `None` for the paused one.
    tier: Option<usize>,
}

impl Runner {
    pub(crate) fn new(tier: usize) -> Self {
        Runner { tier: Some(tier) }
    }

    pub(crate) fn paused() -> Self {
        Runner { tier: None }
    }
}

// SAFETY: a unit's entry is an image. Nobody calls it: this crate is the only driver of its brokers, it reads images, and they
// have no native code that calls through code words. Images live as long as their bead, whose references all readers hold.
unsafe impl Compiler<Guest> for Runner {
    fn name(&self) -> &str {
        "closures"
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        let gone = || Bailout::terminal(BailoutReason::Cancelled);
        let bead = request.guest().0.upgrade().ok_or_else(gone)?;
        let image = match take_handed(&bead) {
            Some(image) => image,
            None => run(&bead, self.tier.ok_or_else(gone)?)?,
        };
        Ok(request.unit(image.as_ptr().cast_const().cast(), 0, Box::new(())))
    }
}

/// Runs the job that waits for the tier.
fn run(bead: &Arc<Bead>, tier: usize) -> Result<NonNull<Image>, Bailout> {
    let Some(link) = bead.link() else { return Err(Bailout::terminal(BailoutReason::Cancelled)) };
    // None is there when a request was overtaken by the one before it, which took both jobs' place.
    let job = link.home.jobs.take(link.index(), tier).ok_or_else(|| Bailout::retryable(BailoutReason::Cancelled))?;
    let _running = link.home.enter();
    // A worker does nothing else with beads: it must not keep the broker from freeing its records until its next job.
    let _rest = here::RestAfter;
    let within = Within { home: &raw const *link.home, bead: Arc::as_ptr(bead), tier, outer: WITHIN.get() };
    let _within = Entered::new(&within);
    let failed = bead.begin_compile(tier);
    let result = job(bead);
    match NonNull::new(result.entry) {
        Some(code) => {
            failed.did_not();
            Ok(bead.built(tier, code, result.osr))
        }
        // What failed was the old body.
        None if bead.reload_pending() => Err(Bailout::retryable(BailoutReason::Cancelled)),
        None => Err(Bailout::terminal(BailoutReason::NullCode)),
    }
}

/// A job that runs on this thread.
struct Within {
    home: *const Home,
    bead: *const Bead,
    tier: usize,
    outer: *const Within,
}

thread_local! {
    /// The innermost job that runs on this thread.
    static WITHIN: Cell<*const Within> = const { Cell::new(ptr::null()) };
    /// What `compile` is to install instead of running a job.
    static HANDED: Cell<Option<(*const Bead, NonNull<Image>)>> = const { Cell::new(None) };
}

/// Makes a job the innermost one for as long as it lives.
struct Entered<'w>(&'w Within);

impl<'w> Entered<'w> {
    fn new(within: &'w Within) -> Self {
        WITHIN.set(within);
        Entered(within)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        WITHIN.set(self.0.outer);
    }
}

fn jobs_here() -> impl Iterator<Item = &'static Within> {
    let mut next = WITHIN.get();
    std::iter::from_fn(move || {
        // SAFETY: null, or a record further out on this thread's stack: `Entered` takes it back before it goes. Nobody keeps
        // what this iterates over beyond a call that the job makes.
        let within = unsafe { next.as_ref() }?;
        next = within.outer;
        Some(within)
    })
}

/// Whether this thread runs a job of the home.
pub(crate) fn is_within(home: &Home) -> bool {
    jobs_here().any(|within| ptr::eq(within.home, home))
}

/// The tier for which this thread is compiling the bead, if it is.
pub(crate) fn compiling_here(bead: &Bead) -> Option<usize> {
    jobs_here().find(|within| ptr::eq(within.bead, bead)).map(|within| within.tier)
}

/// Has `install` install a ready image, by compiling the bead on this thread. Whether it was.
pub(crate) fn hand_over(bead: &Bead, image: NonNull<Image>, install: impl FnOnce() -> bool) -> bool {
    struct Restore(Option<(*const Bead, NonNull<Image>)>, PhantomData<*mut ()>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HANDED.set(self.0);
        }
    }
    let _restore = Restore(HANDED.replace(Some((ptr::from_ref(bead), image))), PhantomData);
    install() && HANDED.get().is_none()
}

fn take_handed(bead: &Arc<Bead>) -> Option<NonNull<Image>> {
    let (_, image) = HANDED.get().filter(|(whose, _)| ptr::eq(*whose, Arc::as_ptr(bead)))?;
    HANDED.set(None);
    Some(image)
}
