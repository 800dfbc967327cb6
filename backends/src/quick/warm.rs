//! Getting ready before the first request: a function nobody asked for is compiled, and thrown away.
//!
//! The first compile in a process takes twice as long as later ones: its code is read from the program's file page by page, and the
//! space that compiles reuse grows. A worker that has nothing to do yet can have both behind it.

use cranelift_codegen::{
    ir::{
        AbiParam, BlockArg, Function, InstBuilder, MemFlagsData, Signature, Type, Value,
        condcodes::{FloatCC, IntCC},
        types::{F64, I32, I64},
    },
    isa::{CallConv, TargetFrontendConfig},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use super::{Code, Unsupported, compile};

/// How often the loop's body is repeated. More would grow more of the space, and more programs would be asking before it is done.
const TIMES: i32 = 4;

/// Compiles a function of a bit of everything in the space that is given.
pub(crate) fn warm_up(func: &mut Function, space: &mut FunctionBuilderContext, config: TargetFrontendConfig) {
    build(func, space, config);
    // It calls nothing that is anywhere.
    let _: Result<Code, Unsupported> = compile(func, None, &|_, _| Some(0));
}

/// A loop over numbers, with accesses, divisions, calls and a branch in it.
fn build(func: &mut Function, space: &mut FunctionBuilderContext, config: TargetFrontendConfig) {
    let signature = |params: &[Type]| {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend(params.iter().copied().map(AbiParam::new));
        signature.returns.push(AbiParam::new(I32));
        signature
    };
    func.signature = signature(&[I64, I32, F64]);
    let callee = func.import_signature(signature(&[I64, I32]));
    let mut b = FunctionBuilder::new(func, space);
    let [entry, head, body, odd, even, next, done] = std::array::from_fn(|_| b.create_block());
    b.append_block_params_for_function_params(entry);
    let [base, limit, weight] = *b.block_params(entry) else { unreachable!("three parameters were declared") };
    b.switch_to_block(entry);
    let zero = b.ins().iconst(I32, 0);
    b.ins().jump(head, &[zero.into(), weight.into()]);

    let count = b.append_block_param(head, I32);
    let sum = b.append_block_param(head, F64);
    b.switch_to_block(head);
    let goes_on = b.ins().icmp(IntCC::UnsignedLessThan, count, limit);
    b.ins().brif(goes_on, body, &[], done, &[]);

    b.switch_to_block(body);
    let (mut number, mut float) = (count, sum);
    for n in 0..TIMES {
        let wide = b.ins().uextend(I64, number);
        let offset = b.ins().ishl_imm_u(wide, 3);
        let address = b.ins().iadd(base, offset);
        let loaded = b.ins().load(F64, MemFlagsData::trusted(), address, n * 8);
        let product = b.ins().fmul(loaded, float);
        float = b.ins().fadd(product, weight);
        b.ins().store(MemFlagsData::trusted(), float, address, n * 8 + 8);
        let mixed = b.ins().bxor_imm_s(number, i64::from(n) + 1);
        let less = b.ins().fcmp(FloatCC::LessThan, float, weight);
        let either = b.ins().select(less, mixed, number);
        let quotient = b.ins().sdiv(either, limit);
        number = b.ins().isub(quotient, count);
    }
    let bit = b.ins().band_imm_s(number, 1);
    b.ins().brif(bit, odd, &[], even, &[]);

    let after = b.append_block_param(next, I32);
    let pass = |b: &mut FunctionBuilder<'_>, value: Value| {
        b.ins().jump(next, &[BlockArg::Value(value)]);
    };
    b.switch_to_block(odd);
    let target = b.ins().load(I64, MemFlagsData::trusted(), base, 0);
    let call = b.ins().call_indirect(callee, target, &[base, number]);
    let answer = b.inst_results(call)[0];
    pass(&mut b, answer);
    b.switch_to_block(even);
    let sum = b.ins().iadd(number, limit);
    pass(&mut b, sum);

    b.switch_to_block(next);
    let more = b.ins().iadd(after, count);
    b.ins().jump(head, &[more.into(), float.into()]);
    b.switch_to_block(done);
    b.ins().return_(&[count]);
    b.seal_all_blocks();
    b.finalize(config);
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::{ir::Function, settings, verify_function};
    use cranelift_frontend::FunctionBuilderContext;

    use super::{build, compile};
    use crate::frontend::CONFIG;

    #[test]
    fn what_it_compiles_is_valid_and_not_declined() {
        let (mut func, mut space) = (Function::new(), FunctionBuilderContext::new());
        build(&mut func, &mut space, CONFIG);
        verify_function(&func, &settings::Flags::new(settings::builder())).expect("valid");
        match compile(&mut func, None, &|_, _| Some(0)) {
            Ok(code) => assert!(code.bytes.len() > 200),
            Err(why) => assert_eq!(why.0, "this processor"),
        }
    }
}
