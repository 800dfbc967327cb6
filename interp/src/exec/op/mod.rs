//! The instructions, one file per family.

pub(crate) mod binary;
pub(crate) mod branch;
pub(crate) mod call;
pub(crate) mod data;
pub(crate) mod memory;
pub(crate) mod range;
pub(crate) mod unary;
