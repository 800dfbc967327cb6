//! Compiled units: an entry, the lease that keeps its code mapped, and the request it was made for.

use std::{fmt, ptr::NonNull};

use crate::{
    Callee, Tier,
    callee::{BodyId, Contents, Dependents},
    compiler::Ticket,
    contain::contained,
    stats::CodeLedger,
    sync::{Arc, AtomicU8, Ordering},
};

/// What a unit is the code of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnitKind {
    /// A whole function, entered at its start.
    Body,
    /// A variant entered at a loop header.
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
    contains: Vec<BodyId>,
    lease: Lease,
}

// SAFETY: `entry` is an address, not a reference: nothing here reads through it. The rest is Send + Sync.
unsafe impl Send for CodeUnit {}
// SAFETY: as above.
unsafe impl Sync for CodeUnit {}

impl CodeUnit {
    pub(crate) fn new(entry: *const u8, code_bytes: usize, ticket: Arc<Ticket>, lease: Box<dyn Send + Sync>) -> Self {
        CodeUnit { entry, code_bytes, ticket, counting: false, contains: Vec::new(), lease: Lease(Some(lease)) }
    }

    /// Says that the code spends the bead's countdown by itself, so that callers need not.
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.counting = true;
        self
    }

    /// Says that the code contains the body of another function, which was captured before it was read. The unit is refused if
    /// that function is reloaded, invalidated or released before it is installed, and withdrawn when it is later.
    #[must_use]
    pub fn containing<G: Send + Sync + 'static>(mut self, callee: &Callee<'_, G>) -> Self {
        self.contains.push(callee.body());
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
    pub(crate) entry: NonNull<u8>,
    pub(crate) code_bytes: usize,
    pub(crate) tier: Tier,
    /// The code spends the countdown, not its callers.
    pub(crate) counting: bool,
    /// Other functions' bodies in the code.
    pub(crate) contents: Contents,
    phase: AtomicU8,
    ledger: Arc<CodeLedger>,
    _lease: Lease,
}

// SAFETY: `entry` is an address, not a reference: the unit never reads through it. The lease is Send + Sync, the ledger atomic.
unsafe impl Send for InstalledUnit {}
// SAFETY: as above; no method gives mutable access to anything.
unsafe impl Sync for InstalledUnit {}

const NEVER_INSTALLED: u8 = 0;
const LIVE: u8 = 1;
const RETIRED: u8 = 2;

impl InstalledUnit {
    /// `None` when the entry is null.
    pub(crate) fn accept(unit: CodeUnit, tier: Tier, ledger: &Arc<CodeLedger>, dependents: &Arc<Dependents>) -> Option<Self> {
        let entry = NonNull::new(unit.entry.cast_mut())?;
        Some(InstalledUnit {
            entry,
            code_bytes: unit.code_bytes,
            tier,
            counting: unit.counting,
            contents: Contents::new(unit.contains, dependents),
            phase: AtomicU8::new(NEVER_INSTALLED),
            ledger: Arc::clone(ledger),
            _lease: unit.lease,
        })
    }

    /// The unit's version was published.
    pub(crate) fn note_live(&self) {
        // Ordering: Relaxed. Bookkeeping only; the code word's publication orders what matters.
        if self.phase.swap(LIVE, Ordering::Relaxed) != LIVE {
            self.ledger.installed(self.code_bytes);
        }
    }

    /// No published version contains the unit any more.
    pub(crate) fn note_retired(&self) {
        // Ordering: Relaxed. As in `note_live`.
        if self.phase.swap(RETIRED, Ordering::Relaxed) == LIVE {
            self.ledger.retired(self.code_bytes);
        }
    }
}

impl Drop for InstalledUnit {
    fn drop(&mut self) {
        // Ordering: Relaxed. `&mut self`: nobody else has the unit.
        match self.phase.load(Ordering::Relaxed) {
            LIVE => {
                self.ledger.retired(self.code_bytes);
                self.ledger.reclaimed(self.code_bytes);
            }
            RETIRED => self.ledger.reclaimed(self.code_bytes),
            _ => {}
        }
    }
}

impl fmt::Debug for InstalledUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstalledUnit").field("entry", &self.entry).field("tier", &self.tier).finish_non_exhaustive()
    }
}
