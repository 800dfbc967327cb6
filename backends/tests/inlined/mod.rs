//! A lowering that has calls of two depths inlined, and what is to be told of its code, whoever compiles it.

use std::collections::BTreeSet;

use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value, types::I64},
    isa::CallConv,
};
use tierup_backends::{Builder, CodeMap, CompiledFunction, Inlined, LowerCx};
use tierup_broker::Bailout;

/// What is under way, innermost first: tags and guest offsets.
type Chain = Vec<(u64, Option<u32>)>;

/// Function 1 calls 2 at 20, which calls 3 at 35. All load what the one before has loaded.
pub(crate) fn lower(cx: &mut LowerCx<'_, ()>) -> Result<(), Bailout> {
    cx.set_tag(1);
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 3]);
    signature.returns.push(AbiParam::new(I64));
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let argument = b.block_params(entry)[2];

    let first = load(cx, &mut b, 10, argument);
    cx.locate(&mut b, 20);
    let in_second = call(cx, &mut b, 2, |cx, b| {
        let before = load(cx, b, 30, first);
        cx.locate(b, 35);
        let in_third = call(cx, b, 3, |cx, b| load(cx, b, 40, before));
        load(cx, b, 50, in_third)
    });
    let last = load(cx, &mut b, 60, in_second);
    b.ins().return_(&[last]);
    b.finish();
    Ok(())
}

fn load(cx: &LowerCx<'_, ()>, b: &mut Builder<'_>, at: u32, from: Value) -> Value {
    cx.locate(b, at);
    b.ins().load(I64, MemFlagsData::new(), from, 8)
}

/// Has what `callee` makes in the place of a call, and returns its result.
fn call(
    cx: &LowerCx<'_, ()>,
    b: &mut Builder<'_>,
    tag: u64,
    callee: impl FnOnce(&LowerCx<'_, ()>, &mut Builder<'_>) -> Value,
) -> Value {
    let returns = b.create_block();
    let result = b.append_block_param(returns, I64);
    cx.begin_inlined(b, Inlined { tag, returns });
    let value = callee(cx, b);
    b.ins().jump(returns, &[value.into()]);
    cx.end_inlined(b);
    b.switch_to_block(returns);
    b.seal_block(returns);
    result
}

/// Asks for every byte of the code.
pub(crate) fn check(map: &CodeMap, code: &CompiledFunction) {
    let mut found = BTreeSet::new();
    for at in 1..=code.code_bytes() {
        let mut chain = Chain::new();
        map.each_return(code.entry() as usize + at, |position| chain.push((position.tag, position.guest_offset)));
        found.insert(chain.into_iter().filter(|(_, offset)| offset.is_some()).collect::<Chain>());
    }
    found.remove(&Chain::new());
    let want: [Chain; 5] = [
        vec![(1, Some(10))],
        vec![(2, Some(30)), (1, Some(20))],
        vec![(3, Some(40)), (2, Some(35)), (1, Some(20))],
        vec![(2, Some(50)), (1, Some(20))],
        vec![(1, Some(60))],
    ];
    assert_eq!(found, want.into());
}
