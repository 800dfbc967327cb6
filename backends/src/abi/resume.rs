//! Where a call is carried on that code has left: one word, for bodies and for variants.

/// Where to carry on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resume {
    /// At a loop site, whose slots are in the buffer by their numbers.
    Site(u32),
    /// Where the unit's exit of that number says, whose values are in the thread's wide buffer in the order of
    /// the unit's exit table.
    Exit(u32),
}

impl Resume {
    /// Set in the word of an exit.
    const EXIT: u32 = 1 << 31;

    /// Loop sites and exits are numbered below this.
    pub const LIMIT: u32 = Self::EXIT;

    /// The word: bit 31 tells exits from sites.
    ///
    /// # Panics
    ///
    /// For a number that is not below [`LIMIT`](Self::LIMIT).
    pub const fn encode(self) -> u32 {
        let (Resume::Site(number) | Resume::Exit(number)) = self;
        assert!(number < Self::LIMIT, "sites and exits have 31 bits");
        match self {
            Resume::Site(site) => site,
            Resume::Exit(exit) => exit | Self::EXIT,
        }
    }

    /// Decodes the low half of a register; the upper is ignored.
    pub const fn decode(word: u64) -> Self {
        let word = word as u32;
        if word & Self::EXIT == 0 { Resume::Site(word) } else { Resume::Exit(word & !Self::EXIT) }
    }
}

#[cfg(test)]
mod tests {
    use super::Resume;

    #[test]
    fn the_word_round_trips() {
        for number in [0, 1, Resume::LIMIT - 1] {
            for resume in [Resume::Site(number), Resume::Exit(number)] {
                assert_eq!(Resume::decode(u64::from(resume.encode())), resume);
            }
        }
    }
}
