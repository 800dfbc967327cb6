//! An ordinary cranelift-frontend function in two tiers: Cranelift compiles it after ten calls, LLVM after ten more.
//!
//! Run it with `cargo run --release --example two_tiers --features llvm`, where `tierup-llvm` has been built.

use tierup::{
    Bailout, BeadSpec, Broker, CraneliftBackend, LlvmBackend, LowerCx, Mode, Threshold,
    abi::{self, Regs},
    cranelift::codegen::ir::{AbiParam, InstBuilder, Signature, condcodes::IntCC, types::I64},
    cranelift::codegen::isa::CallConv,
};

/// fn(vmctx, callee, n) -> 1² + 2² + … + n². Both tiers run this, on a worker or, as here, at the call that makes it hot.
fn squares(cx: &mut LowerCx<'_, ()>) -> Result<(), Bailout> {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 3]);
    signature.returns.push(AbiParam::new(I64));
    let mut b = cx.start(signature);
    let [entry, turn, done] = [(); 3].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    let [n, sum] = [(); 2].map(|()| b.declare_var(I64));
    b.switch_to_block(entry);
    let (argument, zero) = (b.block_params(entry)[2], b.ins().iconst(I64, 0));
    b.def_var(n, argument);
    b.def_var(sum, zero);
    b.ins().jump(turn, &[]);
    b.switch_to_block(turn);
    let (old_n, old_sum) = (b.use_var(n), b.use_var(sum));
    let square = b.ins().imul(old_n, old_n);
    let new_sum = b.ins().iadd(old_sum, square);
    let new_n = b.ins().iadd_imm_s(old_n, -1);
    b.def_var(sum, new_sum);
    b.def_var(n, new_n);
    let more = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, new_n, 0);
    b.ins().brif(more, turn, &[], done, &[]);
    b.switch_to_block(done);
    b.ins().return_(&[new_sum]);
    b.seal_all_blocks();
    b.finish();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cranelift = CraneliftBackend::builder();
    let llvm = LlvmBackend::builder().beside(&cranelift).build(squares)?;
    let tiers = Broker::builder().bridge(abi::bridge_stub()).compiler(cranelift.build(squares)?).compiler(llvm);
    let broker = tiers.mode(Mode::Sync).policy(Threshold { calls: 10 }).build()?;
    let thread = broker.register_thread()?;
    let bead = broker.register((), BeadSpec { size: 100 })?;
    for call in 1..=30 {
        let Some(code) = thread.on_invoke(bead.as_ref()) else { continue }; // Where your interpreter would run the function.
        let mut vmctx = thread.cells();
        let mut regs = Regs { gpr: [(&raw mut vmctx).addr() as u64, 0, 1_000, 0, 0, 0], ..Regs::default() };
        // SAFETY: lent by this thread, of this signature; the vmctx begins with the thread's cells.
        unsafe { abi::enter(thread.cells(), code.address().as_ptr(), &mut regs) }.map_err(|trap| format!("{trap:?}"))?;
        println!("call {call}: {} says {}", code.tier(), regs.ret_gpr);
    }
    print!("{}", if broker.stats().tiers[1].installed == 0 { "LLVM compiled nothing: is `tierup-llvm` there?\n" } else { "" });
    Ok(())
}
