//! Traces: what policies see of a program, in a file.
//!
//! ```text
//! file     magic "tierup\x1atrace" version sections…
//! section  tag:u8 length:u32 payload checksum:u32          numbers of fixed size are little-endian
//! tag 1    tiers      count, then a name each
//! tag 2    functions  a name and a size each; numbered as they come, through the whole file
//! tag 3    records    see below; each section is read by itself
//! tag 4    facts      of the function with this number, for each tier: pace (f64), compile time, code bytes; pace and compile time
//!                     of code that counts; 1 if it is silent, or 0
//! tag 5    end        how many functions and records there were
//! ```
//!
//! A record is a byte of flags, the function's distance from the one before, the site if it is about a loop, the thread if it is
//! another one than before, and the work. Numbers without a given size are LEB128, signed ones in zigzag. Nothing in a file is
//! trusted: every section has a CRC-32, and what the numbers say is checked where they are read.
//!
//! Both ends stream: a writer keeps one section, a reader hands out one record after another.

mod read;
#[cfg(test)]
mod tests;
mod varint;
mod write;

pub use read::{TraceError, TraceReader, What};
pub use write::TraceWriter;

const MAGIC: &[u8; 12] = b"tierup\x1atrace";
const VERSION: u8 = 4;

/// No section is larger, so that a damaged length costs no memory.
const MAX_SECTION: usize = 1 << 20;
/// A section of records is written when it is this large.
const FULL_SECTION: usize = 64 << 10;
/// No trace is of more functions: what is beyond is damage.
const MAX_FUNCTIONS: usize = 1 << 22;
/// Tiers of a function, the interpreter included.
const MAX_TIERS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Tiers = 1,
    Functions = 2,
    Records = 3,
    Facts = 4,
    End = 5,
}

/// Flags of a record.
const LOOP: u8 = 1;
const THREAD: u8 = 2;
const SHORT: u8 = 4;
