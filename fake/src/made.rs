//! What a test wants to know of the units that were made, as generated code would know it of itself.

use std::sync::atomic::Ordering;

use tierup_broker::{CompileRequest, GuardId, Tier, UnitId, UnitKind, ValidityCell};

/// One unit a [`FakeCompiler`](crate::FakeCompiler) made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its identity.
    pub id: UnitId,
    /// Its tier.
    pub tier: Tier,
    /// A body, or a variant.
    pub kind: UnitKind,
    /// What the request said is not to be speculated on.
    pub suppressed: Vec<GuardId>,
    validity: Option<*const ValidityCell>,
}

// SAFETY: the pointer is to an atomic, and is followed only where `is_valid`'s caller promises that it is alive.
unsafe impl Send for Made {}

impl Made {
    pub(crate) fn of<G>(request: &CompileRequest<'_, G>, watches: bool) -> Self
    where
        G: Send + Sync + 'static,
    {
        Made {
            id: request.unit_id(),
            tier: request.tier(),
            kind: request.kind(),
            suppressed: request.suppressed().to_vec(),
            validity: watches.then(|| request.validity()),
        }
    }

    /// What the code finds in its validity cell.
    ///
    /// # Safety
    ///
    /// The unit's lease was not dropped.
    ///
    /// # Panics
    ///
    /// When the unit does not [watch](crate::Guest::watches) its cell.
    pub unsafe fn is_valid(&self) -> bool {
        let cell = self.validity.expect("a unit that watches its cell");
        // SAFETY: the cell lives as long as the lease (caller).
        unsafe { &*cell }.load(Ordering::Relaxed) == 0
    }
}
