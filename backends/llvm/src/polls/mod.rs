//! Polls in loops, put in when all other passes have run: a loop that LLVM has unrolled, vectorized or removed by then needs no
//! poll for what it was, and none of those passes meets a poll.
//!
//! The code of a loop looks at its thread's poll cell once a turn, which is two or three instructions. A loop that counts
//! does not even that: it is taken in [strips](strip) of so many turns, between which the code looks, and the comparison that ends
//! the loop is the one that ends the strip.
//!
//! A poll that comes so late has no frame state: code that must be able to leave at its polls has them in its CLIF.

mod loops;
mod strip;

use inkwell::{
    IntPredicate,
    attributes::{Attribute, AttributeLoc},
    basic_block::BasicBlock,
    builder::Builder,
    context::Context,
    module::{Linkage, Module},
    values::{BasicValue, CallSiteValue, FunctionValue, InstructionOpcode as Opcode, InstructionValue, IntValue},
};
use tierup_backends::abi::{POLL_SYMBOL, offset};

use crate::refusal::Refusal;
use loops::Loop;

/// What inlines the polls and makes values of what they keep. To be run after [`insert`].
pub(crate) const PASSES: &str = "always-inline,function(mem2reg)";

/// LLVM instructions between two polls of a loop that counts, about: 10 to 50 us.
const BETWEEN_POLLS: usize = 1 << 16;
/// The function that looks, until it is inlined.
const LOOK: &str = "tierup.look";
/// What a call is taken for.
const CALL: usize = 1 << 8;
/// Turns of a strip.
const TURNS: std::ops::RangeInclusive<usize> = 1 << 6..=1 << 13;

/// Turns of a strip of a loop with loops in it, each of which may go as long without a poll as it likes.
const OUTER_TURNS: u64 = 1 << 3;

/// Puts polls into the loops of a unit's functions, all of which have the vmctx as their first parameter.
pub(crate) fn insert<'ctx>(context: &'ctx Context, module: &Module<'ctx>) -> Result<(), Refusal> {
    let functions: Vec<_> = module.get_functions().filter(|function| has_vmctx(*function)).collect();
    let mut look = None;
    for function in functions {
        let mut loops = loops::of(function);
        loops.retain(|lp| !polls_already(lp));
        if loops.is_empty() {
            continue;
        }
        let look = match look {
            Some(look) => look,
            None => *look.insert(poll_function(context, module)?),
        };
        let polls = Polls { module, builder: context.create_builder(), function, look };
        let inner = loops.extract_if(.., |lp| !lp.has_inner).collect::<Vec<_>>();
        for lp in &inner {
            match strip::counter(lp) {
                Some(counter) if counter.turns().is_some_and(|turns| turns <= *TURNS.start() as u64) => {}
                Some(counter) => polls.strip(lp, &counter, turns(lp))?,
                None => polls.at_header(lp)?,
            }
        }
        // Strips have changed the graph, and each changes it again.
        for header in loops.into_iter().map(|lp| lp.header) {
            let lp = loops::of(function).into_iter().find(|lp| lp.header == header).expect("it is still one");
            // What calls are inlined into is mostly recursion, whose loops are left after a turn or two.
            let calls = lp.blocks.iter().flat_map(|block| block.get_instructions()).any(is_call);
            match strip::counter(&lp).filter(|_| !calls) {
                Some(counter) => polls.strip(&lp, &counter, OUTER_TURNS)?,
                None => polls.at_header(&lp)?,
            }
        }
    }
    Ok(())
}

/// Of a function that others than LLVM call the parameters are what CLIF says. (Local ones have been inlined.)
fn has_vmctx(function: FunctionValue<'_>) -> bool {
    function.count_basic_blocks() > 0 && function.get_linkage() != Linkage::Internal && function.count_params() > 0
}

/// Whether every turn looks already, because the CLIF does: its polls may be where code is left, and are to be those that answer.
fn polls_already(lp: &Loop<'_>) -> bool {
    let leads_to_poll = |block: &BasicBlock<'_>| {
        let mut targets = block.get_terminator().into_iter().flat_map(loops::successors);
        targets.any(|target| target.get_instructions().any(|inst| callee(inst).is_some_and(|name| name == POLL_SYMBOL)))
    };
    lp.always.iter().any(leads_to_poll)
}

/// Turns of a strip: a power of two.
fn turns(lp: &Loop<'_>) -> u64 {
    let cost = lp.blocks.iter().flat_map(|block| block.get_instructions());
    let cost: usize = cost.map(|inst| if is_call(inst) { CALL } else { 1 }).sum();
    let turns = (BETWEEN_POLLS / cost.max(1)).clamp(*TURNS.start(), *TURNS.end());
    1 << turns.ilog2()
}

/// Whether it calls anything that LLVM does not make instructions of; a poll aside.
fn is_call(inst: InstructionValue<'_>) -> bool {
    inst.get_opcode() == Opcode::Call && !callee(inst).is_some_and(|name| name.starts_with("llvm.") || name == LOOK)
}

