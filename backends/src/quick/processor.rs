//! What this processor has of the instructions that are emitted.
//!
//! Where a hypervisor answers, a question takes 8 us, and it takes five of them: an eighth of a short program's first compile. The C library
//! asks when the program begins, and glibc tells what it was told (`sys/platform/x86.h`, since 2.33). It is looked up by name: elsewhere
//! there is no such function, and the processor is asked again.

use std::arch::x86_64::{__cpuid, __cpuid_count};

/// The words of `CPUID`'s answers that are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answers {
    /// Leaf 1, `ecx`.
    basic: u32,
    /// Leaf 7, `ebx`.
    structured: u32,
    /// Leaf 8000_0001, `ecx`.
    extended: u32,
}

/// Whether this processor has them all.
pub(super) fn is_supported() -> bool {
    told().unwrap_or_else(asked).suffice()
}

impl Answers {
    fn suffice(self) -> bool {
        const SSE41: u32 = 1 << 19;
        const POPCNT: u32 = 1 << 23;
        const BMI1_AND_2: u32 = 1 << 3 | 1 << 8;
        const LZCNT: u32 = 1 << 5;
        let has = |word: u32, bits: u32| word & bits == bits;
        has(self.basic, SSE41 | POPCNT) && has(self.structured, BMI1_AND_2) && has(self.extended, LZCNT)
    }
}

/// By the processor.
fn asked() -> Answers {
    const EXTENDED: u32 = 0x8000_0000;
    let (last, last_extended) = (__cpuid(0).eax, __cpuid(EXTENDED).eax);
    Answers {
        basic: __cpuid(1).ecx,
        structured: if last >= 7 { __cpuid_count(7, 0).ebx } else { 0 },
        extended: if last_extended > EXTENDED { __cpuid(EXTENDED + 1).ecx } else { 0 },
    }
}

/// By the C library, if it has kept the answers.
#[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
fn told() -> Option<Answers> {
    /// What the processor has, and what of it the system lets programs use: `eax`, `ebx`, `ecx`, `edx` of either.
    #[repr(C)]
    struct Feature {
        present: [u32; 4],
        active: [u32; 4],
    }
    type Leaf = unsafe extern "C" fn(u32) -> *const Feature;
    // The library's numbers of leaves.
    const LEAF_1: u32 = 0;
    const LEAF_7: u32 = 1;
    const LEAF_8000_0001: u32 = 2;
    // SAFETY: the name is a C string.
    let leaf = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__x86_get_cpuid_feature_leaf".as_ptr()) };
    if leaf.is_null() {
        return None;
    }
    // SAFETY: that is the function's type, by the library's header.
    let leaf = unsafe { std::mem::transmute::<*mut libc::c_void, Leaf>(leaf) };
    // SAFETY: any number may be asked for; what is returned is never freed, and null for none that the library knows.
    let words = |number| unsafe { leaf(number).as_ref() }.map(|feature| feature.present);
    Some(Answers { basic: words(LEAF_1)?[2], structured: words(LEAF_7)?[1], extended: words(LEAF_8000_0001)?[2] })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(miri))))]
fn told() -> Option<Answers> {
    None
}

#[cfg(test)]
mod tests {
    use super::{Answers, asked, told};

    const ALL: Answers = Answers { basic: u32::MAX, structured: u32::MAX, extended: u32::MAX };

    #[test]
    fn the_library_tells_what_the_processor_does() {
        // Bits that change with what the system has enabled are none of those that are looked at.
        let Some(told) = told() else {
            eprintln!("skipped: this C library does not tell");
            return;
        };
        assert_eq!(told.suffice(), asked().suffice());
        let looked_at = |Answers { basic, structured, extended }| {
            (basic & (1 << 19 | 1 << 23), structured & (1 << 3 | 1 << 8), extended & 1 << 5)
        };
        assert_eq!(looked_at(told), looked_at(asked()));
    }

    #[test]
    fn each_is_needed() {
        assert!(ALL.suffice());
        for bit in [19, 23] {
            assert!(!Answers { basic: !(1 << bit), ..ALL }.suffice());
        }
        for bit in [3, 8] {
            assert!(!Answers { structured: !(1 << bit), ..ALL }.suffice());
        }
        assert!(!Answers { extended: !(1 << 5), ..ALL }.suffice());
    }
}
