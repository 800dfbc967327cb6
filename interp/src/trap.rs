//! Traps: why a guest stopped, and where.

use std::any::Any;
use std::fmt;

use crate::host::HostError;
use crate::module::Function;

/// Why a guest trapped. The numbers are what native code passes to the trap stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum TrapCode {
    /// An `unreachable` was reached.
    Unreachable = 1,
    /// An access outside the memory.
    MemoryOutOfBounds = 2,
    /// An access outside a table, an indirect call's included.
    TableOutOfBounds = 3,
    /// An indirect call of a null element.
    IndirectCallToNull = 4,
    /// An indirect call of a function of another type.
    BadSignature = 5,
    /// An integer result that does not fit.
    IntegerOverflow = 6,
    /// An integer division by zero.
    IntegerDivideByZero = 7,
    /// A NaN converted to an integer.
    InvalidConversionToInteger = 8,
    /// Too many calls under way: the value stack or the machine stack is used up.
    StackOverflow = 9,
    /// A host function failed, exited or panicked; never seen in a [`Trap`] that reached the embedder.
    Host = 10,
    /// Somebody stopped the guest, by an [`InterruptHandle`](crate::InterruptHandle).
    Interrupted = 11,
}

impl TrapCode {
    /// The code with this number.
    pub fn from_u64(code: u64) -> Option<Self> {
        Some(match code {
            1 => Self::Unreachable,
            2 => Self::MemoryOutOfBounds,
            3 => Self::TableOutOfBounds,
            4 => Self::IndirectCallToNull,
            5 => Self::BadSignature,
            6 => Self::IntegerOverflow,
            7 => Self::IntegerDivideByZero,
            8 => Self::InvalidConversionToInteger,
            9 => Self::StackOverflow,
            10 => Self::Host,
            11 => Self::Interrupted,
            _ => return None,
        })
    }
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "out of bounds memory access",
            Self::TableOutOfBounds => "out of bounds table access",
            Self::IndirectCallToNull => "uninitialized element",
            Self::BadSignature => "indirect call type mismatch",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivideByZero => "integer divide by zero",
            Self::InvalidConversionToInteger => "invalid conversion to integer",
            Self::StackOverflow => "call stack exhausted",
            Self::Host => "host function failed",
            Self::Interrupted => "interrupted",
        })
    }
}

/// One guest frame of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function's index in its module.
    pub function: u32,
    /// Its name, if the module's name section gives one.
    pub name: Option<String>,
    /// Where in the module's bytes the instruction is.
    pub offset: u64,
}

/// A trap with the guest frames it went through, innermost first; also those beyond host functions that passed it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    code: TrapCode,
    backtrace: Vec<Frame>,
}

impl Trap {
    pub(crate) fn new(code: TrapCode, backtrace: Vec<Frame>) -> Self {
        Self { code, backtrace }
    }

    /// The trap with the frames it went through next.
    pub(crate) fn through(mut self, outer: Vec<Frame>) -> Self {
        self.backtrace.extend(outer);
        self.backtrace.truncate(MAX_FRAMES);
        self
    }

    /// Why.
    pub fn code(&self) -> TrapCode {
        self.code
    }

    /// Where, innermost frame first; at most [`MAX_FRAMES`] of them.
    pub fn backtrace(&self) -> &[Frame] {
        &self.backtrace
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (depth, frame) in self.backtrace.iter().enumerate() {
            let name = frame.name.as_deref().unwrap_or("?");
            write!(f, "\n  {depth}: {name} (function {}) at 0x{:x}", frame.function, frame.offset)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trap {}

/// Frames kept of a backtrace; the outer ones of a deeper one are dropped.
pub const MAX_FRAMES: usize = 64;

/// A trap under way: what interpreter frames return as `Err` and what waits in the store while native frames are left.
///
/// One word, so that `Result<(), Raised>` is one too.
pub(crate) struct Raised(Box<RaisedInner>);

struct RaisedInner {
    code: TrapCode,
    frames: Vec<RaisedFrame>,
    host: Option<HostPayload>,
}

/// A frame of a trap under way. The function outlives it: a store keeps the modules of its instances.
#[derive(Clone, Copy)]
pub(crate) struct RaisedFrame {
    pub(crate) function: *const Function,
    /// Offset into the module's bytes.
    pub(crate) offset: u32,
}

/// Why a call ended without a trap of the guest's.
pub(crate) enum HostPayload {
    /// It returned an error (an exit included).
    Error(HostError),
    /// It panicked; the panic goes on where a Rust caller is reached.
    Panic(Box<dyn Any + Send>),
    /// No host function at all: a body that does not validate was called.
    Body(crate::error::Error),
}

impl Raised {
    #[cold]
    pub(crate) fn new(code: TrapCode) -> Self {
        Self(Box::new(RaisedInner { code, frames: Vec::new(), host: None }))
    }

    #[cold]
    pub(crate) fn host(payload: HostPayload) -> Self {
        Self(Box::new(RaisedInner { code: TrapCode::Host, frames: Vec::new(), host: Some(payload) }))
    }

    /// Adds the next outer frame.
    pub(crate) fn push(&mut self, function: *const Function, offset: u32) {
        if self.0.frames.len() < MAX_FRAMES {
            self.0.frames.push(RaisedFrame { function, offset });
        }
    }

    pub(crate) fn code(&self) -> TrapCode {
        self.0.code
    }

    pub(crate) fn frames(&self) -> &[RaisedFrame] {
        &self.0.frames
    }

    pub(crate) fn into_host(self) -> Option<HostPayload> {
        self.0.host
    }
}

impl From<TrapCode> for Raised {
    fn from(code: TrapCode) -> Self {
        Self::new(code)
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raised").field("code", &self.0.code).field("frames", &self.0.frames.len()).finish_non_exhaustive()
    }
}
