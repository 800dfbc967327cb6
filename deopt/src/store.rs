//! A value as a word of a buffer: what exits store, and what drivers find.

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Value,
    types::{F32, I8, I16, I32, I64},
};
use cranelift_frontend::FunctionBuilder;

/// Stores `value` as word `index` of `buffer`: 8 bytes, narrow values zero-extended.
///
/// Types: integers of at most 64 bits, f32, f64. Others are stored as they are, and overlap the next words.
pub fn store_word(b: &mut FunctionBuilder<'_>, buffer: Value, index: u32, value: Value) {
    let word = match b.func.dfg.value_type(value) {
        F32 => {
            let bits = b.ins().bitcast(I32, MemFlagsData::new(), value);
            b.ins().uextend(I64, bits)
        }
        I8 | I16 | I32 => b.ins().uextend(I64, value),
        _ => value,
    };
    b.ins().store(MemFlagsData::trusted(), word, buffer, 8 * index as i32);
}
