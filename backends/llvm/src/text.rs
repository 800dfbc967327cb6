//! A unit as CLIF text: what the helper is sent, and what a person replays.

use cranelift_codegen::{
    ir::Function,
    settings::{self, Flags},
    verify_function,
};
use tierup_backends::llvm::protocol::Answer;

use crate::{ObjectCompiler, Refusal, Unit};

/// Why text is not a unit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It is not CLIF.
    #[error("not CLIF: {0}")]
    Parse(#[from] cranelift_reader::ParseError),
    /// It is CLIF without a function.
    #[error("no function")]
    Empty,
    /// The verifier refuses it.
    #[error("the verifier refuses the text: {0}")]
    Verifier(String),
}

/// Parses and verifies the functions of a unit, the entry first.
///
/// Who sends text has verified the functions; this is about the text.
///
/// # Errors
///
/// [`TextError`].
pub fn parse(clif: &str) -> Result<Vec<Function>, TextError> {
    let functions = cranelift_reader::parse_functions(clif)?;
    let flags = Flags::new(settings::builder());
    for function in &functions {
        verify_function(function, &flags).map_err(|errors| TextError::Verifier(errors.to_string()))?;
    }
    if functions.is_empty() { Err(TextError::Empty) } else { Ok(functions) }
}

/// Compiles a unit given as text, and says how it went in the words of the protocol.
pub fn compile(compiler: &mut ObjectCompiler, clif: &str) -> Answer {
    let start = std::time::Instant::now();
    let functions = match parse(clif) {
        Ok(functions) => functions,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    let (entry, callees) = functions.split_first().expect("a parsed unit has a function");
    let callees: Vec<&Function> = callees.iter().collect();
    match compiler.compile(&Unit { entry, callees: &callees }) {
        Ok(object) => {
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            Answer::Object { micros, entry: object.entry, locations: object.locations, bytes: object.bytes }
        }
        Err(Refusal::FrameTooLarge { bytes, limit, .. }) => Answer::FrameTooLarge { bytes: bytes.into(), limit: limit.into() },
        Err(refusal @ Refusal::Llvm(_)) => Answer::Failed(refusal.to_string()),
        Err(refusal) => Answer::Unsupported(format!("LLVM tier: {refusal}")),
    }
}
