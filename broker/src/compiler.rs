//! What a tier is made of: a request goes in, a unit or a bailout comes out.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    Assumption, Bailout, BeadId, BeadRef, Callee, CodeUnit, GuardId, Tier, UnitKind,
    shared::Shared,
    sync::{Arc, AtomicU8, Ordering},
    validity::{UnitId, UnitRecord, ValidityCell},
};

/// A compiler of guest functions whose handle is `G`.
///
/// It may fail, panic, return a null entry, a unit of another request, or never return: each costs at most the promotion of
/// that one function.
///
/// # Safety
///
/// A non-null entry in a returned [`CodeUnit`]
/// - is callable by any thread under the machine-code ABI the embedder's drivers use, and implements the request's guest
///   function, whole or from the loop site on that its kind names;
/// - stays so until the unit's lease is dropped.
pub unsafe trait Compiler<G>: Send + Sync {
    /// A short name for events and tables.
    fn name(&self) -> &str;

    /// Compiles one function.
    ///
    /// # Errors
    ///
    /// A [`Bailout`] when the function cannot be compiled, now or ever.
    fn compile(&self, request: &CompileRequest<'_, G>) -> Result<CodeUnit, Bailout>;

    /// Whether it compiles OSR variants ([`UnitKind::Osr`]): code that enters the function at a loop header, with the interpreter's
    /// live slots. Without it only bodies are asked for.
    fn compiles_osr(&self) -> bool {
        false
    }

    /// When [`warm_up`](Self::warm_up) is to be called.
    fn wants_warm_up(&self) -> WarmUpTime {
        WarmUpTime::Never
    }

    /// A first request may come soon. Called once at most, by whoever compiles.
    fn warm_up(&self) {}
}

/// When a compiler is to get ready. In [`Mode::Sync`](crate::Mode::Sync), where the caller would wait for it, never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarmUpTime {
    /// There is nothing to get ready.
    Never,
    /// When there is a worker, and nothing to do for it yet: for what takes little, and is likely to be needed at once.
    AtStart,
    /// When some bead has spent three quarters of the budget of this tier: for what many programs never need.
    WhenNear,
}

// SAFETY: forwards to an implementation that keeps the same promise.
unsafe impl<G, C: Compiler<G> + ?Sized> Compiler<G> for Arc<C> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn compile(&self, request: &CompileRequest<'_, G>) -> Result<CodeUnit, Bailout> {
        (**self).compile(request)
    }

    fn compiles_osr(&self) -> bool {
        (**self).compiles_osr()
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        (**self).wants_warm_up()
    }

    fn warm_up(&self) {
        (**self).warm_up();
    }
}

/// One compile: what to compile, for which tier, and how long it may take.
pub struct CompileRequest<'a, G> {
    pub(crate) guest: &'a G,
    pub(crate) bead: BeadId,
    pub(crate) running: Tier,
    pub(crate) counts: bool,
    pub(crate) samples: bool,
    pub(crate) size: u32,
    pub(crate) tier: Tier,
    pub(crate) kind: UnitKind,
    pub(crate) ticket: &'a Arc<Ticket>,
    pub(crate) stale: &'a (dyn Fn() -> bool + Sync),
    /// Guards not to be speculated on, in order.
    pub(crate) suppressed: &'a [GuardId],
    pub(crate) shared: &'a Shared<G>,
}

