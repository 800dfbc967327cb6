//! What the optimizing tier is for: loops of the reference guest become vector code, with WebAssembly's bounds checks in them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tierup::Tier;
use tierup_interp::{Checker, Config, Engine, Llvm, Module, TierMode};
use tierup_llvm::{Cpu, ObjectCompiler, Options, Unit, text};

/// A kernel's only function.
struct Kernel {
    checker: Checker,
    module: Module,
}

impl Kernel {
    fn read(kernel: &Path) -> Self {
        let llvm = Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() };
        let config = Config { tier: TierMode::Opt, llvm: Some(llvm), ..Config::default() };
        let checker = Checker::new(&config, Tier::new(2)).unwrap();
        let module = Module::new(&Engine::new(config).unwrap(), fs::read(kernel).unwrap()).unwrap();
        Kernel { checker, module }
    }

    /// The optimized IR of its body.
    fn body(&self) -> String {
        optimized(&self.checker.clif(&self.module, self.module.imported_functions()).unwrap())
    }

    /// The optimized IR of the variant that is entered at a loop.
    fn variant(&self, site: u32) -> String {
        optimized(&self.checker.variant_clif(&self.module, self.module.imported_functions(), site).unwrap())
    }
}

/// The IR that LLVM makes of a function, for a processor with AVX2.
fn optimized(clif: &str) -> String {
    let functions = text::parse(clif).unwrap();
    let cpu = Cpu::Named { name: "x86-64-v3".to_owned(), features: String::new() };
    let mut compiler = ObjectCompiler::new(Options { cpu, polls: true, ..Options::default() }).unwrap();
    compiler.ir_text(&Unit::single(&functions[0])).unwrap()
}

fn kernels() -> Option<PathBuf> {
    let data = env::var_os("TIERUP_TESTDATA");
    if data.is_none() {
        println!("skipped: TIERUP_TESTDATA not set");
    }
    Some(Path::new(&data?).join("kernels"))
}

#[test]
fn loops_with_bounds_checks_are_vectorized() {
    let Some(kernels) = kernels() else { return };
    let matmul = Kernel::read(&kernels.join("matmul.wasm")).body();
    // Whole vectors, of both rows: a gather or a scatter would mean that addresses are not known to be linear.
    assert!(matmul.contains("fmul <8 x double>") && matmul.contains("store <8 x double>"), "{matmul}");
    assert!(!matmul.contains("llvm.masked."), "{matmul}");
    let sieve = Kernel::read(&kernels.join("sieve.wasm")).body();
    assert!(sieve.contains("store <4 x i64>"), "{sieve}");
}

/// matmul's innermost loop, in the order of `loop` operators.
const INNERMOST: u32 = 3;

/// Entered in the midst of the innermost loop, the copies of that loop which are run from their beginning are vector code: the one
/// in what is left of the middle loop, and the one in the untouched nest. The rest of the turn under way is not: its counter is
/// what the frame says, and could miss the bound that it is compared with.
#[test]
fn a_nest_entered_at_its_innermost_loop_is_vectorized() {
    let Some(kernels) = kernels() else { return };
    let matmul = Kernel::read(&kernels.join("matmul.wasm")).variant(INNERMOST);
    assert_eq!(matmul.matches("fmul <8 x double>").count(), 2, "{matmul}");
    assert!(!matmul.contains("llvm.masked."), "{matmul}");
}
