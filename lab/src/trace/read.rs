//! Reading a trace, a record at a time, believing nothing.

use std::{
    fmt,
    io::{self, Read},
};

use super::{LOOP, MAGIC, MAX_FUNCTIONS, MAX_SECTION, MAX_TIERS, SHORT, THREAD, Tag, VERSION, varint};
use crate::{Counting, Function, Kind, Program, Record, TierFacts};

/// Why a trace is refused, and where.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct TraceError {
    /// Where in the file: the section that is wrong begins there.
    pub offset: u64,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// It could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("not a trace of tierup")]
    Foreign,
    /// It was written by another version.
    #[error("a trace of version {0}, not {VERSION}")]
    Version(u8),
    /// It ends early.
    #[error("the trace ends in the midst of a section")]
    Truncated,
    /// The bytes are not those that were written.
    #[error("damaged: the checksum of the section is wrong")]
    Checksum,
    /// What the bytes say makes no sense.
    #[error("{0}")]
    Malformed(Sense),
    /// The recording was not ended.
    #[error("the trace was not finished: its end is missing")]
    Unfinished,
}

/// What makes no sense in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense(&'static str);

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const fn malformed(what: &'static str) -> What {
    What::Malformed(Sense(what))
}

/// Reads a trace. Iterating gives its records; what was said of functions is there as far as it was met.
#[derive(Debug)]
pub struct TraceReader<R: Read> {
    input: R,
    /// Bytes read of the input, and where the section at hand begins.
    offset: u64,
    section: u64,
    tiers: Vec<String>,
    functions: Vec<Function>,
    /// What is left of a section of records.
    records: Vec<u8>,
    at: usize,
    last: Record,
    seen: u64,
    ended: bool,
}

impl<R: Read> TraceReader<R> {
    /// Looks at the head of a trace.
    ///
    /// # Errors
    ///
    /// When it is none, or none of this version.
    pub fn new(input: R) -> Result<Self, TraceError> {
        let last = Record { thread: 0, function: 0, kind: Kind::Calls, work: 0 };
        let mut reader = TraceReader {
            input,
            offset: 0,
            section: 0,
            tiers: Vec::new(),
            functions: Vec::new(),
            records: Vec::new(),
            at: 0,
            last,
            seen: 0,
            ended: false,
        };
        let mut head = [0; MAGIC.len() + 1];
        reader
            .fill(&mut head)
            .map_err(|what| reader.wrong(if matches!(what, What::Truncated) { What::Foreign } else { what }))?;
        match head {
            [.., VERSION] if head.starts_with(MAGIC) => {}
            [.., version] if head.starts_with(MAGIC) => return Err(reader.wrong(What::Version(version))),
            _ => return Err(reader.wrong(What::Foreign)),
        }
        Ok(reader)
    }

    /// The names of the tiers, the interpreter first; known once the first record is.
    pub fn tiers(&self) -> &[String] {
        &self.tiers
    }

    /// The functions met so far.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place. Nothing is read after an error.
    pub fn next_record(&mut self) -> Result<Option<Record>, TraceError> {
        while self.at == self.records.len() {
            if self.ended {
                return Ok(None);
            }
            self.read_section().map_err(|what| self.wrong(what))?;
        }
        let record = self.decode().ok_or_else(|| self.wrong(malformed("a record that makes no sense")))?;
        self.seen += 1;
        Ok(Some(record))
    }

    /// The whole program. Its functions must have facts.
    ///
    /// # Errors
    ///
    /// As [`Self::next_record`], or when the trace says nothing of a function's tiers.
    pub fn program(mut self, name: &str) -> Result<Program, TraceError> {
        let mut records = Vec::new();
        while let Some(record) = self.next_record()? {
            records.push(record);
        }
        if self.functions.iter().any(|function| function.tiers.is_empty()) {
            return Err(self.wrong(malformed("a function whose tiers nothing is said of")));
        }
        Ok(Program { name: name.to_owned(), tiers: self.tiers, functions: self.functions, records })
    }

    fn wrong(&mut self, what: What) -> TraceError {
        (self.ended, self.at) = (true, self.records.len());
        TraceError { offset: self.section, what }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), What> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => What::Truncated,
            _ => What::Io(error),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn read_section(&mut self) -> Result<(), What> {
        self.section = self.offset;
        let mut head = [0; 5];
        // Nothing at all where a section could be: whoever wrote the trace stopped there.
        if self.input.read(&mut head[..1])? == 0 {
            return Err(What::Unfinished);
        }
        self.offset += 1;
        self.fill(&mut head[1..])?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > MAX_SECTION {
            return Err(malformed("a section larger than there are any"));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        let mut checksum = [0; 4];
        self.fill(&mut checksum)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head);
        hasher.update(&payload);
        if hasher.finalize() != u32::from_le_bytes(checksum) {
            return Err(What::Checksum);
        }
        self.understand(head[0], payload)
    }

