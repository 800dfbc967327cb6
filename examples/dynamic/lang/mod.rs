//! A small dynamically typed language with a speculating compiler. Start reading at `vm.rs`; what speculates is `operators.rs`.

pub(crate) mod code;
mod guard;
mod lower;
mod native;
mod operators;
mod parser;
pub(crate) mod value;
mod vm;

pub(crate) use parser::parse;
pub(crate) use vm::{Compiler, Config, Leave, Vm};
