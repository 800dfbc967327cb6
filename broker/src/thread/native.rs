//! Calls of functions that may not be interpreted.

use super::{InterpThread, NativeCode};
use crate::{BeadRef, CompileNowError, Placement, Tier};

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// As [`on_invoke`](Self::on_invoke) for a function that may not be interpreted: what has no native code, because it was reloaded
    /// or invalidated, is compiled first, on this thread.
    ///
    /// # Errors
    ///
    /// A [`CompileNowError`] when it cannot be. The call must not be made.
    pub fn on_invoke_native(&self, bead: BeadRef<'_, G>) -> Result<NativeCode<'_>, CompileNowError> {
        debug_assert!(self.shared.owns(bead), "a bead of another broker");
        let least = match self.shared.registry.tally(bead.id as u32).placement() {
            Placement::NativeOnly(tier) => tier,
            _ => Tier::new(1),
        };
        loop {
            if let Some(code) = self.on_invoke(bead).filter(|code| code.tier() >= least) {
                return Ok(code);
            }
            self.shared.compile_now(bead.id as u32, least)?;
        }
    }
}
