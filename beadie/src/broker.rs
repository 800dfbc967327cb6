//! The compiling side alone, for runtimes that count by themselves.

use std::{fmt, sync::Arc};

use crate::{Bead, OsrEntry, SubmitResult, home::Home, jobs};

/// What a compile closure with OSR entries returns.
#[derive(Debug)]
pub struct OsrCompileResult {
    /// The code; null when the function could not be compiled.
    pub entry: *mut (),
    /// Where the code can be entered in the middle.
    pub osr: Vec<OsrEntry>,
}

// SAFETY: addresses, which nobody here follows.
unsafe impl Send for OsrCompileResult {}

/// Compiles beads in the background, on one thread, which is spawned when it is first needed.
///
/// Dropping it discards what waits and waits for the closure that runs, so that what closures use may be freed after that. (A
/// closure may drop it: then nobody waits.) Beads keep their code.
pub struct Broker {
    home: Arc<Home>,
}

impl Broker {
    /// A broker. Its queue has room for every bead: the `capacity` is not used.
    pub fn with_capacity(capacity: usize) -> Self {
        let _ = capacity;
        Self::with_tiers(1)
    }

    pub(crate) fn with_tiers(tiers: usize) -> Self {
        Broker { home: Home::new(tiers) }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Asks for a bead's first code. A bead that belongs to another broker is compiled by that one.
    ///
    /// The closure is called on a thread of the broker's. It returns the code, or null if the function cannot be compiled: then, as when it
    /// panics, the bead stays with the interpreter until it is [reloaded](Bead::reload) or submitted again.
    pub fn submit(&self, bead: Arc<Bead>, compile: impl FnOnce(&Arc<Bead>) -> *mut () + Send + 'static) -> SubmitResult {
        bead.submit(&self.home, jobs::simple(compile))
    }

    /// As [`submit`](Self::submit), for code with OSR entries.
    pub fn submit_osr(
        &self,
        bead: Arc<Bead>,
        compile: impl FnOnce(&Arc<Bead>) -> OsrCompileResult + Send + 'static,
    ) -> SubmitResult {
        bead.submit(&self.home, Box::new(compile))
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::with_tiers(1)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.home.close();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broker").field(&self.home).finish()
    }
}
