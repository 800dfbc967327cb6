//! The CLIF vocabulary of this folder, in one place: instructions and types from Cranelift, named expansions from
//! the backends.

pub(super) use tierup::clif::{
    Access, BodyAbi, Countdown, Heap, MemoryStyle, Sums, Traps, access, call_code_cell, cells_again, leaf_prologue, load_wide,
    poll, poll_cell, prologue, sampled_prologue, should_leave, silent_prologue, store_wide,
};
pub(super) use tierup::cranelift::codegen::cursor::{Cursor, FuncCursor};
pub(super) use tierup::cranelift::codegen::ir::condcodes::{FloatCC, IntCC};
pub(super) use tierup::cranelift::codegen::ir::immediates::{Ieee32, Ieee64, Imm64};
pub(super) use tierup::cranelift::codegen::ir::{
    AbiParam, AliasRegion, AliasRegionData, Block, BlockArg, BlockCall, FuncRef, Inst, InstBuilder, InstructionData,
    JumpTableData, MemFlagsData, SigRef, Signature, Type, Value, types,
};
pub(super) use tierup::cranelift::codegen::isa::CallConv;
pub(super) use tierup::cranelift::frontend::{FuncInstBuilder, FunctionBuilder, Switch, Variable};
