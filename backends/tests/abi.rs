//! The ABI's test through Cranelift, at both levels.

mod spike;

use cranelift_codegen::ir::Function;
use spike::{SpikeCode, SpikeCompiler};
use tierup_backends::{CraneliftBackend, LowerCx, OptLevel};
use tierup_broker::{Bailout, Tier};

fn provide(cx: &mut LowerCx<'_, Function>) -> Result<(), Bailout> {
    let func = cx.guest().clone();
    cx.provide(func);
    Ok(())
}

struct Cranelift(OptLevel);

impl SpikeCompiler for Cranelift {
    fn compile(&self, func: &Function) -> SpikeCode {
        let backend = CraneliftBackend::builder().opt_level(self.0).build(provide).unwrap();
        let code = backend.compile_direct(func, Tier::new(1)).unwrap();
        SpikeCode { entry: code.entry(), keep: Box::new(code) }
    }
}

mod speed {
    use super::{Cranelift, OptLevel, spike};
    spike::every_case!(Cranelift(OptLevel::Speed));
}

mod none {
    use super::{Cranelift, OptLevel, spike};
    spike::every_case!(Cranelift(OptLevel::None));
}
