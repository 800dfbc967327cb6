//! The ABI's test through Cranelift, at both levels.

mod spike;

use cranelift_codegen::ir::Function;
use spike::{SpikeCode, SpikeCompiler};
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

mod speed {
    use super::{Cranelift, OptLevel, spike};
    spike::every_case!(Cranelift(OptLevel::Speed));
}

mod quick {
    use super::{Cranelift, OptLevel, spike};
    spike::every_case!(Cranelift(OptLevel::Quick));
}

mod none {
    use super::{Cranelift, OptLevel, spike};
    spike::every_case!(Cranelift(OptLevel::None));
}

/// Telling the broker changes no register: more values of every kind than there are registers live across it.
#[test]
fn the_count_stub_keeps_everything() {
    use std::{cell::Cell, ffi::c_void, hint::black_box};

    use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value, types::*};
    use cranelift_codegen::isa::CallConv;
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
    use tierup_backends::{
        abi::{CountSlot, Regs, ThreadCells, WIDE_SLOTS, enter},
        clif::{self, Countdown, Traps},
    };

    thread_local! {
        static TOLD: Cell<(u64, u32, u32)> = const { Cell::new((0, 0, 0)) };
    }
    unsafe extern "C" fn on_count(_: *mut c_void, callee: u64, work: u32, site: u32) -> u32 {
        TOLD.set((callee, work, site));
        // Uses registers of both kinds.
        let noise: Vec<f64> = (0..64).map(|i| black_box(f64::from(i)).sqrt()).collect();
        black_box(noise.iter().sum::<f64>());
        0
    }

    const VALUES: i64 = 24;
    let mut func = Function::new();
    func.signature = Signature::new(CallConv::SystemV);
    func.signature.params.extend([AbiParam::new(I64); 3]);
    func.signature.returns.push(AbiParam::new(I64));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let abi = clif::leaf_prologue(&mut b, &mut Traps::new());
    let x = b.block_params(entry)[2];
    // Loaded, so that they are in registers and not computed again.
    let integers: Vec<Value> = (0..VALUES).map(|i| b.ins().load(I64, MemFlagsData::new(), x, 8 * i as i32)).collect();
    let floats: Vec<Value> = (0..VALUES).map(|i| b.ins().load(F64, MemFlagsData::new(), x, 8 * i as i32)).collect();
    let work = b.ins().iconst(I32, 77);
    Countdown::of_bead(0).tell(&mut b, &abi, work, Some(3));
    let mut sum = b.ins().iconst(I64, 0);
    for (at, (&integer, &float)) in integers.iter().zip(&floats).enumerate() {
        let bits = b.ins().bitcast(I64, MemFlagsData::new(), float);
        let both = b.ins().iadd(integer, bits);
        let scaled = b.ins().imul_imm_u(both, at as i64 + 1);
        sum = b.ins().iadd(sum, scaled);
    }
    b.ins().return_(&[sum]);
    b.finalize(
        cranelift_native::builder()
            .unwrap()
            .finish(cranelift_codegen::settings::Flags::new(cranelift_codegen::settings::builder()))
            .unwrap()
            .frontend_config(),
    );

    let values: Vec<u64> = (0..VALUES as u64).map(|i| (i + 1) * 0x0123_4567_89ab_cdef).collect();
    let expected = values
        .iter()
        .enumerate()
        .fold(0_u64, |sum, (at, &value)| sum.wrapping_add(value.wrapping_mul(2).wrapping_mul(at as u64 + 1)));
    let (mut counts, mut wide) = ([CountSlot::default(); 1], vec![0; WIDE_SLOTS]);
    let mut cells = ThreadCells::new(counts.as_mut_ptr(), wide.as_mut_ptr());
    cells.on_count = on_count;
    let vmctx: *mut ThreadCells = &raw mut cells;
    for level in [OptLevel::Speed, OptLevel::None, OptLevel::Quick] {
        TOLD.set((0, 0, 0));
        let code = Cranelift(level).compile(&func);
        let mut regs =
            Regs { gpr: [(&raw const vmctx).addr() as u64, 5, values.as_ptr().addr() as u64, 0, 0, 0], ..Regs::default() };
        // SAFETY: the cells and the code are alive, the code takes these three arguments.
        unsafe { enter(vmctx, code.entry, &raw mut regs) }.unwrap();
        assert_eq!((regs.ret_gpr, TOLD.get()), (expected, (5, 77, 3)), "{level:?}");
    }
}
