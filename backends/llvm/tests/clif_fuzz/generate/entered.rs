//! Loops at which a function can be entered: what a frame holds there, and the copy that stops and fills it.

use cranelift_codegen::ir::{
    Block, InstBuilder, MemFlagsData, Value,
    types::{F32, F64, I32, I64},
};
use cranelift_frontend::Variable;
use tierup_backends::Site;

use super::{Generator, Memory};

/// Words of the vmctx: behind the memory and the callees' addresses, the number of arrivals at which the copy stops, counted down to 0.
pub(crate) const ARRIVALS: usize = 12;
/// Whether it has stopped.
pub(crate) const STOPPED: usize = 13;
/// Never written.
pub(crate) const CONSTANT: usize = 14;
/// The frame it fills.
pub(crate) const FRAME: usize = 16;
pub(crate) const WORDS: usize = FRAME + 80;

/// What a function that can be entered has besides.
pub(super) struct Loops {
    pub(super) vmctx: Value,
    /// The vmctx and something, computed once.
    pub(super) base: Value,
    /// Of the vmctx, read once, and something computed from it.
    pub(super) constants: [Value; 2],
    pub(super) stop: Option<u32>,
    /// Of the loops around.
    pub(super) counters: Vec<Variable>,
    pub(super) sites: Vec<Site>,
}

impl Generator<'_, '_> {
    /// The builder is in the header of a loop with this counter.
    pub(super) fn declare_site(&mut self, header: Block, counter: Variable) {
        let Memory::Context(loops) = &mut self.memory else { return };
        loops.counters.push(counter);
        let (id, stops) = (loops.sites.len() as u32, loops.stop == Some(loops.sites.len() as u32));
        let all: Vec<Variable> = self.variables.iter().map(|&(variable, _)| variable).chain(loops.counters.clone()).collect();
        let mut values: Vec<Value> = all.into_iter().map(|variable| self.b.use_var(variable)).collect();
        values.extend(self.callees.iter().filter_map(|callee| callee.pointer));
        let live: Vec<(u32, Value)> = (0..).zip(values).collect();
        assert!(live.len() <= WORDS - FRAME);
        if stops {
            self.stop_here(&live);
        }
        let Memory::Context(loops) = &mut self.memory else { return };
        loops.sites.push(Site { id, header, live, computed: Vec::new() });
    }

    /// The loop is over.
    pub(super) fn leave_site(&mut self) {
        if let Memory::Context(loops) = &mut self.memory {
            loops.counters.pop();
        }
    }

    /// The last arrival stores the slots, with something in the upper halves of narrow ones, and returns.
    fn stop_here(&mut self, live: &[(u32, Value)]) {
        let left = self.word(ARRIVALS);
        let left = self.b.ins().iadd_imm_s(left, -1);
        self.set_word(ARRIVALS, left);
        let (stop, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(left, go_on, &[], stop, &[]);
        self.b.switch_to_block(stop);
        self.b.seal_block(stop);
        let one = self.b.ins().iconst(I64, 1);
        self.set_word(STOPPED, one);
        let garbage = self.b.ins().iconst(I64, 0x0bad_f00d << 32);
        for &(slot, value) in live {
            let flags = MemFlagsData::new();
            let word = match self.b.func.dfg.value_type(value) {
                I64 => value,
                F64 => self.b.ins().bitcast(I64, flags, value),
                ty => {
                    let bits = if ty == F32 { self.b.ins().bitcast(I32, flags, value) } else { value };
                    let wide = self.b.ins().uextend(I64, bits);
                    self.b.ins().bor(wide, garbage)
                }
            };
            self.set_word(FRAME + slot as usize, word);
        }
        self.b.ins().return_(&[one]);
        self.b.switch_to_block(go_on);
        self.b.seal_block(go_on);
    }

    fn word(&mut self, at: usize) -> Value {
        let Memory::Context(loops) = &self.memory else { unreachable!("it has sites") };
        self.b.ins().load(I64, MemFlagsData::trusted(), loops.vmctx, 8 * at as i32)
    }

    fn set_word(&mut self, at: usize, value: Value) {
        let Memory::Context(loops) = &self.memory else { unreachable!("it has sites") };
        self.b.ins().store(MemFlagsData::trusted(), value, loops.vmctx, 8 * at as i32);
    }
}
