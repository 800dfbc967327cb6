//! The ABI's test through LLVM, through every pipeline: the body is the Cranelift backend's.

#[path = "../../tests/spike/mod.rs"]
mod spike;

use std::sync::Arc;

use cranelift_codegen::ir::Function;
use spike::{SpikeCode, SpikeCompiler};
use tierup_llvm::{Linker, Object, ObjectCompiler, Options, Pipeline, Refusal, Unit};

struct Llvm(Pipeline);

fn compile(pipeline: Pipeline, func: &Function) -> Result<Object, Refusal> {
    ObjectCompiler::new(Options { pipeline, ..Options::default() }).unwrap().compile(&Unit::single(func))
}

impl SpikeCompiler for Llvm {
    fn compile(&self, func: &Function) -> SpikeCode {
        let object = compile(self.0, func).unwrap();
        // SAFETY: no symbols but the ABI's own.
        let linker = unsafe { Linker::new(&[]) }.unwrap();
        let code = Arc::new(linker.link(&object.bytes, &object.entry).unwrap());
        SpikeCode { entry: code.entry(), keep: Box::new(code) }
    }
}

mod o2 {
    use super::{Llvm, Pipeline, spike};
    spike::every_case!(Llvm(Pipeline::O2));
}

mod o3 {
    use super::{Llvm, Pipeline, spike};
    spike::every_case!(Llvm(Pipeline::O3));
}

mod cheap {
    use super::{Llvm, Pipeline, spike};
    spike::every_case!(Llvm(Pipeline::Cheap));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let text = "function %f(i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64):\n    v2 = splat.i64x2 v1\n    v3 = extractlane v2, 0\n    return v3\n}";
    let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
    let refusal = compile(Pipeline::O2, &func).unwrap_err();
    assert!(refusal.to_string().contains("splat"), "{refusal}");
    assert!(!tierup_broker::Bailout::from(refusal).is_retryable());
}

#[test]
fn three_hundred_links_are_freed() {
    let text = "function %f(i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64):\n    return v1\n}";
    let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
    let object = compile(Pipeline::O2, &func).unwrap();
    // SAFETY: no symbols but the ABI's own.
    let linker = unsafe { Linker::new(&[]) }.unwrap();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    for _ in 0..50 {
        linker.link(&object.bytes, &object.entry).unwrap();
    }
    let before = maps();
    for _ in 0..300 {
        linker.link(&object.bytes, &object.entry).unwrap();
    }
    // Other tests of this process map memory too.
    assert!(maps() < before + 100, "{} maps, {before} before", maps());
}