/// The name of the function that is called.
fn callee(inst: InstructionValue<'_>) -> Option<String> {
    let callee = CallSiteValue::try_from(inst).ok()?.get_called_fn_value()?;
    Some(callee.get_name().to_string_lossy().into_owned())
}

/// Polls being put into a function.
struct Polls<'ctx, 'm> {
    module: &'m Module<'ctx>,
    builder: Builder<'ctx>,
    function: FunctionValue<'ctx>,
    /// `fn(vmctx)`, which looks.
    look: FunctionValue<'ctx>,
}

impl<'ctx> Polls<'ctx, '_> {
    /// Looks where the builder is.
    fn look(&self) -> Result<(), Refusal> {
        let vmctx = self.function.get_first_param().expect("it has one");
        self.builder.build_direct_call(self.look, &[vmctx.into()], "")?;
        Ok(())
    }

    /// Looks at every turn.
    fn at_header(&self, lp: &Loop<'ctx>) -> Result<(), Refusal> {
        let first = lp.header.get_instructions().find(|inst| inst.get_opcode() != Opcode::Phi).expect("a block ends");
        self.builder.position_before(&first);
        self.look()
    }
}

/// `fn(vmctx)`, to be inlined everywhere: looks at the thread's poll cell, and calls out if it is raised.
fn poll_function<'ctx>(context: &'ctx Context, module: &Module<'ctx>) -> Result<FunctionValue<'ctx>, Refusal> {
    let i64_type = context.i64_type();
    let ty = context.void_type().fn_type(&[i64_type.into()], false);
    let function = module.add_function(LOOK, ty, Some(Linkage::Internal));
    for name in ["alwaysinline", "nounwind"] {
        let kind = Attribute::get_named_enum_kind_id(name);
        function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
    }
    let b = context.create_builder();
    let [entry, asked, done] = ["entry", "asked", "done"].map(|name| context.append_basic_block(function, name));
    let pointer = context.ptr_type(inkwell::AddressSpace::default());
    let at = |address: IntValue<'ctx>, offset: i32| -> Result<_, Refusal> {
        let base = b.build_int_to_ptr(address, pointer, "")?;
        let offset = i64_type.const_int(offset as u64, false);
        // SAFETY: without `inbounds` a gep is wrapping address arithmetic, whatever the operands.
        Ok(unsafe { b.build_gep(context.i8_type(), base, &[offset], "") }?)
    };
    b.position_at_end(entry);
    let vmctx = function.get_first_param().expect("it has one").into_int_value();
    let cells = b.build_load(i64_type, at(vmctx, 0)?, "")?.into_int_value();
    constant(context, cells.as_instruction_value());
    let cell = b.build_load(i64_type, at(cells, offset::INTERRUPT)?, "")?.into_int_value();
    let load = cell.as_instruction_value().expect("a load is an instruction");
    // For the code generator, which makes one instruction of a volatile load and a comparison, but not of an atomic one. It is one
    // access of an aligned word.
    load.set_volatile(true)?;
    load.set_alignment(8)?;
    let raised = b.build_int_compare(IntPredicate::NE, cell, i64_type.const_zero(), "")?;
    let branch = b.build_conditional_branch(raised, asked, done)?;
    unlikely(context, branch);
    b.position_at_end(asked);
    let stub = poll_stub(context, module);
    let call = b.build_direct_call(stub, &[cells.into()], "")?;
    call.set_call_convention(stub.get_call_conventions());
    b.build_unconditional_branch(done)?;
    b.position_at_end(done);
    b.build_return(None)?;
    Ok(function)
}

/// The poll stub, which a prologue may have imported.
fn poll_stub<'ctx>(context: &'ctx Context, module: &Module<'ctx>) -> FunctionValue<'ctx> {
    module.get_function(POLL_SYMBOL).unwrap_or_else(|| {
        let ty = context.void_type().fn_type(&[context.i64_type().into()], false);
        let stub = module.add_function(POLL_SYMBOL, ty, None);
        stub.set_call_conventions(crate::translate::KEEPS_REGISTERS);
        for name in ["cold", "nounwind"] {
            let kind = Attribute::get_named_enum_kind_id(name);
            stub.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
        }
        stub
    })
}

/// Nobody writes what is loaded while the function runs.
fn constant<'ctx>(context: &'ctx Context, load: Option<InstructionValue<'ctx>>) {
    let load = load.expect("a load is an instruction");
    // An instruction that is not a return may have metadata: this cannot fail.
    let _ = load.set_metadata(context.metadata_node(&[]), context.get_kind_id("invariant.load"));
}

/// The first target of a branch is hardly ever taken.
fn unlikely<'ctx>(context: &'ctx Context, branch: InstructionValue<'ctx>) {
    let weight = |weight| context.i32_type().const_int(weight, false).into();
    let weights = context.metadata_node(&[context.metadata_string("branch_weights").into(), weight(1), weight(1 << 16)]);
    // As above.
    let _ = branch.set_metadata(weights, context.get_kind_id("prof"));
}
