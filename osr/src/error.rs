//! Why there is no variant.

use cranelift_codegen::ir::{Block, Type, Value};

/// Why [`variant`](crate::variant) makes none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OsrError {
    /// The body is not valid CLIF.
    #[error("the body is not valid CLIF: {message}")]
    Invalid {
        /// The verifier's words.
        message: String,
    },
    /// The body does not begin with vmctx and callee, or has more than one result.
    #[error("a body of signature {signature}")]
    Signature {
        /// Its signature.
        signature: String,
    },
    /// The lowering declared no such site.
    #[error("no site {site}")]
    UnknownSite {
        /// The id asked for.
        site: u32,
    },
    /// The lowering declared two sites of one id.
    #[error("two sites {site}")]
    DuplicateSite {
        /// The id.
        site: u32,
    },
    /// A declaration names a block that the body does not have, or its entry block.
    #[error("{block}, declared with site {site}, is no block to enter or to leave through")]
    NoSuchBlock {
        /// The site declared, or the status left with.
        site: u32,
        /// The block.
        block: Block,
    },
    /// A declaration names a value that the body does not have, or that is not there when the block begins.
    #[error("{value}, declared with site {site}, is not there")]
    NoSuchValue {
        /// The site declared, or the status left with.
        site: u32,
        /// The value.
        value: Value,
    },
    /// The site cannot be reached from the function's entry.
    #[error("site {site} is never reached")]
    Unreachable {
        /// The site.
        site: u32,
    },
    /// A value is live at the site, in no slot, and cannot be computed again.
    #[error("{value}, defined by `{definition}`, is live at site {site} and in no slot")]
    Lost {
        /// The site.
        site: u32,
        /// The value.
        value: Value,
        /// The instruction it is a result of, or the block it is a parameter of.
        definition: String,
    },
    /// The body assumes something, and what it has in a slot is no parameter of the header, or that of another slot as well.
    #[error("slot {slot} is {value} at site {site} only if what the body assumes holds")]
    Assumed {
        /// The site.
        site: u32,
        /// The slot.
        slot: u32,
        /// What the body has in it.
        value: Value,
    },
    /// A value cannot be in a slot because of its type.
    #[error("{value} of type {ty} does not fit into a slot")]
    SlotType {
        /// The value.
        value: Value,
        /// Its type.
        ty: Type,
    },
    /// A slot's number is too large for its offset in the frame.
    #[error("slot {slot} is too far away")]
    SlotNumber {
        /// The slot.
        slot: u32,
    },
    /// The rest of the function does something a variant cannot: exceptions, tail calls.
    #[error("`{instruction}` in a variant")]
    Unsupported {
        /// The instruction.
        instruction: String,
    },
    /// The variant would be too large: the next outer site may do.
    #[error("the variant for site {site} has {instructions} instructions, {limit} allowed")]
    TooLarge {
        /// The site.
        site: u32,
        /// CLIF instructions of the variant, without its prologue.
        instructions: usize,
        /// How many are allowed.
        limit: usize,
    },
}
