//! Objects that are not what they should be: each is an error or loads, and whatever happens, nothing stays behind.

use tierup_backends::{
    CodeMemory,
    object::{LoadError, load},
};

use super::{SAMPLE, memory, resolve};

/// Loads, runs nothing; panics and leaks are the failures.
fn try_load(bytes: &[u8]) -> Result<(), LoadError> {
    thread_local! {
        static MEMORY: std::sync::Arc<CodeMemory> = memory();
    }
    MEMORY.with(|memory| {
        let result = load(bytes, memory, &resolve).map(|_| ());
        assert_eq!(memory.used_bytes(), 0);
        result
    })
}

#[test]
fn every_truncation_is_an_error() {
    for length in 0..SAMPLE.len() {
        assert!(try_load(&SAMPLE[..length]).is_err(), "the first {length} bytes");
    }
    assert!(try_load(SAMPLE).is_ok());
}

#[test]
fn random_changes_are_errors_or_load() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let (mut loaded, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = SAMPLE.to_vec();
        for _ in 0..=random() % 4 {
            let at = random() as usize % bytes.len();
            match random() % 3 {
                0 => bytes[at] ^= 1 << (random() % 8),
                1 => bytes[at] = random() as u8,
                // Sizes and offsets at their limits.
                _ => {
                    let end = bytes.len().min(at + 8);
                    bytes[at..end].fill(0xff);
                }
            }
        }
        match try_load(&bytes) {
            Ok(()) => loaded += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(loaded > 1000 && refused > 1000, "{loaded} loaded, {refused} refused: the changes are too tame or too wild");
}

/// Finds the header of a section by name; returns the offset of the header in the file.
fn section(bytes: &[u8], name: &str) -> usize {
    let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()) as usize;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (table, count, strings) = (long(0x28), half(0x3c), half(0x3e));
    let strings = long(table + strings * 64 + 0x18);
    let found = (0..count).map(|index| table + index * 64).find(|&header| {
        let text = &bytes[strings + word(header)..];
        text.starts_with(name.as_bytes()) && text[name.len()] == 0
    });
    found.unwrap()
}

fn changed(at: usize, to: &[u8]) -> Vec<u8> {
    let mut bytes = SAMPLE.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn what_cannot_be_placed_is_refused_by_name() {
    const FLAGS: usize = 8;
    const TYPE: usize = 4;
    const ALIGN: usize = 0x30;
    let rodata = section(SAMPLE, ".rodata.cst8");
    for (at, value, why) in [
        (rodata + FLAGS, 0x3, "writable data"),
        (rodata + FLAGS, 0x402, "thread-local data"),
        (rodata + TYPE, 8, "zero-initialized data"),
        (rodata + TYPE, 14, "neither code nor constants"),
        (rodata + ALIGN, 48, "impossible alignment"),
        (rodata + ALIGN, 0xff, "impossible alignment"),
    ] {
        let error = try_load(&changed(at, &u32::to_le_bytes(value))).unwrap_err();
        assert!(matches!(&error, LoadError::Section { name, why: said } if name == ".rodata.cst8" && *said == why), "{error}");
    }
    // 1 GiB of zeros in a file of three kilobytes.
    let error = try_load(&changed(rodata + 0x20, &u64::to_le_bytes(1 << 30))).unwrap_err();
    assert!(matches!(error, LoadError::Malformed(_)), "{error}");
}

#[test]
fn what_is_not_listed_is_refused_by_number() {
    let relocations = section(SAMPLE, ".rela.text");
    let first = u64::from_le_bytes(SAMPLE[relocations + 0x18..][..8].try_into().unwrap()) as usize;
    // R_X86_64_32S: absolute, so it cannot reach a unit above 2 GiB.
    let error = try_load(&changed(first + 8, &11u32.to_le_bytes())).unwrap_err();
    assert!(matches!(&error, LoadError::Relocation { kind: 11, section } if section == ".text"), "{error}");
    // An addend of 2^40.
    let error = try_load(&changed(first + 16, &(1u64 << 40).to_le_bytes())).unwrap_err();
    assert!(matches!(error, LoadError::Unrelocatable { why: "does not reach", .. }), "{error}");
    // The last byte of the section.
    let text = section(SAMPLE, ".text");
    let last = u64::from_le_bytes(SAMPLE[text + 0x20..][..8].try_into().unwrap()) - 1;
    assert!(matches!(try_load(&changed(first, &last.to_le_bytes())), Err(LoadError::Malformed(_))));
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(try_load(b""), Err(LoadError::Malformed(_))));
    // EM_AARCH64, and an executable.
    assert!(matches!(try_load(&changed(18, &[183, 0])), Err(LoadError::WrongKind)));
    assert!(matches!(try_load(&changed(16, &[2, 0])), Err(LoadError::WrongKind)));
}

#[test]
fn large_frames_are_refused() {
    let sizes = section(SAMPLE, ".stack_sizes");
    let start = u64::from_le_bytes(SAMPLE[sizes + 0x18..][..8].try_into().unwrap()) as usize;
    // 8 bytes of address, then the size: made a number of three bytes, and the section cut off behind it.
    let mut bytes = changed(start + 8, &[0xff, 0xff, 0x7f]);
    bytes[sizes + 0x20] = 11;
    let error = try_load(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::FrameTooLarge(2_097_151)), "{error}");
    // An endless number, and one that is cut short.
    assert!(matches!(try_load(&changed(start + 8, &[0xff; 11])), Err(LoadError::Malformed(_))));
    bytes[sizes + 0x20] = 10;
    assert!(matches!(try_load(&bytes), Err(LoadError::Malformed(_))));
}
