//! Loops entered and left, through the LLVM backend: the tests are the Cranelift backend's.

#[path = "../../tests/variants/mod.rs"]
mod variants;

use tierup_backends::{CompiledFunction, LlvmBackend};
use tierup_broker::{Bailout, Tier};
use tierup_llvm::{InProcess, Options, Pipeline};

use variants::{Guest, VariantCompiler};

struct Llvm(Pipeline);

impl Llvm {
    fn source(&self) -> InProcess {
        InProcess::new(Options { pipeline: self.0, ..Options::default() })
    }
}

impl VariantCompiler for Llvm {
    fn body(&self, guest: &Guest) -> Result<CompiledFunction, Bailout> {
        LlvmBackend::builder().build_with(self.source(), variants::lower).unwrap().compile_direct(guest, Tier::new(2))
    }

    fn variant(&self, guest: &Guest, site: u32) -> Result<CompiledFunction, Bailout> {
        LlvmBackend::builder().build_with(self.source(), variants::lower).unwrap().compile_variant(guest, Tier::new(2), site)
    }

    fn tells(&self) -> bool {
        // LLVM is the highest tier: there is nobody to tell.
        false
    }
}

mod o2 {
    use super::{Llvm, Pipeline, variants};
    variants::every_case!(Llvm(Pipeline::O2));
}

mod cheap {
    use super::{Llvm, Pipeline, variants};
    variants::every_case!(Llvm(Pipeline::Cheap));
}
