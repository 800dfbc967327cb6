//! Why a function is not for this tier.

use inkwell::{builder::BuilderError, values::InstructionValueError};
use tierup_broker::{Bailout, BailoutReason};

/// What stopped a compile. All of them are terminal: the same unit is refused again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An instruction the translator does not know, in CLIF's words.
    #[error("instruction `{0}`")]
    Instruction(String),
    /// A type without LLVM counterpart in this tier.
    #[error("type {0}")]
    Type(String),
    /// A signature that LLVM would pass differently from Cranelift, or not at all.
    #[error("signature {signature}: {why}")]
    Signature {
        /// In CLIF's words.
        signature: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Anything else in CLIF that has no translation: names, global values, unit shapes.
    #[error("{0}")]
    Construct(String),
    /// The frame is larger than the stack check covers.
    #[error("native frame of {bytes} bytes in `{function}`, {limit} allowed")]
    FrameTooLarge {
        /// Symbol of the function.
        function: String,
        /// Size of the frame.
        bytes: u32,
        /// Largest size allowed.
        limit: u32,
    },
    /// LLVM said no: builder, verifier, pass pipeline, code generator, linker.
    #[error("LLVM: {0}")]
    Llvm(String),
}

impl From<BuilderError> for Refusal {
    fn from(error: BuilderError) -> Self {
        Refusal::Llvm(error.to_string())
    }
}

impl From<InstructionValueError> for Refusal {
    fn from(error: InstructionValueError) -> Self {
        Refusal::Llvm(error.to_string())
    }
}

impl From<Refusal> for Bailout {
    fn from(refusal: Refusal) -> Self {
        Bailout::terminal(match refusal {
            Refusal::FrameTooLarge { bytes, limit, .. } => {
                BailoutReason::FrameTooLarge { bytes: bytes.into(), limit: limit.into() }
            }
            Refusal::Llvm(_) => BailoutReason::Other(refusal.to_string()),
            _ => BailoutReason::Unsupported { what: format!("LLVM tier: {refusal}") },
        })
    }
}
