use std::io::{self, Read};

use super::*;
use crate::{Kind, Program, Record, synthetic};

fn written(program: &Program) -> Vec<u8> {
    TraceWriter::new(Vec::new(), &program.tiers).unwrap().program(program).unwrap()
}

fn read(bytes: &[u8]) -> Result<Program, TraceError> {
    TraceReader::new(bytes)?.program("read")
}

/// All kinds of records: several threads, loops, large numbers, and more than a section of them.
fn mixed() -> Program {
    let mut program = synthetic::all(1).remove(3);
    program.name = "read".to_owned();
    program.functions[0].tiers[1].silent = true;
    let mut dice = fastrand::Rng::with_seed(9);
    program.records = (0..60_000)
        .map(|_| Record {
            thread: dice.u16(..4),
            function: dice.u32(..program.functions.len() as u32),
            kind: match dice.u8(..3) {
                0 => Kind::Calls,
                1 => Kind::Loop { site: dice.u32(..) },
                _ => Kind::Short { site: dice.u32(..) },
            },
            work: dice.u64(..) >> dice.u8(..64),
        })
        .collect();
    program
}

#[test]
fn what_was_written_is_read() {
    let program = mixed();
    assert_eq!(read(&written(&program)).unwrap(), program);
}

#[test]
fn records_are_small() {
    let program = synthetic::all(1).remove(3);
    let bytes = written(&program).len();
    assert!(bytes < 6 * program.records.len(), "{bytes} bytes for {} records", program.records.len());
}

#[test]
fn damage_is_found_wherever_it_is() {
    let whole = written(&mixed());
    let mut dice = fastrand::Rng::with_seed(4);
    for _ in 0..2_000 {
        let mut bytes = whole.clone();
        let place = if dice.bool() { dice.usize(..200) } else { dice.usize(..bytes.len()) };
        bytes[place] ^= 1 << dice.u8(..8);
        let error = read(&bytes).expect_err("a flipped bit");
        assert!(error.offset <= place as u64, "{error}: the bit was at {place}");
    }
    for _ in 0..300 {
        let end = dice.usize(..whole.len());
        assert!(read(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
    }
    let garbage: Vec<u8> = (0..4_096).map(|_| dice.u8(..)).collect();
    assert!(matches!(read(&garbage), Err(TraceError { offset: 0, what: What::Foreign })));
    assert!(matches!(read(b"\0asm"), Err(TraceError { what: What::Foreign, .. })));
}

/// A section with the right checksum, whatever it says.
fn section(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

#[test]
fn nonsense_with_a_right_checksum_is_refused() {
    let head = [&MAGIC[..], &[VERSION]].concat();
    let tiers = section(1, &[2, 1, b'i', 1, b'b']);
    let function = section(2, &[1, b'f', 9]);
    for (why, sections) in [
        ("no tiers", vec![function.clone()]),
        ("tiers twice", vec![tiers.clone(), tiers.clone()]),
        ("nine tiers", vec![section(1, &[9])]),
        ("a name that is no text", vec![tiers.clone(), section(2, &[1, 0xff, 9])]),
        ("a name longer than the section", vec![tiers.clone(), section(2, &[200, b'f', 9])]),
        ("a record of no function", vec![tiers.clone(), section(3, &[0, 0, 1])]),
        ("a record of a function before the first", vec![tiers.clone(), function.clone(), section(3, &[0, 1, 1])]),
        ("unknown flags", vec![tiers.clone(), function.clone(), section(3, &[8, 0, 1])]),
        ("a number without an end", vec![tiers.clone(), function.clone(), section(3, &[0, 0, 0x80])]),
        (
            "a number of more than 64 bits",
            vec![tiers.clone(), function.clone(), section(3, &[&[0, 0][..], &[0xff; 10]].concat())],
        ),
        ("facts of nobody", vec![tiers.clone(), section(4, &[0])]),
        ("a pace of zero", vec![tiers.clone(), function.clone(), section(4, &[0; 1 + 2 * 10])]),
        ("an end of something else", vec![tiers.clone(), section(5, &[7, 0])]),
        ("something behind the end of a section", vec![tiers.clone(), section(2, &[1, b'f', 9, 9])]),
        ("an unknown section", vec![tiers.clone(), section(77, &[])]),
    ] {
        let bytes = [head.clone(), sections.concat()].concat();
        let error = read(&bytes).expect_err(why);
        assert!(matches!(error.what, What::Malformed(_)), "{why}: {error}");
    }
    let mut huge = [head, tiers].concat();
    huge.extend([3, 0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(read(&huge), Err(TraceError { what: What::Malformed(_), .. })), "two gigabytes are not reserved");
}

#[test]
fn a_recording_that_was_not_ended_says_so() {
    let mut writer = TraceWriter::new(Vec::new(), &["interpreter"]).unwrap();
    writer.function("f", 3).unwrap();
    let whole = writer.finish().unwrap();
    let end = section(5, &[1, 0]).len();
    assert!(matches!(read(&whole[..whole.len() - end]), Err(TraceError { what: What::Unfinished, .. })));
}

#[test]
fn errors_of_the_input_are_handed_on() {
    #[derive(Debug)]
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    assert_eq!(TraceReader::new(Broken).unwrap_err().to_string(), "at byte 0: the disk is on fire");
}
