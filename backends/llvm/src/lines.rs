//! The line table of an object LLVM made: which code comes from which line. DWARF 4, section 6.2.
//!
//! Lines are all that is read. There is one file, and what the lines mean is the translator's affair.

use std::collections::HashMap;

use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind, read::elf::ElfFile64,
};

/// The version of DWARF that is read, and asked of LLVM.
pub(crate) const DWARF_VERSION: u16 = 4;

/// Code of one line, in a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The function's symbol.
    pub(crate) function: String,
    /// Bytes from the function's start.
    pub(crate) code: std::ops::Range<u32>,
    /// Not 0, which is no line.
    pub(crate) line: u32,
}

/// The object is not what LLVM makes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LineError {
    /// It is no ELF object.
    #[error("an object without a line table: {0}")]
    Object(#[from] object::read::Error),
    /// It has a line table of another version or form, or one that is cut short.
    #[error("a malformed line table")]
    Malformed,
}

/// The rows of all functions, each function's by ascending offset.
pub(crate) fn read(object: &[u8]) -> Result<Vec<Row>, LineError> {
    let object = ElfFile64::<LittleEndian>::parse(object)?;
    let Some(table) = object.section_by_name(".debug_line") else { return Ok(Vec::new()) };
    let mut addresses = HashMap::new();
    for (at, relocation) in table.relocations() {
        // Others are offsets into sections of names.
        if let RelocationTarget::Symbol(symbol) = relocation.target()
            && let symbol = object.symbol_by_index(symbol)?
            && let Some(section) = symbol.section_index()
        {
            addresses.insert(at, Address { section, offset: symbol.address().wrapping_add_signed(relocation.addend()) });
        }
    }
    let data = table.data()?;
    let mut lines = Vec::new();
    let mut rest = Cursor { data, at: 0 };
    while rest.at < data.len() {
        sequences(&mut rest, &addresses, &mut lines).ok_or(LineError::Malformed)?;
    }
    let mut rows = Vec::new();
    for symbol in object.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition()) {
        let (start, end) = (symbol.address(), symbol.address() + symbol.size());
        let within = |line: &&Line| Some(line.section) == symbol.section_index() && line.start < end && start < line.end;
        for line in lines.iter().filter(within) {
            let code = (line.start.max(start) - start) as u32..(line.end.min(end) - start) as u32;
            rows.push(Row { function: symbol.name()?.to_owned(), code, line: line.line });
        }
    }
    Ok(rows)
}

/// Where a relocation leads.
#[derive(Debug, Clone, Copy)]
struct Address {
    section: SectionIndex,
    offset: u64,
}

/// Code of one line, in a section.
#[derive(Debug)]
struct Line {
    section: SectionIndex,
    start: u64,
    end: u64,
    line: u32,
}

/// Runs one line-number program. `None`: it is malformed.
fn sequences(input: &mut Cursor<'_>, addresses: &HashMap<u64, Address>, lines: &mut Vec<Line>) -> Option<()> {
    let length = input.number::<4>()? as usize;
    let end = input.at.checked_add(length).filter(|&end| end <= input.data.len())?;
    if input.number::<2>()? != u64::from(DWARF_VERSION) {
        return None;
    }
    let header = input.number::<4>()? as usize;
    let program = input.at.checked_add(header)?;
    let [unit, _operations, _statement, line_base, line_range, first_special] = *input.bytes(6)? else { return None };
    let operands = input.bytes(usize::from(first_special).checked_sub(1)?)?;
    let (line_base, line_range) = (i64::from(line_base.cast_signed()), if line_range == 0 { return None } else { line_range });
    input.at = program;

    let mut state = State::default();
    while input.at < end {
        let opcode = input.byte()?;
        match opcode {
            0 => {
                let length = input.unsigned()? as usize;
                let next = input.at.checked_add(length)?;
                match input.byte()? {
                    1 => {
                        state.row(lines);
                        state = State::default();
                    }
                    2 => state.address = Some(*addresses.get(&(input.at as u64))?),
                    _ => {}
                }
                input.at = next;
            }
            1 => state.row(lines),
            2 => state.advance(input.unsigned()?.wrapping_mul(unit.into())),
            3 => state.line = state.line.wrapping_add(input.signed()?),
            8 => state.advance(u64::from((255 - first_special) / line_range) * u64::from(unit)),
            9 => state.advance(input.number::<2>()?),
            special if special >= first_special => {
                let step = special - first_special;
                state.advance(u64::from(step / line_range) * u64::from(unit));
                state.line = state.line.wrapping_add(line_base + i64::from(step % line_range));
                state.row(lines);
            }
            other => {
                for _ in 0..*operands.get(usize::from(other) - 1)? {
                    input.unsigned()?;
                }
            }
        }
    }
    (input.at == end).then_some(())
}

