//! The one target that is compiled for: x86-64, as the ABI is.

use std::sync::Once;

use llvm_sys::target::{
    LLVMInitializeX86AsmPrinter, LLVMInitializeX86Target, LLVMInitializeX86TargetInfo, LLVMInitializeX86TargetMC,
};

/// Enters the target in LLVM's registry, which is process-wide. A host that is another one has none.
///
/// By name, and not as the native one: who knows which one that is knows all of them, and where LLVM is linked statically they
/// would all be there, with constructors that run before `main`. Nothing here reads assembly, so what does is not entered.
pub(crate) fn register() {
    static TARGET: Once = Once::new();
    // SAFETY: they take nothing, and nobody asks the registry meanwhile: who is to do so calls this first.
    TARGET.call_once(|| unsafe {
        LLVMInitializeX86TargetInfo();
        LLVMInitializeX86Target();
        LLVMInitializeX86TargetMC();
        LLVMInitializeX86AsmPrinter();
    });
}
