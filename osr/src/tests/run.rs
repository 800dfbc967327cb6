//! Functions from text, and variants run.

use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    data_value::DataValue,
    ir::{
        AbiParam, Block, ExtFuncData, ExternalName, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind,
        UserFuncName, Value, types::I64,
    },
    isa::CallConv,
    settings, verify_function,
};
use cranelift_interpreter::{
    environment::FunctionStore,
    interpreter::{Interpreter, InterpreterState},
    step::ControlFlow,
};

use crate::{Leave, Limits, OsrError, Shared, Site, Sites, SlotBuffer, Verified, WideResults, shared, variant};

pub(super) const NO_LIMIT: Limits = Limits { growth: usize::MAX, instructions: usize::MAX };

/// A function from CLIF text, in which `x_imm[.ty] a, 5` stands for `x a, b` with `b = iconst.ty 5`.
pub(super) fn parse(text: &str) -> Function {
    let mut lines = Vec::new();
    for line in text.lines() {
        let immediate = line.split_once("_imm").and_then(|(before, after)| {
            let (definition, op) = before.split_once(" = ")?;
            let (ty, operands) = after.split_once(' ')?;
            let (operands, constant) = operands.rsplit_once(", ")?;
            Some((definition, op, ty, operands, constant))
        });
        let Some((definition, op, ty, operands, constant)) = immediate else {
            lines.push(line.to_owned());
            continue;
        };
        let (ty, name) = (if ty.is_empty() { ".i64" } else { ty }, 100 + lines.len());
        lines.push(format!("    v{name} = iconst{ty} {constant}"));
        lines.push(format!("{definition} = {op} {operands}, v{name}"));
    }
    cranelift_reader::parse_functions(&lines.join("\n")).unwrap().remove(0)
}

/// Slots by the numbers of the values in them.
pub(super) fn live(values: &[(u32, u32)]) -> Vec<(u32, Value)> {
    values.iter().map(|&(slot, value)| (slot, Value::from_u32(value))).collect()
}

pub(super) fn site(id: u32, header: u32, values: &[(u32, u32)]) -> Site {
    Site { id, header: Block::from_u32(header), live: live(values), computed: Vec::new() }
}

pub(super) fn leave(block: u32, site: u32, values: &[(u32, u32)]) -> Leave {
    Leave { block: Block::from_u32(block), status: site, live: live(values), to: SlotBuffer::Frame }
}

pub(super) fn sites(sites: &[Site]) -> Sites {
    Sites { sites: sites.to_vec(), ..Sites::default() }
}

/// The variant of a body that nobody has verified.
pub(super) fn bounded(body: &Function, sites: &Sites, site: u32, limits: &Limits) -> Result<Function, OsrError> {
    let flags = settings::Flags::new(settings::builder());
    variant(Verified::check(body, &flags)?, sites, site, limits)
}

/// The variant, which has to be valid.
pub(super) fn make(text: &str, sites: &Sites, site: u32) -> Result<Function, OsrError> {
    let made = bounded(&parse(text), sites, site, &NO_LIMIT)?;
    let flags = settings::Flags::new(settings::builder());
    if let Err(errors) = verify_function(&made, &flags) {
        panic!("{errors}\n{}", made.display());
    }
    Ok(made)
}

/// The variant that may be entered elsewhere, too; it has to be valid.
pub(super) fn make_shared(text: &str, sites: &Sites, site: u32) -> Result<Shared, OsrError> {
    let (body, flags) = (parse(text), settings::Flags::new(settings::builder()));
    let made = shared(Verified::check(&body, &flags)?, sites, site, &NO_LIMIT)?;
    if let Err(errors) = verify_function(&made.function, &flags) {
        panic!("{errors}\n{}", made.function.display());
    }
    Ok(made)
}

/// Offset of the wide buffer's address in what the vmctx's first word points at.
pub(super) const WIDE: i32 = 8;
pub(super) const TWO_WIDE: Option<WideResults> = Some(WideResults { count: 2, buffer: WIDE });

/// Enters `variant` with that frame: its status, and the frame afterwards.
pub(super) fn enter(variant: &Function, frame: &[u64]) -> (i64, Vec<u64>) {
    enter_at(variant, 0, frame)
}

/// As [`enter`], at that site if there are several.
pub(super) fn enter_at(variant: &Function, site: u32, frame: &[u64]) -> (i64, Vec<u64>) {
    let main = main_around(variant, site, frame);
    let mut functions = FunctionStore::default();
    functions.add(variant.name.to_string(), variant);
    functions.add(main.name.to_string(), &main);
    let state = InterpreterState::default().with_function_store(functions);
    let mut interpreter = Interpreter::new(state).with_fuel(Some(1_000_000));
    let ended = interpreter.call_by_name("%main", &[]);
    let Ok(ControlFlow::Return(results)) = ended else { panic!("{}", variant.display()) };
    let mut words = results.iter().map(|value| match value {
        DataValue::I64(word) => *word,
        other => panic!("{other}"),
    });
    (words.next().unwrap(), words.map(i64::cast_unsigned).collect())
}

/// Calls `variant` with a vmctx, 7 as callee, the frame, and the site if it takes one; returns the status and the frame.
fn main_around(variant: &Function, site: u32, frame: &[u64]) -> Function {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.returns = vec![AbiParam::new(I64); frame.len() + 1];
    let mut main = Function::with_name_signature(UserFuncName::testcase("main"), signature);
    let mut slot =
        |words: usize| main.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * words as u32, 3));
    let (cells, wide, buffer) = (slot(2), slot(8), slot(frame.len()));
    let signature = main.import_signature(variant.signature.clone());
    let name = ExternalName::testcase(variant.name.to_string().trim_start_matches('%'));
    let callee = main.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
    let block = main.dfg.make_block();
    let mut cursor = FuncCursor::new(&mut main);
    cursor.insert_block(block);
    let [cells, wide, buffer] = [cells, wide, buffer].map(|slot| cursor.ins().stack_addr(I64, slot, 0));
    // The vmctx is its own cells.
    cursor.ins().store(MemFlagsData::trusted(), cells, cells, 0);
    cursor.ins().store(MemFlagsData::trusted(), wide, cells, WIDE);
    for (index, &word) in frame.iter().enumerate() {
        let word = cursor.ins().iconst(I64, word.cast_signed());
        cursor.ins().store(MemFlagsData::trusted(), word, buffer, 8 * index as i32);
    }
    let token = cursor.ins().iconst(I64, 7);
    let site = cursor.ins().iconst(I64, i64::from(site));
    let args = [cells, token, buffer, site];
    let call = cursor.ins().call(callee, &args[..variant.signature.params.len()]);
    let mut results = vec![cursor.func.dfg.first_result(call)];
    for index in 0..frame.len() {
        results.push(cursor.ins().load(I64, MemFlagsData::trusted(), buffer, 8 * index as i32));
    }
    cursor.ins().return_(&results);
    main
}

/// What the one result of the function is when it is carried on at `site` with that frame.
pub(super) fn result(text: &str, sites: &Sites, site: u32, frame: &[u64]) -> u64 {
    let made = make(text, sites, site).unwrap();
    let (status, frame) = enter(&made, frame);
    assert_eq!(status, crate::DONE, "{}", made.display());
    frame[0]
}