impl<G> CompileRequest<'_, G> {
    /// The guest function's handle.
    pub fn guest(&self) -> &G {
        self.guest
    }

    /// The bead the code is for. Code that counts embeds its index into the countdown table.
    pub fn bead(&self) -> BeadId {
        self.bead
    }

    /// The tier that ran the function when the compile began: in the interpreter's case nothing may be known of it yet.
    pub fn running(&self) -> Tier {
        self.running
    }

    /// Whether the bead may go to a higher tier from here. If so the code may count its own work, and say so of the unit
    /// ([`CodeUnit::counting`]); otherwise its callers in the interpreter count their calls.
    pub fn counts(&self) -> bool {
        self.counts
    }

    /// Whether code that polls need not count, because it is [sampled](CodeUnit::sampled). Not where
    /// [nobody could](crate::Mode) sample it, nor where nobody [wants to know](Self::counts), nor where it is wanted more exactly than a
    /// sample tells, because the [policy](crate::HotnessPolicy) waits for little work.
    pub fn samples(&self) -> bool {
        self.counts && self.samples
    }

    /// Size of the guest body in bytes, as registered.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The tier asked for.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// A whole body, or an OSR variant.
    pub fn kind(&self) -> UnitKind {
        self.kind
    }

    /// When the compile must be finished, if there is a deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.ticket.deadline
    }

    /// Whether the result is no longer wanted: the deadline passed, the function changed, or the broker shut down. Long compiles ask between phases and give up with
    /// [`BailoutReason::Cancelled`](crate::BailoutReason::Cancelled).
    pub fn is_cancelled(&self) -> bool {
        self.ticket.is_overdue() || (self.stale)()
    }

    /// Identity of the unit to be: what an exit of it is [reported](crate::InterpThread::on_exit) by.
    pub fn unit_id(&self) -> UnitId {
        self.ticket.record.id
    }

    /// Guards of this function that are not to be speculated on any more, in order: with one of them earlier code had failed too
    /// often.
    pub fn suppressed(&self) -> &[GuardId] {
        self.suppressed
    }

    /// Whether `guard` is one of these.
    pub fn is_suppressed(&self, guard: GuardId) -> bool {
        self.suppressed.binary_search(&guard).is_ok()
    }

    /// The address of the unit's validity cell, for the code to embed: it holds 0 until the unit was withdrawn, or its function
    /// reloaded, invalidated, disabled or tiered down. Then the code has to leave where it can: it looks after every poll, and
    /// after calls. Units whose compile did not ask are not told.
    ///
    /// The cell lives until the unit's lease has been dropped.
    pub fn validity(&self) -> *const ValidityCell {
        self.ticket.record.watch()
    }

    /// Whether the code may rely on an assumption: asked *before* what it protects is read. Of the unit
    /// [`CodeUnit::assuming`] must say so. False for an assumption that is broken, or of another broker.
    pub fn assume(&self, assumption: &Assumption) -> bool {
        assumption.is_of(&self.shared.dependents) && assumption.holds()
    }

    /// Wraps finished code as this request's unit.
    ///
    /// `entry` is the body's address, `code_bytes` its size for accounting; `lease` is dropped, from any thread, when no
    /// thread can be inside the code any more.
    pub fn unit(&self, entry: *const u8, code_bytes: usize, lease: Box<dyn Send + Sync>) -> CodeUnit {
        CodeUnit::new(entry, code_bytes, Arc::clone(self.ticket), lease)
    }
}

impl<'a, G: Send + Sync + 'static> CompileRequest<'a, G> {
    /// Captures which body `bead` has now: before that body is read, in order to put it into this request's unit as well. Of
    /// the unit [`CodeUnit::containing`] must say so. `None` for a bead of another broker, and for one that
    /// [may only be interpreted](crate::Placement).
    pub fn callee(&self, bead: BeadRef<'_, G>) -> Option<Callee<'a, G>> {
        self.shared.callee(bead)
    }
}

impl<G> fmt::Debug for CompileRequest<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileRequest")
            .field("bead", &self.bead)
            .field("tier", &self.tier)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Identity of one compile, and who owns its outcome: the thread that runs it, or the watchdog that gave up on it.
#[derive(Debug)]
pub(crate) struct Ticket {
    outcome: AtomicU8,
    pub(crate) deadline: Option<Instant>,
    pub(crate) record: Arc<UnitRecord>,
}

const RUNNING: u8 = 0;
const FINISHED: u8 = 1;
#[cfg(feature = "threads")]
const ABANDONED: u8 = 2;

impl Ticket {
    pub(crate) fn new(limit: Option<Duration>, record: Arc<UnitRecord>) -> Arc<Self> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Arc::new(Ticket { outcome: AtomicU8::new(RUNNING), deadline, record })
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The runner takes the outcome; false when the watchdog took it before.
    pub(crate) fn finish(&self) -> bool {
        self.settle(FINISHED)
    }

    /// The watchdog takes the outcome; false when the compile had finished.
    #[cfg(feature = "threads")]
    pub(crate) fn abandon(&self) -> bool {
        self.settle(ABANDONED)
    }

    fn settle(&self, to: u8) -> bool {
        // Ordering: AcqRel. Two contenders, one winner; the loser of `finish` must see the bead as the watchdog left it.
        self.outcome.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < FINISHED).then_some(to)).is_ok()
    }
}
