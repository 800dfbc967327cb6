//! The ABI's test through LLVM, at two levels: the body is the Cranelift backend's.

#[path = "../../tests/spike/mod.rs"]
mod spike;

use std::sync::Arc;

use cranelift_codegen::ir::Function;
use spike::{SpikeCode, SpikeCompiler};
use tierup_llvm::{Linker, LlvmCompiler, OptLevel};

struct Llvm(OptLevel);

impl SpikeCompiler for Llvm {
    fn compile(&self, func: &Function) -> SpikeCode {
        let object = LlvmCompiler::new(self.0).unwrap().object(func, "body").unwrap();
        // SAFETY: no symbols but the ABI's own.
        let linker = unsafe { Linker::new(&[]) }.unwrap();
        let code = Arc::new(linker.link(&object, "body").unwrap());
        SpikeCode { entry: code.entry(), keep: Box::new(code) }
    }
}

mod o2 {
    use super::{Llvm, OptLevel, spike};
    spike::every_case!(Llvm(OptLevel::Default));
}

mod o1 {
    use super::{Llvm, OptLevel, spike};
    spike::every_case!(Llvm(OptLevel::Less));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let text = "function %f(i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64):\n    v2 = popcnt v1\n    return v2\n}";
    let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
    let bailout = LlvmCompiler::new(OptLevel::Default).unwrap().object(&func, "f").unwrap_err();
    assert!(!bailout.is_retryable());
    assert!(bailout.to_string().contains("popcnt"), "{bailout}");
}

#[test]
fn three_hundred_links_are_freed() {
    let text = "function %f(i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64):\n    return v1\n}";
    let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
    let object = LlvmCompiler::new(OptLevel::Default).unwrap().object(&func, "f").unwrap();
    // SAFETY: no symbols but the ABI's own.
    let linker = unsafe { Linker::new(&[]) }.unwrap();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    for _ in 0..50 {
        linker.link(&object, "f").unwrap();
    }
    let before = maps();
    for _ in 0..300 {
        linker.link(&object, "f").unwrap();
    }
    // Other tests of this process map memory too.
    assert!(maps() < before + 100, "{} maps, {before} before", maps());
}
