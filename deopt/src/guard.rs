//! The branch to an exit.

use cranelift_codegen::ir::{Block, InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;

/// Goes on in a new block if `condition`, an integer, is not zero, and leaves through `exit` if it is: one branch, which a
/// compiler merges with the comparison that made the condition.
///
/// The exit takes no parameters, and must not be sealed yet.
pub fn guard(b: &mut FunctionBuilder<'_>, condition: Value, exit: Block) {
    let next = b.create_block();
    b.ins().brif(condition, next, &[], exit, &[]);
    b.seal_block(next);
    b.switch_to_block(next);
}
