//! Functions through LLVM, linked by its JIT linker.

use std::sync::Arc;

use cranelift_codegen::ir::Function;
use tierup_llvm::{Linked, Linker, ObjectCompiler, Options, Pipeline, Refusal, Unit};

use super::Symbols;

/// A compiler, and the linker its objects meet in.
pub(crate) struct Optimized {
    compiler: ObjectCompiler,
    linker: Arc<Linker>,
}

impl Optimized {
    /// Objects may import `imports`, and what the process has.
    pub(crate) fn new(pipeline: Pipeline, imports: &Symbols) -> Self {
        let imports: Vec<(&str, *const u8)> =
            imports.iter().map(|(name, &address)| (name.as_str(), address as *const u8)).collect();
        let options = Options { pipeline, max_frame: None, ..Options::default() };
        // SAFETY: the symbols are thunks that live as long as the test runs code.
        let linker = unsafe { Linker::new(&imports) }.unwrap();
        Optimized { compiler: ObjectCompiler::new(options).unwrap(), linker }
    }

    /// Compiles and links one unit.
    pub(crate) fn link(&mut self, entry: &Function, callees: &[&Function]) -> Result<Linked, Refusal> {
        let object = self.compiler.compile(&Unit { entry, callees })?;
        self.linker.link(&object.bytes, &object.entry).map_err(|bailout| Refusal::Llvm(bailout.to_string()))
    }
}
