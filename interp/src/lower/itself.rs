//! Recursive inlining: a small body in the place of its calls of itself, in code that has nothing else inlined.
//!
//! Compilers of guest languages inline what is small and leave recursion, and a call costs the first tier's code a prologue, a stack check, and
//! what is saved around it. The body within itself calls as any other does, so that of two levels of calls one is left.
//!
//! A call of a function that was given another body is of that: the copy is entered only while the code is in use. Its frames are told to
//! backtraces, and its loops count and can be left, but not entered ([`LowerCx::begin_inlined`](tierup::LowerCx::begin_inlined)).

use std::mem;

use tierup::{Bailout, Inlined};
use wasmparser::{FuncValidatorAllocations, OperatorsReader};

use super::clif::Block;
use super::facts::Callee;
use super::function::{FuncLower, invalid};
use super::signature::clif_type;
use super::{call, closed};
use crate::module::{Body, Function, ModuleInner};

/// Bytes of guest code that may come in the place of calls, in one function.
const MOST_BYTES: usize = 256;

/// A body that may take the place of its calls of itself.
pub(super) struct Itself<'a> {
    module: &'a ModuleInner,
    function: &'a Function,
    body: &'a Body,
}

impl<'a> Itself<'a> {
    /// `None` if there are no `calls`, or so many copies of the body would be too large.
    pub(super) fn new(module: &'a ModuleInner, function: &'a Function, body: &'a Body, calls: usize) -> Option<Self> {
        let bytes = calls * body.bytes(module).len();
        (1..=MOST_BYTES).contains(&bytes).then_some(Self { module, function, body })
    }
}

impl FuncLower<'_, '_> {
    /// Puts the body here, in the place of a call of itself, unless it is there already; `false` if the call has to be made.
    pub(super) fn inline_itself(&mut self, ty: u32) -> Result<bool, Bailout> {
        let Some(itself) = self.itself.take() else { return Ok(false) };
        let mut reader = itself.body.read(itself.module).get_binary_reader();
        let mut validator = itself.module.validator(itself.function).into_validator(FuncValidatorAllocations::default());
        validator.read_locals(&mut reader).map_err(|e| invalid(&e))?;
        self.count_inlined();
        let function = self.facts.func_type(ty);
        let returns = self.b.create_block();
        for &result in function.results() {
            self.b.append_block_param(returns, clif_type(result));
        }
        self.call_if_withdrawn(ty, returns);
        let beneath = self.operands.height() - function.params().len();
        let arguments = self.operands.top(function.params().len()).to_vec();
        self.operands.truncate(beneath);

        let operands = mem::take(&mut self.operands);
        let (locals, frames) = (mem::take(&mut self.locals), mem::take(&mut self.frames));
        let (offset, work) = (self.offset, self.work);
        let next_site = self.sites.as_mut().map(|sites| mem::take(&mut sites.next));
        self.cx.begin_inlined(self.b, Inlined { tag: self.body, returns });
        self.returns = Some(returns);
        self.declare_locals(&validator, arguments);
        self.open_body(ty);
        self.operators(&mut validator, OperatorsReader::new(reader))?;
        self.returns = None;
        self.cx.end_inlined(self.b);
        (self.operands, self.locals, self.frames) = (operands, locals, frames);
        (self.offset, self.work) = (offset, work);
        if let Some((sites, next)) = self.sites.as_mut().zip(next_site) {
            sites.next = next;
        }

        self.b.switch_to_block(returns);
        self.b.seal_block(returns);
        self.operands.push_all(self.b.func.dfg.block_params(returns));
        self.reachable = true;
        self.itself = Some(itself);
        Ok(true)
    }

    /// Where the code was withdrawn, the function may have another body by now: whatever runs it is called, and its results go to `returns`.
    /// Code goes on in a new block.
    fn call_if_withdrawn(&mut self, ty: u32, returns: Block) {
        let (Some(withdrawn), Callee::Defined { bead }) = (self.withdrawn(), self.facts.callee(self.function)) else { return };
        let (call, here) = self.fork(withdrawn);
        self.b.switch_to_block(call);
        let results = call::known(self, ty, self.function, bead);
        self.memory_may_have_grown();
        closed::join_with(self, returns, &results);
        self.go_on(here);
    }
}
