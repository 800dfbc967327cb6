//! Loops entered and left, through the Cranelift backend at both levels.

mod variants;

use tierup_backends::{CompiledFunction, CraneliftBackend, OptLevel};
use tierup_broker::{Bailout, Tier};

use variants::{Guest, VariantCompiler};

struct Cranelift(OptLevel);

impl VariantCompiler for Cranelift {
    fn body(&self, guest: &Guest) -> Result<CompiledFunction, Bailout> {
        CraneliftBackend::builder().opt_level(self.0).build(variants::lower).unwrap().compile_direct(guest, Tier::new(1))
    }

    fn variant(&self, guest: &Guest, site: u32) -> Result<CompiledFunction, Bailout> {
        CraneliftBackend::builder().opt_level(self.0).build(variants::lower).unwrap().compile_variant(guest, Tier::new(1), site)
    }

    fn tells(&self) -> bool {
        true
    }
}

mod speed {
    use super::{Cranelift, OptLevel, variants};
    variants::every_case!(Cranelift(OptLevel::Speed));
}

mod quick {
    use super::{Cranelift, OptLevel, variants};
    variants::every_case!(Cranelift(OptLevel::Quick));
}

mod none {
    use super::{Cranelift, OptLevel, variants};
    variants::every_case!(Cranelift(OptLevel::None));
}
