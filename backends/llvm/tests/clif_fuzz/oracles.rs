//! One program through every oracle, and whether they agree.

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use cranelift_codegen::{
    data_value::DataValue,
    ir::{Function, InstructionData, Opcode, Signature},
    isa::CallConv,
    verify_function,
};
use cranelift_interpreter::{
    environment::FunctionStore,
    interpreter::{Interpreter, InterpreterState},
    step::ControlFlow,
};
use tierup_llvm::{Pipeline, Refusal};

use crate::{
    generate::{Program, is_plain},
    random::Random,
    tiers::{Baseline, Optimized, Quick, Symbols, call, isa, name, trampoline},
};

/// How many argument lists each program is called with.
const CALLS: usize = 6;
/// Instructions the interpreter may spend on a call.
const FUEL: u64 = 200_000;

/// What became of a program.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) programs: usize,
    pub(crate) calls: usize,
    /// Of these, those that pass addresses, which the interpreter does not know.
    pub(crate) pointed: usize,
    /// Calls the interpreter could make, too.
    pub(crate) interpreted: usize,
    /// Of these, how often it stood alone against both compilers.
    pub(crate) outvoted: usize,
    /// Programs Cranelift cannot compile.
    pub(crate) skipped: usize,
    /// Functions the quick compiler compiled of those it should know, and the others of these.
    pub(crate) quick: usize,
    pub(crate) declined: usize,
    /// Entries of its code in the midst of a loop.
    pub(crate) entries: usize,
    /// Loops for which Cranelift compiled, or there was no code.
    pub(crate) refused: usize,
}

/// Runs a program everywhere.
///
/// # Errors
///
/// What differs, with the program's text.
pub(crate) fn check(seed: u64, program: &Program, tally: &mut Tally) -> Result<(), String> {
    compare(seed, program, &program.functions, tally)
}

/// The program through Cranelift and its interpreter, `others` through the quick compiler and LLVM.
fn compare(seed: u64, program: &Program, others: &[Function], tally: &mut Tally) -> Result<(), String> {
    let functions = &program.functions[..];
    let find = |what: String| Err(format!("seed {seed:#x}: {what}\n{}", text(functions)));
    let isa = isa(false);
    for func in functions {
        if let Err(errors) = verify_function(func, &*isa) {
            return find(format!("not verified: {errors}"));
        }
    }
    let signature = &functions[0].signature;
    let entry = trampoline("entry", "f", signature);
    let all: Vec<Function> = functions.iter().cloned().chain([entry.clone()]).collect();
    // Cranelift refuses what it has no rule for, some of it by panicking.
    let Ok(Ok(baseline)) = catch_unwind(AssertUnwindSafe(|| Baseline::new(&isa, &all, &Symbols::new()))) else {
        tally.skipped += 1;
        return Ok(());
    };
    let quick = match catch_unwind(AssertUnwindSafe(|| Quick::new(&isa, others))) {
        Ok(Ok(quick)) => quick,
        Ok(Err(error)) => return find(format!("quick: {error}")),
        Err(_) => return find("the quick compiler panics".to_owned()),
    };
    // What keeps registers is Cranelift's.
    let keeps = |func: &Function| func.signature.call_conv == CallConv::PreserveAll;
    if is_plain(seed) {
        let known = others.iter().filter(|func| !keeps(func)).count();
        let compiled = (0..others.len()).filter(|&at| quick.compiled(at)).count();
        tally.quick += compiled;
        tally.declined += known - compiled;
    }
    let callees: Vec<&Function> = others.iter().filter(|func| !keeps(func)).collect();
    let kept: Symbols =
        others.iter().filter(|func| keeps(func)).map(|func| (name(func), baseline.address(&name(func)))).collect();
    let second = if seed.is_multiple_of(2) { Pipeline::Cheap } else { Pipeline::O3 };
    let mut optimized = Vec::new();
    // Of plain programs, only some.
    let is_for_llvm = (!is_plain(seed) || seed.is_multiple_of(8)) && !program.has_lanes;
    let pipelines = if is_for_llvm { &[Pipeline::O2, second][..] } else { &[] };
    for &pipeline in pipelines {
        let mut compiler = Optimized::new(pipeline, &kept);
        match compiler.link(&entry, &callees) {
            Ok(code) => optimized.push((pipeline, code, compiler)),
            Err(refusal @ Refusal::Llvm(_)) => return find(format!("{pipeline:?}: {refusal}")),
            Err(refusal) => return find(format!("refused: {refusal}")),
        }
    }
    tally.programs += 1;
    let mut random = Random::new(seed ^ 0x5eed);
    for _ in 0..CALLS {
        let mut args = arguments(&mut random, signature);
        point(&mut args, program, &baseline);
        // SAFETY: trampolines of this signature, kept above.
        let expected = unsafe { call(baseline.address("entry"), signature, &args) };
        tally.calls += 1;
        tally.pointed += usize::from(program.pointers > 0);
        // It knows no addresses of functions.
        let interpreted = if program.pointers == 0 { interpret(functions, &args) } else { None };
        tally.interpreted += usize::from(interpreted.is_some());
        let others = optimized.iter().map(|(pipeline, code, _)| (format!("{pipeline:?}"), code.entry() as usize));
        for (who, entry) in others.chain([("quick".to_owned(), quick.entry("f"))]) {
            // SAFETY: as above.
            let actual = unsafe { call(entry, signature, &args) };
            if !same(&expected, &actual) {
                let values = [("Cranelift", Some(&expected)), (&*who, Some(&actual)), ("interpreter", interpreted.as_ref())];
                let values =
                    values.map(|(who, values)| format!("{who} {}", values.map_or("cannot run it".to_owned(), |v| bits(v))));
                return find(format!("{who}, arguments {}: {}", bits(&args), values.join(", ")));
            }
        }
        if interpreted.is_some_and(|values| !same(&expected, &values)) {
            tally.outvoted += 1;
        }
    }
    Ok(())
}

