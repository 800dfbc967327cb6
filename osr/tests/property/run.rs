//! Functions run by Cranelift's interpreter: calls, stops, and entries at a site.

use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    data_value::DataValue,
    ir::{
        AbiParam, ExtFuncData, ExternalName, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind,
        UserFuncName, types::I64,
    },
    isa::CallConv,
};
use cranelift_interpreter::{
    environment::FunctionStore,
    interpreter::{Interpreter, InterpreterState},
    step::ControlFlow,
};

use crate::lower::{ARRIVALS, CONSTANT, FRAME, STOPPED, TRACE_HASH, TRACE_LENGTH};

/// Slots a frame can have.
const SLOTS: usize = 64;
const WORDS: usize = FRAME + SLOTS;

/// What a whole call does: its result, and how many effects of which sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) result: i64,
    pub(crate) trace: [i64; 2],
}

/// A call stopped at a site.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    frame: Vec<i64>,
    trace: [i64; 2],
}

/// Calls a body to its end.
pub(crate) fn call(body: &Function, arguments: [i64; 2]) -> Outcome {
    let (result, memory) = run(body, &[0; 2], Entry::Arguments(arguments), i64::MAX, &[]);
    assert_eq!(memory[STOPPED], 0);
    Outcome { result, trace: trace(&memory) }
}

/// How often a call of the copy that stops arrives at its site.
pub(crate) fn arrivals(stopping: &Function, arguments: [i64; 2]) -> i64 {
    let (_, memory) = run(stopping, &[0; 2], Entry::Arguments(arguments), i64::MAX, &[]);
    i64::MAX - memory[ARRIVALS]
}

/// Calls the copy that stops until it has arrived `arrivals` times.
pub(crate) fn stop(stopping: &Function, arguments: [i64; 2], arrivals: i64) -> Stopped {
    let (_, memory) = run(stopping, &[0; 2], Entry::Arguments(arguments), arrivals, &[]);
    assert_eq!(memory[STOPPED], 1, "it arrives so often");
    Stopped { frame: memory[FRAME..].to_vec(), trace: trace(&memory) }
}

/// Enters a variant where a call stopped, and has it run to the end.
pub(crate) fn go_on(variant: &Function, site: u32, from: &Stopped) -> Outcome {
    let (status, memory) = run(variant, &from.trace, Entry::Site(site), i64::MAX, &from.frame);
    assert_eq!(status, tierup_osr::DONE);
    Outcome { result: memory[FRAME], trace: trace(&memory) }
}

fn trace(memory: &[i64]) -> [i64; 2] {
    [memory[TRACE_LENGTH], memory[TRACE_HASH]]
}

/// What a function is given besides vmctx and callee.
#[derive(Clone, Copy)]
enum Entry {
    Arguments([i64; 2]),
    /// The frame's address, and the site if there are several.
    Site(u32),
}

/// Runs `callee` on a memory of that trace, that many arrivals and that frame. Returns its result and the memory.
fn run(callee: &Function, trace: &[i64; 2], entry: Entry, arrivals: i64, frame: &[i64]) -> (i64, Vec<i64>) {
    let mut memory = vec![0; WORDS];
    memory[..2].copy_from_slice(trace);
    (memory[ARRIVALS], memory[CONSTANT]) = (arrivals, 0x1234_5678_9abc);
    memory[FRAME..FRAME + frame.len()].copy_from_slice(frame);
    let main = main_around(callee, &memory, entry);
    let mut functions = FunctionStore::default();
    functions.add(callee.name.to_string(), callee);
    functions.add(main.name.to_string(), &main);
    let state = InterpreterState::default().with_function_store(functions);
    let mut interpreter = Interpreter::new(state).with_fuel(Some(50_000_000));
    let Ok(ControlFlow::Return(results)) = interpreter.call_by_name("%main", &[]) else {
        panic!("it does not return:\n{}", callee.display());
    };
    let mut words = results.iter().map(|word| match word {
        DataValue::I64(word) => *word,
        other => unreachable!("{other} of an i64"),
    });
    (words.next().expect("a result"), words.collect())
}

fn main_around(callee: &Function, memory: &[i64], entry: Entry) -> Function {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.returns = vec![AbiParam::new(I64); WORDS + 1];
    let mut main = Function::with_name_signature(UserFuncName::testcase("main"), signature);
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * WORDS as u32, 3);
    let slot = main.create_sized_stack_slot(slot);
    let params = callee.signature.params.len();
    let signature = main.import_signature(callee.signature.clone());
    let name = ExternalName::testcase("body");
    let callee = main.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
    let block = main.dfg.make_block();
    let mut cursor = FuncCursor::new(&mut main);
    cursor.insert_block(block);
    let vmctx = cursor.ins().stack_addr(I64, slot, 0);
    for (index, &word) in memory.iter().enumerate() {
        let word = cursor.ins().iconst(I64, word);
        cursor.ins().store(MemFlagsData::trusted(), word, vmctx, 8 * index as i32);
    }
    let mut args = vec![vmctx, vmctx];
    match entry {
        Entry::Arguments(arguments) => args.extend(arguments.map(|argument| cursor.ins().iconst(I64, argument))),
        Entry::Site(site) => {
            args.push(cursor.ins().stack_addr(I64, slot, 8 * FRAME as i32));
            args.push(cursor.ins().iconst(I64, i64::from(site)));
            args.truncate(params);
        }
    }
    let call = cursor.ins().call(callee, &args);
    let mut results = vec![cursor.func.dfg.first_result(call)];
    for index in 0..WORDS {
        results.push(cursor.ins().load(I64, MemFlagsData::trusted(), vmctx, 8 * index as i32));
    }
    cursor.ins().return_(&results);
    main
}
