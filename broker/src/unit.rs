//! Compiled units: an entry, the lease that keeps its code mapped, and the request it was made for.

use std::{
    fmt,
    ptr::NonNull,
    time::{Duration, Instant},
};

use crate::{
    Assumption, Callee, GuardId, Tier,
    compiler::Ticket,
    contain::contained,
    exits::ExitCounts,
    mutation::dropped,
    premise::{BodyId, Dependents, Premise, Premises},
    stats::CodeLedger,
    sync::{Arc, AtomicBool, AtomicU8, OnceLock, Ordering},
    tuning::MOST_SITES,
    validity::UnitRecord,
};

/// What a unit is the code of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnitKind {
    /// A whole function, entered at its start.
    Body,
    /// A variant entered at a loop header, at [others](CodeUnit::entered_at) as well if the compiler likes.
    Osr {
        /// The loop site.
        site: u32,
    },
}

/// One compiled body or variant, as a [`Compiler`](crate::Compiler) returns it.
///
/// Made only by [`CompileRequest::unit`](crate::CompileRequest::unit), which stamps it with the request: a unit returned for
/// another request is refused. Dropping it drops the lease, which is when the compiler takes its memory back.
pub struct CodeUnit {
    pub(crate) entry: *const u8,
    pub(crate) code_bytes: usize,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) counting: bool,
    pub(crate) sampled: bool,
    premises: Vec<Premise>,
    guards: Vec<GuardId>,
    entered_at: Vec<u32>,
    lease: Lease,
}

// SAFETY: `entry` is an address, not a reference: nothing here reads through it. The rest is Send + Sync.
unsafe impl Send for CodeUnit {}
// SAFETY: as above.
unsafe impl Sync for CodeUnit {}

impl CodeUnit {
    pub(crate) fn new(entry: *const u8, code_bytes: usize, ticket: Arc<Ticket>, lease: Box<dyn Send + Sync>) -> Self {
        CodeUnit {
            entry,
            code_bytes,
            ticket,
            counting: false,
            sampled: false,
            premises: Vec::new(),
            guards: Vec::new(),
            entered_at: Vec::new(),
            lease: Lease(Some(lease)),
        }
    }

    /// Says that the code spends the bead's countdown by itself, so that callers need not.
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.counting = true;
        self
    }

    /// Says that the code polls, at its entry and its loops, and counts nothing: threads that find
    /// [`POLL_SAMPLE`](crate::POLL_SAMPLE) in it tell of [that](crate::InterpThread::sample_native). Callers need not count either.
    #[must_use]
    pub fn sampled(mut self) -> Self {
        self.sampled = true;
        self.counting()
    }

    /// Says that the code contains the body of another function, which was captured before it was read. The unit is refused if
    /// that function is reloaded, invalidated or released before it is installed, and withdrawn when it is later.
    #[must_use]
    pub fn containing<G: Send + Sync + 'static>(mut self, callee: &Callee<'_, G>) -> Self {
        self.premises.push(Premise::Body(callee.body()));
        self
    }

    /// Says that the code is right only while the assumption holds, which the compile [asked](crate::CompileRequest::assume) before
    /// it relied on it. The unit is refused if it is broken before it is installed, and withdrawn when it is later.
    #[must_use]
    pub fn assuming(mut self, assumption: &Assumption) -> Self {
        self.premises.push(Premise::Assumption(assumption.clone()));
        self
    }

    /// Says at which guards the code may leave for the interpreter, so that [exits](crate::InterpThread::on_exit) are counted for
    /// each. Duplicates count as one.
    ///
    /// The body of a lower tier that a unit with guards or premises replaces stays resident, so that it can take over at once.
    #[must_use]
    pub fn guarded(mut self, guards: impl IntoIterator<Item = GuardId>) -> Self {
        self.guards.extend(guards);
        self
    }

    /// Says that the variant can be entered at these loop sites, too: a driver passes the site that it enters at. Of a body, and of sites
    /// that no table has room for, it means nothing; where there is a variant of the same tier or a better one, that stays.
    #[must_use]
    pub fn entered_at(mut self, sites: impl IntoIterator<Item = u32>) -> Self {
        self.entered_at.extend(sites.into_iter().filter(|&site| site < MOST_SITES));
        self
    }

    /// Size of the machine code in bytes.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }
}

impl fmt::Debug for CodeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeUnit").field("entry", &self.entry).field("code_bytes", &self.code_bytes).finish_non_exhaustive()
    }
}

/// What keeps code mapped. Dropping it runs the compiler's code, which may panic.
struct Lease(Option<Box<dyn Send + Sync>>);

impl Drop for Lease {
    fn drop(&mut self) {
        let lease = self.0.take();
        if let Err(message) = contained(|| drop(lease)) {
            tracing::error!(target: "tierup", %message, "dropping a code lease panicked");
        }
    }
}

