//! How an OSR variant leaves: it is entered by a driver only, with the frame buffer as its one argument, and returns a
//! status word. Bodies have no status; they return their results.

/// What an OSR variant returned. Its results, or the live slots at the exit, are in the frame buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OsrOutcome {
    /// The function returned.
    Done,
    /// The driver carries on at this loop site.
    Exit {
        /// The site, as the lowering numbers them.
        site: u32,
    },
}

impl OsrOutcome {
    /// The status word of [`Done`](OsrOutcome::Done).
    pub const DONE: i64 = -1;

    /// Decodes the status word.
    pub const fn decode(status: u64) -> Self {
        if status.cast_signed() == Self::DONE { OsrOutcome::Done } else { OsrOutcome::Exit { site: status as u32 } }
    }

    /// The status word a variant returns.
    pub const fn encode(self) -> i64 {
        match self {
            OsrOutcome::Done => Self::DONE,
            OsrOutcome::Exit { site } => site as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OsrOutcome;

    #[test]
    fn the_status_word_round_trips() {
        for outcome in [OsrOutcome::Done, OsrOutcome::Exit { site: 0 }, OsrOutcome::Exit { site: u32::MAX }] {
            assert_eq!(OsrOutcome::decode(outcome.encode().cast_unsigned()), outcome);
        }
    }
}
