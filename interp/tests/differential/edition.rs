//! Other editions of a module that do the same: each body with more locals, which move every operand, and loops before its first
//! operator, which shift the number of every other.

use wasmparser::{BinaryReader, FunctionBody, Parser, Payload};

/// The edition of `wasm` with so many locals and loops more in each function; 0 is the module as it was, but for how it is written.
pub(crate) fn edition(wasm: &[u8], number: u32) -> Vec<u8> {
    let bodies = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.expect("a module that was made") {
        Payload::CodeSectionEntry(body) => Some(other(wasm, &body, number)),
        _ => None,
    });
    let bodies: Vec<_> = bodies.collect();
    let code = [leb(bodies.len())].into_iter().chain(bodies.into_iter().flat_map(|body| [leb(body.len()), body]));
    let code = code.collect::<Vec<_>>().concat();
    // Section by section: its kind, its length, its contents.
    let (mut new, mut at) = (wasm[..HEADER].to_vec(), HEADER);
    while at < wasm.len() {
        let mut reader = BinaryReader::new(&wasm[at + 1..], 0);
        let len = reader.read_var_u32().expect("a module that was made") as usize;
        let end = at + 1 + reader.original_position() as usize + len;
        if wasm[at] == CODE {
            new.push(CODE);
            new.extend(leb(code.len()));
            new.extend_from_slice(&code);
        } else {
            new.extend_from_slice(&wasm[at..end]);
        }
        at = end;
    }
    new
}

/// Bytes before the first section.
const HEADER: usize = 8;
/// The kind of the code section.
const CODE: u8 = 10;

/// A body with `number` more locals and loops.
fn other(wasm: &[u8], body: &FunctionBody<'_>, number: u32) -> Vec<u8> {
    let range = body.range();
    let bytes = &wasm[range.start as usize..range.end as usize];
    let operators = body.get_operators_reader().expect("a module that was made").original_position() as usize;
    let mut reader = BinaryReader::new(bytes, 0);
    let groups = reader.read_var_u32().expect("how many groups of locals");
    let rest = reader.original_position() as usize;
    let mut new = leb(groups as usize + 1);
    new.extend_from_slice(&bytes[rest..operators - range.start as usize]);
    // A group of locals of type i64; then `loop`, of no type, and `end`.
    new.extend(leb(number as usize));
    new.push(0x7e);
    new.extend([0x03, 0x40, 0x0b].repeat(number as usize));
    new.extend_from_slice(&wasm[operators..range.end as usize]);
    new
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = value as u8 & 0x7f;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
