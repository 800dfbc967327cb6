//! Writing a trace, a section at a time.

use std::io::{self, Write};

use super::{FULL_SECTION, LOOP, MAGIC, MAX_TIERS, SHORT, THREAD, Tag, VERSION, varint};
use crate::{Kind, Program, Record, TierFacts};

/// Writes a trace to anything that takes bytes. What it keeps is bounded: one section.
#[derive(Debug)]
pub struct TraceWriter<W: Write> {
    out: W,
    tiers: usize,
    functions: u64,
    records: u64,
    pending: Vec<u8>,
    last: Record,
}

const FIRST: Record = Record { thread: 0, function: 0, kind: Kind::Calls, work: 0 };

impl<W: Write> TraceWriter<W> {
    /// Begins a trace. `tiers` are the names of the tiers, the interpreter first.
    ///
    /// # Errors
    ///
    /// What `out` says.
    ///
    /// # Panics
    ///
    /// If there are no tiers, or more than eight.
    pub fn new(mut out: W, tiers: &[impl AsRef<str>]) -> io::Result<Self> {
        assert!((1..=MAX_TIERS).contains(&tiers.len()), "one to {MAX_TIERS} tiers");
        out.write_all(MAGIC)?;
        out.write_all(&[VERSION])?;
        let mut writer = TraceWriter { out, tiers: tiers.len(), functions: 0, records: 0, pending: Vec::new(), last: FIRST };
        let mut payload = Vec::new();
        varint::put(&mut payload, tiers.len() as u64);
        tiers.iter().for_each(|name| put_text(&mut payload, name.as_ref()));
        writer.section(Tag::Tiers, &payload)?;
        Ok(writer)
    }

    /// Another function, of `size` bytes. The answer is its number. A name longer than a kilobyte is cut.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn function(&mut self, name: &str, size: u32) -> io::Result<u32> {
        let mut payload = Vec::new();
        put_text(&mut payload, name);
        varint::put(&mut payload, size.into());
        self.section(Tag::Functions, &payload)?;
        self.functions += 1;
        Ok((self.functions - 1) as u32)
    }

    /// Work that was done.
    ///
    /// # Errors
    ///
    /// What the output says.
    ///
    /// # Panics
    ///
    /// If the function was not written.
    pub fn record(&mut self, record: Record) -> io::Result<()> {
        assert!(u64::from(record.function) < self.functions, "no function {}", record.function);
        let (kind, site) = match record.kind {
            Kind::Calls => (0, None),
            Kind::Loop { site } => (LOOP, Some(site)),
            Kind::Short { site } => (SHORT, Some(site)),
        };
        let moved = record.thread != self.last.thread;
        self.pending.push(kind | if moved { THREAD } else { 0 });
        varint::put(&mut self.pending, varint::zigzag(i64::from(record.function) - i64::from(self.last.function)));
        if let Some(site) = site {
            varint::put(&mut self.pending, site.into());
        }
        if moved {
            varint::put(&mut self.pending, record.thread.into());
        }
        varint::put(&mut self.pending, record.work);
        (self.last, self.records) = (record, self.records + 1);
        if self.pending.len() >= FULL_SECTION { self.flush_records() } else { Ok(()) }
    }

    /// What the tiers are for a function.
    ///
    /// # Errors
    ///
    /// What the output says.
    ///
    /// # Panics
    ///
    /// If the function was not written, or not every tier is there.
    pub fn facts(&mut self, function: u32, tiers: &[TierFacts]) -> io::Result<()> {
        assert!(u64::from(function) < self.functions && tiers.len() == self.tiers, "facts of function {function}");
        let mut payload = Vec::new();
        varint::put(&mut payload, function.into());
        for facts in tiers {
            payload.extend(facts.pace.to_le_bytes());
            varint::put(&mut payload, facts.compile);
            varint::put(&mut payload, facts.code_bytes.into());
            payload.extend(facts.counting.pace.to_le_bytes());
            varint::put(&mut payload, facts.counting.compile);
            payload.push(facts.silent.into());
        }
        self.section(Tag::Facts, &payload)
    }

    /// A whole program, which ends the trace.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn program(mut self, program: &Program) -> io::Result<W> {
        for function in &program.functions {
            let number = self.function(&function.name, function.size)?;
            self.facts(number, &function.tiers)?;
        }
        program.records.iter().try_for_each(|record| self.record(*record))?;
        self.finish()
    }

    /// Ends the trace. One that was not ended is refused when it is read.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_records()?;
        let mut payload = Vec::new();
        varint::put(&mut payload, self.functions);
        varint::put(&mut payload, self.records);
        self.section(Tag::End, &payload)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush_records(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.pending);
        self.put_section(Tag::Records, &payload)?;
        payload.clear();
        (self.pending, self.last) = (payload, FIRST);
        Ok(())
    }

    /// Sections keep their order: the records before one are written first.
    fn section(&mut self, tag: Tag, payload: &[u8]) -> io::Result<()> {
        self.flush_records()?;
        self.put_section(tag, payload)
    }

    fn put_section(&mut self, tag: Tag, payload: &[u8]) -> io::Result<()> {
        let mut head = [tag as u8, 0, 0, 0, 0];
        head[1..].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head);
        checksum.update(payload);
        self.out.write_all(&head)?;
        self.out.write_all(payload)?;
        self.out.write_all(&checksum.finalize().to_le_bytes())
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(1024)];
    varint::put(out, text.len() as u64);
    out.extend(text.as_bytes());
}