/// A unit the broker accepted. Shared by the versions that contain it; the lease goes when the last of them does.
pub(crate) struct InstalledUnit {
    /// Before the record: when the validity cell goes, no code refers to it any more.
    _lease: Lease,
    pub(crate) entry: NonNull<u8>,
    pub(crate) code_bytes: usize,
    pub(crate) tier: Tier,
    /// The code spends the countdown, not its callers.
    pub(crate) counting: bool,
    /// Its work is found out by sampling.
    pub(crate) sampled: bool,
    pub(crate) premises: Premises,
    pub(crate) exits: ExitCounts,
    /// It may be given up or withdrawn for reasons of its own.
    pub(crate) speculative: bool,
    /// Of a variant, loop sites that it serves; the one that it was asked for need not be among them.
    pub(crate) entered_at: Vec<u32>,
    record: Arc<UnitRecord>,
    phase: AtomicU8,
    retired: OnceLock<Instant>,
    resident: AtomicBool,
    ledger: Arc<CodeLedger>,
}

// SAFETY: `entry` is an address, not a reference: the unit never reads through it. The lease is Send + Sync, the ledger atomic.
unsafe impl Send for InstalledUnit {}
// SAFETY: as above; no method gives mutable access to anything.
unsafe impl Sync for InstalledUnit {}

/// What a unit goes through. Never back: who published it may be late to tell, when others have long replaced it.
const NEVER_INSTALLED: u8 = 0;
const LIVE: u8 = 1;
const RETIRED: u8 = 2;

impl InstalledUnit {
    /// A unit compiled from a body of this lineage. `None` when the entry is null.
    pub(crate) fn accept(
        unit: CodeUnit,
        tier: Tier,
        lineage: u64,
        ledger: &Arc<CodeLedger>,
        dependents: &Arc<Dependents>,
    ) -> Option<Self> {
        let entry = NonNull::new(unit.entry.cast_mut())?;
        let record = Arc::clone(&unit.ticket.record);
        let mut premises = unit.premises;
        let speculative = !premises.is_empty() || !unit.guards.is_empty();
        if record.is_watched() {
            premises.push(Premise::Body(BodyId { bead: record.id.bead, lineage }));
        }
        Some(InstalledUnit {
            entry,
            code_bytes: unit.code_bytes,
            tier,
            counting: unit.counting,
            sampled: unit.sampled,
            premises: Premises::new(premises, &record, dependents),
            exits: ExitCounts::new(unit.guards),
            speculative,
            entered_at: unit.entered_at,
            record,
            phase: AtomicU8::new(NEVER_INSTALLED),
            retired: OnceLock::new(),
            resident: AtomicBool::new(false),
            ledger: Arc::clone(ledger),
            _lease: unit.lease,
        })
    }

    /// Which of its bead's units it is.
    pub(crate) fn serial(&self) -> u64 {
        self.record.id.serial
    }

    /// The unit's version was published: in it the unit can be entered, or is kept resident below one that can.
    pub(crate) fn note_live(&self, resident: bool) {
        // Ordering: Relaxed. Bookkeeping only; the code word's publication orders what matters. Test: loom update_vs_invalidate.
        let before = self.phase.fetch_max(LIVE, Ordering::Relaxed);
        if before == NEVER_INSTALLED || before == RETIRED && dropped!(UnitPhase) {
            self.ledger.installed(self.code_bytes);
        }
        if before != RETIRED {
            self.note_resident(resident);
        }
    }

    fn note_resident(&self, resident: bool) {
        // Ordering: Relaxed. As in `note_live`.
        if self.resident.swap(resident, Ordering::Relaxed) != resident {
            self.ledger.resident(self.code_bytes, resident);
        }
    }

    /// No published version contains the unit any more.
    pub(crate) fn note_retired(&self) {
        // Ordering: Relaxed. As in `note_live`.
        let before = self.phase.fetch_max(RETIRED, Ordering::Relaxed);
        if before == NEVER_INSTALLED {
            self.ledger.installed(self.code_bytes);
        }
        if before != RETIRED {
            self.ledger.retired(self.code_bytes);
            let _ = self.retired.set(Instant::now());
        }
        self.note_resident(false);
    }

    /// Whether no published version contains the unit any more, about.
    pub(crate) fn is_retired(&self) -> bool {
        // Ordering: Relaxed. As in `note_live`.
        self.phase.load(Ordering::Relaxed) == RETIRED
    }
}

impl Drop for InstalledUnit {
    fn drop(&mut self) {
        self.note_resident(false);
        // Ordering: Relaxed. `&mut self`: nobody else has the unit.
        match self.phase.load(Ordering::Relaxed) {
            LIVE => {
                self.ledger.retired(self.code_bytes);
                self.ledger.reclaimed(self.code_bytes);
            }
            RETIRED => {
                self.ledger.reclaimed(self.code_bytes);
                self.ledger.waited(self.retired.get().map_or(Duration::ZERO, Instant::elapsed));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for InstalledUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstalledUnit").field("entry", &self.entry).field("tier", &self.tier).finish_non_exhaustive()
    }
}
