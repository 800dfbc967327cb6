//! Hot reload: functions of a module that is running are given other bodies.
//!
//! The bodies come in a whole binary, another edition of the module: what a compiler makes of the changed source. All else in it has to be
//! as it was, because instances are laid out by it; so every type, index and name means the same in both.
//!
//! Frames go on in the body that they began in, whoever runs them, and calls that begin afterwards enter the new one:
//!
//! | where a thread is | how it goes on |
//! |---|---|
//! | in the interpreter | in the old body's code; none of its loops enters code of the new one ([`InterpThread::osr_entry_of`]) |
//! | in native code, or in an OSR variant | there, until it returns or leaves: the code stays as long as anybody is in it |
//! | leaving through an exit, or at a loop | in the interpreter, in the body that the code was compiled from |
//! | calling, by whichever way | in the new body: there is one code word for all callers |
//! | in code that contains a copy of the old body | there: the code is withdrawn, so nobody enters it again, and left where it can be |
//!
//! [`InterpThread::osr_entry_of`]: tierup::InterpThread::osr_entry_of

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tierup::BeadSpec;

use super::closed::only_reads;
use super::compare::{self, Part};
use super::{Body, FuncHandle, Module, ModuleInner, parse};
use crate::error::Error;
use crate::prepare;

/// What was reloaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The functions that have another body now, by index, imports counted, ascending.
    pub functions: Vec<u32>,
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The binary is not a module that this VM could load.
    #[error("{0}")]
    Module(#[source] Error),
    /// It is not an edition of this module.
    #[error("the {part} are not what they were, first at {index}")]
    Differs {
        /// What differs.
        part: Part,
        /// The first that does; 0 where there is one only.
        index: u32,
    },
    /// The new body of a function is not valid, or has something that this VM does not have.
    #[error("function {function}: {error}")]
    Body {
        /// Its index, imports counted.
        function: u32,
        /// What is wrong; offsets are in the new binary.
        #[source]
        error: Error,
    },
    /// The new body of a function writes to a table, and compiled code may rely on it that nobody does: none of the bodies that the
    /// module was loaded with did, and nobody else can name one of its tables.
    #[error("function {function} writes to a table, which no function of the module did when it was loaded")]
    WritesTables {
        /// Its index, imports counted.
        function: u32,
    },
}

/// The bodies that came after the first ones.
#[derive(Default)]
pub(super) struct LaterBodies {
    /// Held by who reloads: one at a time.
    reloading: Mutex<()>,
    /// Those that are still there, and some that are not. Never held for long.
    all: Mutex<Vec<Weak<Body>>>,
}

impl LaterBodies {
    fn all(&self) -> MutexGuard<'_, Vec<Weak<Body>>> {
        // A list of weak counts cannot be half changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Module {
    /// Gives every function whose body is another one in `wasm` that body, in all instances and on all threads, and says which these
    /// are. All else in the binary must be as it was when this module was loaded, but for custom sections; names stay those of
    /// the module.
    ///
    /// Calls that begin after this has returned enter the new bodies; a frame goes on in the body that it began in, to its end. Code of
    /// the optimizing tier may contain a copy of a function that it calls: if such code is being run, it goes on with the old one until
    /// it returns, or until its next poll with [`Config::leaves_at_polls`](crate::Config::leaves_at_polls).
    /// While this runs, calls on other threads may meet one function reloaded and another not yet. Memories, tables and globals stay
    /// as they are, and the start function is not called again. Offsets in [backtraces](crate::Trap::backtrace) are in the binary that the frame's body came with.
    ///
    /// What is known of a function that is reloaded is forgotten: it is counted, profiled and compiled anew. Old bodies and their code are
    /// freed when no thread is inside any more ([`Module::later_bodies`]).
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; then nothing has changed.
    pub fn reload_from(&self, wasm: &[u8]) -> Result<Reloaded, ReloadError> {
        let module = &*self.0;
        let sections = parse::read(&module.engine, wasm).map_err(ReloadError::Module)?;
        compare::same(module, &sections, wasm)?;
        let _alone = module.later.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for (function, range) in module.functions.iter().zip(sections.bodies) {
            let later = function.later();
            if later.as_deref().unwrap_or(&function.first).bytes(module) != &wasm[range.clone()] {
                let body = Body::reloaded(Arc::downgrade(&self.0), function.index, &wasm[range.clone()], range.start);
                prepare::ensure(module, &body).map_err(|error| ReloadError::Body { function: function.index, error })?;
                if !only_reads(&body.read(module)) && module.has_closed_tables() {
                    return Err(ReloadError::WritesTables { function: function.index });
                }
                changed.push((function, body));
            }
        }
        let broker = module.engine.broker();
        for (function, body) in &changed {
            module.later.all().push(Arc::downgrade(body));
            // First here, then there: who meets the broker's new version has seen the new body.
            function.replace(body);
            let handle = FuncHandle { module: Arc::downgrade(&self.0), index: function.index, body: Some(Arc::clone(body)) };
            broker.reload_as(function.bead.as_ref(), handle, BeadSpec { size: body.bytes(module).len() as u32 });
        }
        // Where there are no workers nobody else would, nor deliver the events.
        broker.collect();
        module.later.all().retain(|body| body.strong_count() > 0);
        Ok(Reloaded { functions: changed.iter().map(|(function, _)| function.index).collect() })
    }

    /// How many of the bodies that functions were reloaded with there still are: those in use, and those replaced of which a thread may
    /// have a frame. (Bodies that functions were loaded with stay as long as the module.)
    pub fn later_bodies(&self) -> usize {
        self.0.later.all().iter().filter(|body| body.strong_count() > 0).count()
    }
}

impl ModuleInner {
    /// The body whose prepared code `ip` is in. Alive if that code is being run.
    pub(crate) fn body_at(&self, ip: *const u64) -> Option<*const Body> {
        let has = |body: &Body| body.prepared.get().is_some_and(|prepared| prepared.contains(ip));
        let first = self.functions.iter().map(|function| &function.first).find(|first| has(first));
        first.map(std::ptr::from_ref).or_else(|| {
            let later = self.later.all().iter().filter_map(Weak::upgrade).find(|later| has(later));
            later.map(|later| Arc::as_ptr(&later))
        })
    }
}