/// The interpreter's results, if it knows every instruction on the way.
fn interpret(functions: &[Function], args: &[DataValue]) -> Option<Vec<DataValue>> {
    let run = || {
        let mut store = FunctionStore::default();
        for func in functions {
            store.add(name(func), func);
        }
        let state = InterpreterState::default().with_function_store(store);
        match Interpreter::new(state).with_fuel(Some(FUEL)).call_by_name("f", args) {
            Ok(ControlFlow::Return(values)) => Some(values.to_vec()),
            _ => None,
        }
    };
    catch_unwind(AssertUnwindSafe(run)).ok().flatten()
}

/// What a function of that signature is called with.
pub(crate) fn arguments(random: &mut Random, signature: &Signature) -> Vec<DataValue> {
    signature.params.iter().map(|param| argument(random, param.value_type)).collect()
}

/// Makes the last arguments the addresses of functions that the entry takes.
pub(crate) fn point(args: &mut [DataValue], program: &Program, compiled: &Baseline) {
    let first = args.len() - program.pointers;
    for (arg, callee) in args[first..].iter_mut().zip(&program.functions[1..]) {
        *arg = DataValue::I64(compiled.address(&name(callee)) as i64);
    }
}

fn argument(random: &mut Random, ty: cranelift_codegen::ir::Type) -> DataValue {
    let mut bytes = [0; 16];
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    // Often small, all ones, or a float that is something.
    let bits = match random.below(5) {
        0 => bits % 10,
        1 => u128::MAX,
        2 if ty.is_float() => 0x3ff0_0000_0000_0000 | (bits % 8) << 50,
        3 if ty.is_float() => 0x7ff0_0000_0000_0001,
        _ => bits,
    };
    bytes.copy_from_slice(&bits.to_le_bytes());
    DataValue::read_from_slice_le(&bytes, ty)
}

/// Equal, or NaNs of one kind, quiet or signalling: CLIF leaves the rest of a NaN open.
fn same(one: &[DataValue], other: &[DataValue]) -> bool {
    let same = |(one, other): (&DataValue, &DataValue)| match (one, other) {
        (DataValue::F32(one), DataValue::F32(other)) if one.is_nan() && other.is_nan() => {
            (one.bits() ^ other.bits()) & 1 << 22 == 0
        }
        (DataValue::F64(one), DataValue::F64(other)) if one.is_nan() && other.is_nan() => {
            (one.bits() ^ other.bits()) & 1 << 51 == 0
        }
        _ => one.bitwise_eq(other),
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

fn bits(values: &[DataValue]) -> String {
    let mut text = String::from("[");
    for value in values {
        let mut bytes = [0; 16];
        value.write_to_slice_le(&mut bytes);
        write!(text, " {}:{:#x}", value.ty(), u128::from_le_bytes(bytes)).unwrap();
    }
    text + " ]"
}

pub(crate) fn text(functions: &[Function]) -> String {
    functions.iter().map(|func| func.display().to_string()).collect::<Vec<_>>().join("\n")
}

/// A translator that is wrong about a few instructions.
const MISTAKES: [(Opcode, Opcode); 6] = [
    (Opcode::Imul, Opcode::Iadd),
    (Opcode::Isub, Opcode::Bxor),
    (Opcode::Bor, Opcode::Bxor),
    (Opcode::Sshr, Opcode::Ushr),
    (Opcode::Fadd, Opcode::Fsub),
    (Opcode::Fmin, Opcode::Fmax),
];

/// Whether it shows when the others get another program: one with these mistakes in it.
pub(crate) fn notices_mistakes(seed: u64, program: &Program) -> bool {
    let mut others = program.functions.clone();
    for func in &mut others {
        let insts: Vec<_> = func.layout.blocks().flat_map(|block| func.layout.block_insts(block)).collect();
        for inst in insts {
            if let InstructionData::Binary { opcode, .. } = &mut func.dfg.insts[inst]
                && let Some((_, wrong)) = MISTAKES.iter().find(|(right, _)| right == opcode)
            {
                *opcode = *wrong;
            }
        }
    }
    let outcome = compare(seed, program, &others, &mut Tally::default());
    outcome.is_err_and(|find| find.contains("Cranelift ["))
}
