//! An engine: one broker, one configuration, one numbering of function types, shared by any number of modules and stores.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::error::Error;
use crate::module::FuncHandle;
use crate::pending::{Bead, InterpThread};
use crate::types::FuncType;
use crate::vmctx::CodeCell;

/// What modules and stores share. Cloning shares.
#[derive(Clone)]
pub struct Engine(Arc<EngineInner>);

struct EngineInner {
    config: Config,
    /// Function types in the order of their numbers. Locked when a module is loaded or a host function imported, never
    /// while a guest runs.
    types: Mutex<HashMap<FuncType, u32>>,
}

impl Engine {
    /// An engine.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] when the configuration or the machine does not allow it.
    pub fn new(config: Config) -> Result<Self, Error> {
        Ok(Self(Arc::new(EngineInner { config, types: Mutex::default() })))
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether both are one engine.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The engine-wide number of a function type, and the type as first seen, which shares its storage.
    pub(crate) fn intern(&self, ty: FuncType) -> (u32, FuncType) {
        // A panic while the lock was held cannot have left the map half changed.
        let mut types = self.0.types.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, &number)) = types.get_key_value(&ty) {
            return (number, known.clone());
        }
        let number = types.len() as u32;
        types.insert(ty.clone(), number);
        (number, ty)
    }

    /// Registers a function of `size` body bytes with the broker.
    pub(crate) fn register(&self, _handle: FuncHandle, _size: u32) -> Result<Bead<FuncHandle>, Error> {
        Ok(Bead::new())
    }

    /// Registers a guest thread with the broker.
    pub(crate) fn register_thread(&self) -> Result<InterpThread<FuncHandle>, Error> {
        Ok(InterpThread::new())
    }

    /// The function whose native code is at `pc`, and the offset in its module's bytes `pc` comes from.
    pub(crate) fn native_location(&self, _pc: usize) -> Option<(*const crate::module::Function, u32)> {
        None
    }

    /// The code word of every host function: its entry is the bridge.
    pub(crate) fn host_code(&self) -> *const CodeCell {
        std::ptr::null()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).finish_non_exhaustive()
    }
}
