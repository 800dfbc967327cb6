//! What can go wrong, told apart by what the embedder can do about it.

use crate::trap::Trap;
use crate::types::ValType;

/// Any failure of the VM that the guest or the embedder's input can cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a WebAssembly module.
    #[error("malformed module at 0x{offset:x}: {message}")]
    Malformed {
        /// Byte offset in the module.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
    /// The module does not validate.
    #[error("invalid module at 0x{offset:x}: {message}")]
    Invalid {
        /// Byte offset in the module.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
    /// The module uses something this VM does not have.
    #[error("unsupported at 0x{offset:x}: {what}")]
    Unsupported {
        /// What it uses.
        what: String,
        /// Byte offset in the module.
        offset: u64,
    },
    /// An import is missing or has the wrong type.
    #[error("cannot link {}.{}: {why}", module.escape_debug(), name.escape_debug())]
    Link {
        /// The import's module name.
        module: String,
        /// The import's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The guest trapped.
    #[error("{0}")]
    Trap(Box<Trap>),
    /// The guest asked to exit with this code.
    #[error("the guest exited with code {0}")]
    Exit(i32),
    /// A host function failed.
    #[error("host function failed: {0}")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A call's arguments do not fit the function's parameters.
    #[error("wrong arguments: {0}")]
    Arguments(String),
    /// A value of another type was expected.
    #[error("expected {expected}, got {got}")]
    Type {
        /// What the place holds.
        expected: ValType,
        /// What was given.
        got: ValType,
    },
    /// The global cannot be written.
    #[error("the global is constant")]
    ConstantGlobal,
    /// A function, instance or memory of one store was used with another.
    #[error("this object belongs to another store")]
    WrongStore,
    /// The instance exports nothing of this name and kind.
    #[error("no {kind} is exported as {name:?}")]
    NoExport {
        /// What was looked for.
        kind: &'static str,
        /// Under which name.
        name: String,
    },
    /// Something a limit of the configuration or of the machine forbids.
    #[error("{what} exceeds its limit")]
    Limit {
        /// What would have been too large.
        what: &'static str,
    },
    /// The operating system refused memory.
    #[error("the system refused memory for {what}: {source}")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The engine could not be set up, or does not take more work.
    #[error("{0}")]
    Engine(String),
}

impl Error {
    /// A decoder's complaint: about the bytes themselves.
    pub(crate) fn malformed(error: &wasmparser::Error) -> Self {
        Self::decoder(error, |offset, message| Self::Malformed { offset, message })
    }

    /// The validator's complaint: decoded, but against the rules.
    pub(crate) fn invalid(error: &wasmparser::Error) -> Self {
        Self::decoder(error, |offset, message| Self::Invalid { offset, message })
    }

    fn decoder(error: &wasmparser::Error, kind: impl FnOnce(u64, String) -> Self) -> Self {
        let (offset, message) = (error.offset(), error.message());
        // The decoder is built without SIMD and says so in words where it has no feature bit to name.
        if error.missing_wasm_feature().is_some() || message.contains("SIMD") {
            return Self::Unsupported { what: message.to_owned(), offset };
        }
        kind(offset, message.to_owned())
    }
}

impl From<Trap> for Error {
    fn from(trap: Trap) -> Self {
        Self::Trap(Box::new(trap))
    }
}
