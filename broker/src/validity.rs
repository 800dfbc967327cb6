//! A unit's identity and its validity cell: what compiled code can refer to of itself, and so exists before the compile.
//!
//! A cell is 0 until the unit may no longer be run on in. Compiled code that cares embeds its address and looks where it can
//! leave, after a poll and after a call; what it finds there it could not have learnt from the code word, which it has read
//! already. Flagging comes after the code word was swapped: who leaves because of the flag does not find the way back in.
//!
//! The cell lives in a [`UnitRecord`], which is counted: by the compile while it runs, by the unit, which lets it go after its
//! lease, and by whatever may have to flag it. So while the code is mapped its cell is there; and that nobody runs the code when
//! the lease goes is what the reclaimer proves.

use std::fmt;

use crate::{
    BeadId,
    mutation::dropped,
    sync::{Arc, AtomicBool, AtomicU32, Ordering},
};

/// Identity of a unit: of which bead it is, and which of that bead's. No two units of a broker share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId {
    pub(crate) bead: BeadId,
    pub(crate) serial: u64,
}

impl UnitId {
    /// The bead the unit was compiled for.
    pub fn bead(self) -> BeadId {
        self.bead
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit {} of {}", self.serial, self.bead)
    }
}

/// What compiled code looks at to see whether it may run on: 0 means that it may.
pub type ValidityCell = AtomicU32;

/// Code that finds this must leave.
const INVALID: u32 = 1;

/// What there is of a unit before it is compiled.
#[derive(Debug)]
pub(crate) struct UnitRecord {
    pub(crate) id: UnitId,
    validity: ValidityCell,
    /// The compiler has asked for the cell's address.
    watched: AtomicBool,
}

impl UnitRecord {
    pub(crate) fn new(id: UnitId) -> Arc<Self> {
        Arc::new(UnitRecord { id, validity: ValidityCell::new(0), watched: AtomicBool::new(false) })
    }

    /// The cell's address, for code to embed: from now on the unit has to be told.
    pub(crate) fn watch(&self) -> *const ValidityCell {
        // Ordering: Relaxed. Read by the thread that gets the compiler's result, to which the compile happened before.
        self.watched.store(true, Ordering::Relaxed);
        &raw const self.validity
    }

    /// Whether the unit's code may look at the cell.
    pub(crate) fn is_watched(&self) -> bool {
        // Ordering: Relaxed. As in `watch`.
        self.watched.load(Ordering::Relaxed)
    }

    /// The code must leave where it can. Says whether it may be looking.
    pub(crate) fn flag(&self) -> bool {
        // Ordering: Relaxed. That a thread which has polled since sees it is the poll's doing (`poll.rs`). Test: loom
        // break_vs_poll.
        if !dropped!(Flag) {
            self.validity.store(INVALID, Ordering::Relaxed);
        }
        self.is_watched()
    }
}
