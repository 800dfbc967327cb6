//! Why a function is not for this tier, on its way to becoming a bailout.

use inkwell::builder::BuilderError;
use tierup_broker::{Bailout, BailoutReason};

/// What stopped the translation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// An instruction, type or signature the translator does not know, in CLIF's words.
    #[error("LLVM tier: {0}")]
    Unknown(String),
    /// LLVM's builder refused what the translator asked for.
    #[error("LLVM builder: {0}")]
    Builder(#[from] BuilderError),
    /// LLVM said no: verifier, pass pipeline, code generator, linker.
    #[error("LLVM: {0}")]
    Llvm(String),
}

impl From<Refusal> for Bailout {
    fn from(refusal: Refusal) -> Self {
        Bailout::terminal(match refusal {
            Refusal::Unknown(_) => BailoutReason::Unsupported { what: refusal.to_string() },
            Refusal::Builder(_) | Refusal::Llvm(_) => BailoutReason::Other(refusal.to_string()),
        })
    }
}
