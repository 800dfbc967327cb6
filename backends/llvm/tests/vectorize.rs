//! What the optimizing tier is for: loops of the reference guest become vector code, with WebAssembly's bounds checks in them.

use std::{env, fs, path::Path};

use tierup::Tier;
use tierup_interp::{Checker, Config, Engine, Llvm, Module, TierMode};
use tierup_llvm::{Cpu, ObjectCompiler, Options, Unit, text};

/// The optimized IR of a kernel's only function, for a processor with AVX2.
fn optimized(kernel: &Path) -> String {
    let llvm = Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() };
    let config = Config { tier: TierMode::Opt, llvm: Some(llvm), ..Config::default() };
    let checker = Checker::new(&config, Tier::new(2)).unwrap();
    let module = Module::new(&Engine::new(config).unwrap(), fs::read(kernel).unwrap()).unwrap();
    let functions = text::parse(&checker.clif(&module, module.imported_functions()).unwrap()).unwrap();
    let cpu = Cpu::Named { name: "x86-64-v3".to_owned(), features: String::new() };
    let mut compiler = ObjectCompiler::new(Options { cpu, ..Options::default() }).unwrap();
    compiler.ir_text(&Unit::single(&functions[0])).unwrap()
}

#[test]
fn loops_with_bounds_checks_are_vectorized() {
    let Some(data) = env::var_os("TIERUP_TESTDATA") else {
        println!("skipped: TIERUP_TESTDATA not set");
        return;
    };
    let kernels = Path::new(&data).join("kernels");
    let matmul = optimized(&kernels.join("matmul.wasm"));
    // Whole vectors, of both rows: a gather or a scatter would mean that addresses are not known to be linear.
    assert!(matmul.contains("fmul <8 x double>") && matmul.contains("store <8 x double>"), "{matmul}");
    assert!(!matmul.contains("llvm.masked."), "{matmul}");
    let sieve = optimized(&kernels.join("sieve.wasm"));
    assert!(sieve.contains("store <4 x i64>"), "{sieve}");
}
