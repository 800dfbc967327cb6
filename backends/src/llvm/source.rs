//! The seam between the backend and whatever makes objects: CLIF in, object out.

use cranelift_codegen::ir::Function;
use tierup_broker::Bailout;

use super::Locations;

/// A compiler of CLIF that lives elsewhere: in the helper process ([`Helper`](super::Helper)), or linked in.
///
/// # Safety
///
/// The object's entry symbol is the first function of the unit, compiled so that it means what the CLIF means and keeps
/// `ABI.md`: System V, frame pointers, no frame above `MAX_FRAME`, nothing that unwinds.
pub unsafe trait ObjectSource: Send + Sync + 'static {
    /// Compiles *verified* functions, the entry first, to one object.
    ///
    /// May be called by several threads at once. Asks `cancelled` now and then, and gives up with
    /// [`BailoutReason::Cancelled`](tierup_broker::BailoutReason::Cancelled) when it says so.
    ///
    /// # Errors
    ///
    /// Terminal when the unit would be refused again, retryable when it is not the unit's fault.
    fn object(&self, unit: &[&Function], cancelled: &dyn Fn() -> bool) -> Result<Object, Bailout>;

    /// A request will come soon: whatever takes long to start may start now. Does not wait.
    fn prewarm(&self) {}
}

/// What a source makes.
#[derive(Debug, Clone)]
pub struct Object {
    /// Symbol of the unit's entry.
    pub entry: String,
    /// What its code comes from, for backtraces.
    pub locations: Locations,
    /// An x86-64 ELF relocatable object.
    pub bytes: Vec<u8>,
}
