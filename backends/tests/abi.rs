//! The ABI's test through Cranelift, at both levels.

mod spike;

use cranelift_codegen::ir::Function;
use spike::{SpikeCode, SpikeCompiler, spike_tests};
use tierup_backends::{CraneliftBackend, LowerCx, OptLevel};
use tierup_broker::{Bailout, Tier};

fn provide(cx: &mut LowerCx<'_, Function>) -> Result<(), Bailout> {
    let func = cx.guest().clone();
    cx.provide(func);
    Ok(())
}

struct Cranelift(OptLevel);

impl SpikeCompiler for Cranelift {
    fn compile(&self, func: &Function) -> SpikeCode {
        let backend = CraneliftBackend::builder().opt_level(self.0).build(provide).unwrap();
        let code = backend.compile_direct(func, Tier::new(1)).unwrap();
        SpikeCode { entry: code.entry(), keep: Box::new(code) }
    }
}

macro_rules! every_case {
    ($compiler:expr) => {
        super::spike_tests! { $compiler =>
            nested_calls_alternate_between_tiers,
            a_trap_leaves_three_native_frames,
            a_trap_crosses_an_interpreted_frame,
            a_loop_enters_and_exits_an_osr_variant,
            endless_native_recursion_traps,
            endless_mixed_recursion_traps,
            a_guard_fault_is_a_trap,
            a_guard_fault_traps_on_any_thread,
            three_results_travel_in_the_wide_buffer,
            many_arguments_cross_in_both_directions,
            expansions_agree,
            polls_and_countdowns,
        }
    };
}

mod speed {
    use super::{Cranelift, OptLevel, spike};
    every_case!(Cranelift(OptLevel::Speed));
}

mod none {
    use super::{Cranelift, OptLevel, spike};
    every_case!(Cranelift(OptLevel::None));
}
