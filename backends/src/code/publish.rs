//! The last step of every backend: finished code enters the arena's map and perf's, and becomes a lease.

use std::sync::Arc;

use tierup_deopt::ExitTable;

use super::{AllKept, CodeMemory, CodePages, FunctionMap, MappedUnit, PerfMap};

/// Linked code. Dropping it frees the code.
#[derive(Debug)]
pub struct CompiledFunction {
    entry: usize,
    code_bytes: usize,
    exits: Option<Arc<ExitTable>>,
    // In this order: nobody may find the unit in the map once its pages are gone.
    _mapped: MappedUnit,
    _pages: Vec<CodePages>,
}

impl CompiledFunction {
    /// First instruction.
    pub fn entry(&self) -> *const u8 {
        self.entry as *const u8
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Where it may be left for the interpreter; `None`: nowhere.
    pub fn exits(&self) -> Option<&Arc<ExitTable>> {
        self.exits.as_ref()
    }
}

/// Sealed code of one unit, not yet known to anybody.
#[derive(Debug)]
pub(crate) struct LinkedCode {
    pub(crate) entry: usize,
    /// Bytes of machine code, and of what belongs to it.
    pub(crate) bytes: usize,
    /// By ascending address, each with what profilers call it. At least one.
    pub(crate) functions: Vec<(FunctionMap, String)>,
    /// Where it may be left.
    pub(crate) exits: ExitTable,
    /// What its lowerings keep.
    pub(crate) kept: AllKept,
    pub(crate) pages: Vec<CodePages>,
}

/// Where a backend's code goes.
#[derive(Debug)]
pub(crate) struct Publisher {
    backend: &'static str,
    memory: Arc<CodeMemory>,
    perf: Option<PerfMap>,
}

impl Publisher {
    pub(crate) fn new(backend: &'static str, memory: Arc<CodeMemory>, perf: Option<PerfMap>) -> Self {
        Publisher { backend, memory, perf }
    }

    /// The backend's name in maps and events.
    pub(crate) fn backend(&self) -> &'static str {
        self.backend
    }

    pub(crate) fn memory(&self) -> &Arc<CodeMemory> {
        &self.memory
    }

    pub(crate) fn publish(&self, code: LinkedCode) -> CompiledFunction {
        let LinkedCode { entry, bytes, functions, exits, kept, pages } = code;
        if let Some(perf) = &self.perf {
            for (function, name) in &functions {
                perf.add(function.start, function.len, &format!("{name} [{}]", self.backend));
            }
        }
        let unit = exits.unit();
        let exits = (!exits.is_empty()).then(|| Arc::new(exits));
        let functions = functions.into_iter().map(|(function, _)| function).collect();
        let mapped = MappedUnit::new(&self.memory, functions, unit, exits.clone(), kept);
        CompiledFunction { entry, code_bytes: bytes, exits, _mapped: mapped, _pages: pages }
    }
}
