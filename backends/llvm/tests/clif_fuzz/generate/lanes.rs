//! Four lanes of 32 bits: the few operations that the quick compiler has.

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Value,
    condcodes::IntCC,
    types::{I8, I32, I32X4},
};

use super::Generator;

impl Generator<'_, '_> {
    /// One operation, and what becomes of its result.
    pub(super) fn four_lanes(&mut self) {
        let (a, b) = (self.some_lanes(), self.some_lanes());
        let result = if self.random.once_in(2) { self.b.ins().icmp(IntCC::Equal, a, b) } else { self.b.ins().isub(a, b) };
        match self.random.below(3) {
            0 => {
                let any = self.b.ins().vany_true(result);
                self.assign(I8, any);
            }
            1 if !self.vectors.is_empty() => {
                let variable = self.random.pick(&self.vectors);
                self.b.def_var(variable, result);
            }
            _ => {
                let (flags, address) = (self.flags(), self.address(I32X4));
                self.b.ins().store(flags, result, address, 0);
            }
        }
    }

    fn some_lanes(&mut self) -> Value {
        match self.random.below(3) {
            0 => {
                let lane = self.value(I32);
                self.b.ins().splat(I32X4, lane)
            }
            1 if !self.vectors.is_empty() => {
                let variable = self.random.pick(&self.vectors);
                self.b.use_var(variable)
            }
            _ => self.lanes_of_memory(),
        }
    }

    pub(super) fn lanes_of_memory(&mut self) -> Value {
        let (flags, address) = (self.flags(), self.address(I32X4));
        self.b.ins().load(I32X4, flags, address, 0)
    }

    /// Has memory differ where the variables do.
    pub(super) fn store_vectors(&mut self) {
        for (at, variable) in (0..).zip(self.vectors.clone()) {
            let lanes = self.b.use_var(variable);
            let address = self.place(16 * at);
            let before = self.b.ins().load(I32X4, MemFlagsData::trusted(), address, 0);
            let sum = self.b.ins().isub(before, lanes);
            self.b.ins().store(MemFlagsData::trusted(), sum, address, 0);
        }
    }
}
