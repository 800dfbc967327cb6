//! LLVM in this process, behind the same seam as the helper: for tools, tests and measurements. A crash in LLVM ends the
//! process, and its start-up is paid here.

use std::cell::RefCell;

use cranelift_codegen::ir::Function;
use tierup_backends::llvm::{Object, ObjectSource};
use tierup_broker::{Bailout, BailoutReason};

use crate::{ObjectCompiler, Options, Unit};

/// Compiles on the thread that asks, with that thread's own compiler.
#[derive(Debug, Default)]
pub struct InProcess {
    options: Options,
}

impl InProcess {
    /// With these options.
    pub fn new(options: Options) -> Self {
        InProcess { options }
    }
}

thread_local! {
    /// An `ObjectCompiler` cannot change threads. The last options' one is kept.
    static COMPILER: RefCell<Option<(Options, ObjectCompiler)>> = const { RefCell::new(None) };
}

// SAFETY: the translator keeps the ABI; `tests/abi.rs` shows it.
unsafe impl ObjectSource for InProcess {
    fn object(&self, unit: &[&Function], _cancelled: &dyn Fn() -> bool) -> Result<Object, Bailout> {
        let Some((entry, callees)) = unit.split_first() else {
            return Err(Bailout::terminal(BailoutReason::Other("a unit without functions".to_owned())));
        };
        let kept = COMPILER.take().filter(|(options, _)| *options == self.options);
        let mut compiler = match kept {
            Some((_, compiler)) => compiler,
            None => ObjectCompiler::new(self.options.clone())
                .map_err(|error| Bailout::terminal(BailoutReason::Other(error.to_string())))?,
        };
        let object = compiler.compile(&Unit { entry, callees })?;
        COMPILER.set(Some((self.options.clone(), compiler)));
        Ok(Object { entry: object.entry, locations: object.locations, bytes: object.bytes })
    }
}