/// The registers of the program that matter.
struct State {
    address: Option<Address>,
    line: i64,
    /// Where the last row begins, and its line.
    last: Option<(u64, i64)>,
}

impl Default for State {
    fn default() -> Self {
        State { address: None, line: 1, last: None }
    }
}

impl State {
    fn advance(&mut self, bytes: u64) {
        if let Some(address) = &mut self.address {
            address.offset = address.offset.wrapping_add(bytes);
        }
    }

    /// Ends the last row here, and begins one.
    fn row(&mut self, lines: &mut Vec<Line>) {
        let Some(Address { section, offset: end }) = self.address else { return };
        if let Some((start, line)) = self.last
            && let Ok(line @ 1..) = u32::try_from(line)
            && start < end
        {
            lines.push(Line { section, start, end, line });
        }
        self.last = Some((end, self.line));
    }
}

/// A position in the table.
struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.data.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    /// `N` bytes, little endian.
    fn number<const N: usize>(&mut self) -> Option<u64> {
        let bytes = self.bytes(N)?.iter().rev();
        Some(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// LEB128.
    fn unsigned(&mut self) -> Option<u64> {
        self.leb128().map(|(number, _)| number)
    }

    /// Signed LEB128.
    fn signed(&mut self) -> Option<i64> {
        let (number, bits) = self.leb128()?;
        let unused = 64_u32.saturating_sub(bits);
        Some((number << unused).cast_signed() >> unused)
    }

    /// A number, and how many bits were given.
    fn leb128(&mut self) -> Option<(u64, u32)> {
        let (mut number, mut bits) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(bits)?;
            bits += 7;
            if byte & 0x80 == 0 {
                return Some((number, bits));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use object::SectionIndex;

    use super::{Address, Cursor, sequences};

    /// The rows (start, end, line) of a program that follows the header LLVM writes, whose address is relocated to 100.
    fn rows(version: u8, program: &[u8]) -> Option<Vec<(u64, u64, u32)>> {
        // From the header's length on: one-byte units, lines from -5 in 14 steps, opcodes from 13.
        let header = [1, 1, 1, -5_i8 as u8, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, /* no folders, no files */ 0, 0];
        let tail = [&(header.len() as u32).to_le_bytes()[..], &header, program].concat();
        let table = [&(tail.len() as u32 + 2).to_le_bytes()[..], &[version, 0], &tail].concat();
        let set_address = table.windows(3).position(|bytes| bytes == [0, 9, 2])? as u64 + 3;
        let addresses = HashMap::from([(set_address, Address { section: SectionIndex(1), offset: 100 })]);
        let mut input = Cursor { data: &table, at: 0 };
        let mut lines = Vec::new();
        sequences(&mut input, &addresses, &mut lines)?;
        assert!(lines.iter().all(|line| line.section == SectionIndex(1)));
        Some(lines.iter().map(|line| (line.start, line.end, line.line)).collect())
    }

    const SET_ADDRESS: [u8; 11] = [0, 9, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    const END: [u8; 3] = [0, 1, 1];

    #[test]
    fn each_way_to_advance() {
        let program = [
            // Line 300, a row, then its end by a special opcode: 2 bytes and 1 line.
            &[3, 0xab, 0x02, 1][..],
            &[13 + 2 * 14 + 6],
            // By 17 with the constant opcode, 3 with a plain one, 256 with a fixed one; line 0.
            &[8, 2, 3, 9, 0, 1, 3, 0xd3, 0x7d, 1],
            // What is skipped: file, column, set of instructions, statement, block, prologue, and an unknown extended one.
            &[4, 1, 5, 0x80, 1, 12, 9, 6, 7, 10, 11, 0, 3, 4, 1, 1],
            &[2, 4, 3, 7, 1, 2, 8],
        ];
        let rows = rows(4, &[&SET_ADDRESS[..], &program.concat(), &END].concat());
        assert_eq!(rows, Some(vec![(100, 102, 300), (102, 378, 301), (382, 390, 7)]));
    }

    #[test]
    fn what_is_not_a_table_is_refused() {
        let program = [&SET_ADDRESS[..], &[3, 4, 1, 2, 9], &END].concat();
        assert_eq!(rows(4, &program), Some(vec![(100, 109, 5)]));
        assert_eq!(rows(5, &program), None);
        for length in SET_ADDRESS.len()..program.len() {
            // A program may end where an opcode does; then there is no end of the last row.
            assert!(rows(4, &program[..length]).is_none_or(|rows| rows.is_empty()), "{length} bytes");
        }
    }
}
