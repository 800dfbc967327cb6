//! Control flow: jumps, branches, returns, traps. A branch edge that carries arguments gets a block of its own, so that two
//! edges from one branch to one block can carry different ones.

use cranelift_codegen::ir::{BlockArg, BlockCall, Inst, InstructionData, Opcode};
use inkwell::{basic_block::BasicBlock, values::BasicValue};

use super::{Handled, Translator, add_enum_attribute};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Jump { destination, .. } => jump(t, inst, destination)?,
        InstructionData::Brif { arg, blocks, .. } => {
            let here = t.builder.get_insert_block().expect("the builder is in a block");
            let cond = t.truth(arg)?;
            let then = edge(t, inst, here, blocks[0])?;
            let otherwise = edge(t, inst, here, blocks[1])?;
            t.builder.position_at_end(here);
            t.builder.build_conditional_branch(cond, then, otherwise)?;
        }
        InstructionData::MultiAry { opcode: Opcode::Return, .. } => {
            let value = t.func.dfg.inst_args(inst).first().map(|&value| t.value(value));
            t.builder.build_return(value.as_ref().map(|value| value as &dyn BasicValue<'_>))?;
        }
        InstructionData::Trap { .. } => {
            // What follows the call of the noreturn trap stub. Reached otherwise, it stops the program.
            let trap = t.intrinsic("llvm.trap", &[])?;
            add_enum_attribute(t.context, trap, "noreturn");
            t.builder.build_direct_call(trap, &[], "")?;
            t.builder.build_unreachable()?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn jump(t: &mut Translator<'_, '_>, inst: Inst, destination: BlockCall) -> Result<(), Refusal> {
    let here = t.builder.get_insert_block().expect("the builder is in a block");
    let target = bind(t, inst, here, destination)?;
    t.builder.build_unconditional_branch(target)?;
    Ok(())
}

/// The block a branch must name to take this edge.
fn edge<'ctx>(
    t: &mut Translator<'ctx, '_>,
    inst: Inst,
    here: BasicBlock<'ctx>,
    destination: BlockCall,
) -> Result<BasicBlock<'ctx>, Refusal> {
    if destination.len(&t.func.dfg.value_lists) == 0 {
        return bind(t, inst, here, destination);
    }
    let between = t.context.append_basic_block(t.function, "");
    t.builder.position_at_end(between);
    jump(t, inst, destination)?;
    Ok(between)
}

/// Passes the destination's arguments on the edge from `from`.
fn bind<'ctx>(
    t: &Translator<'ctx, '_>,
    inst: Inst,
    from: BasicBlock<'ctx>,
    destination: BlockCall,
) -> Result<BasicBlock<'ctx>, Refusal> {
    let pool = &t.func.dfg.value_lists;
    let args = destination.args(pool).map(|arg| match arg {
        BlockArg::Value(value) => Ok(t.value(value)),
        BlockArg::TryCallRet(_) | BlockArg::TryCallExn(_) => Err(t.unknown(inst)),
    });
    let args = args.collect::<Result<Vec<_>, _>>()?;
    let block = destination.block(pool);
    t.bind(block, from, &args);
    Ok(t.block(block))
}