    fn understand(&mut self, tag: u8, payload: Vec<u8>) -> Result<(), What> {
        if self.tiers.is_empty() != (tag == Tag::Tiers as u8) {
            return Err(malformed("the tiers are not what comes first"));
        }
        let mut bytes = &payload[..];
        match tag {
            tag if tag == Tag::Tiers as u8 => {
                self.tiers = tiers(&mut bytes).ok_or(malformed("tiers that make no sense"))?;
            }
            tag if tag == Tag::Functions as u8 => {
                let function = function(&mut bytes).ok_or(malformed("a function that makes no sense"))?;
                if self.functions.len() == MAX_FUNCTIONS {
                    return Err(malformed("more functions than there can be"));
                }
                self.functions.push(function);
            }
            tag if tag == Tag::Records as u8 => {
                self.last = Record { thread: 0, function: 0, kind: Kind::Calls, work: 0 };
                (self.records, self.at) = (payload, 0);
                return Ok(());
            }
            tag if tag == Tag::Facts as u8 => {
                let count = self.tiers.len();
                let known = varint::take(&mut bytes).and_then(|number| self.functions.get_mut(usize::try_from(number).ok()?));
                let function = known.ok_or(malformed("facts of a function that is not there"))?;
                function.tiers = facts(&mut bytes, count).ok_or(malformed("facts that make no sense"))?;
            }
            tag if tag == Tag::End as u8 => {
                let counts = (varint::take(&mut bytes), varint::take(&mut bytes));
                if counts != (Some(self.functions.len() as u64), Some(self.seen)) {
                    return Err(malformed("fewer functions or records than were written"));
                }
                self.ended = true;
            }
            _ => return Err(malformed("a section of no known kind")),
        }
        if bytes.is_empty() { Ok(()) } else { Err(malformed("a section with something behind its end")) }
    }

    fn decode(&mut self) -> Option<Record> {
        let mut bytes = &self.records[self.at..];
        let (&flags, rest) = bytes.split_first()?;
        bytes = rest;
        let function = i64::from(self.last.function).checked_add(varint::unzigzag(varint::take(&mut bytes)?))?;
        let function = u32::try_from(function).ok().filter(|&number| (number as usize) < self.functions.len())?;
        let site = |bytes: &mut &[u8]| u32::try_from(varint::take(bytes)?).ok();
        let kind = match flags & !THREAD {
            0 => Kind::Calls,
            LOOP => Kind::Loop { site: site(&mut bytes)? },
            SHORT => Kind::Short { site: site(&mut bytes)? },
            _ => return None,
        };
        let thread = match flags & THREAD {
            0 => self.last.thread,
            _ => u16::try_from(varint::take(&mut bytes)?).ok()?,
        };
        let record = Record { thread, function, kind, work: varint::take(&mut bytes)? };
        (self.at, self.last) = (self.records.len() - bytes.len(), record);
        Some(record)
    }
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(varint::take(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn tiers(bytes: &mut &[u8]) -> Option<Vec<String>> {
    let count = usize::try_from(varint::take(bytes)?).ok().filter(|count| (1..=MAX_TIERS).contains(count))?;
    (0..count).map(|_| text(bytes)).collect()
}

fn function(bytes: &mut &[u8]) -> Option<Function> {
    Some(Function { name: text(bytes)?, size: u32::try_from(varint::take(bytes)?).ok()?, tiers: Vec::new() })
}

fn facts(bytes: &mut &[u8], count: usize) -> Option<Vec<TierFacts>> {
    let pace = |bytes: &mut &[u8]| {
        let (pace, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(f64::from_le_bytes(*pace)).filter(|pace| pace.is_finite() && *pace > 0.0)
    };
    let one = |bytes: &mut &[u8]| {
        let (own, compile) = (pace(bytes)?, varint::take(bytes)?);
        let code_bytes = u32::try_from(varint::take(bytes)?).ok()?;
        let counting = Counting { pace: pace(bytes)?, compile: varint::take(bytes)? };
        let (&silent, rest) = bytes.split_first().filter(|(silent, _)| **silent <= 1)?;
        *bytes = rest;
        // What counts is no faster.
        (counting.pace >= own).then_some(TierFacts { pace: own, compile, code_bytes, counting, silent: silent == 1 })
    };
    (0..count).map(|_| one(bytes)).collect()
}
