//! How an OSR variant leaves: it is entered by a driver only, with the frame buffer as its one argument, and returns a
//! status word. Bodies have no status; they return their results.

use super::Resume;

/// What an OSR variant returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OsrOutcome {
    /// The function returned; its results are in the frame buffer.
    Done,
    /// The driver carries on there: at a site, with its slots in the frame buffer, or as an exit says, with its values in the
    /// thread's wide buffer.
    Exit(Resume),
}

impl OsrOutcome {
    /// The status word of [`Done`](OsrOutcome::Done).
    pub const DONE: i64 = -1;

    /// Decodes the status word.
    pub const fn decode(status: u64) -> Self {
        if status.cast_signed() == Self::DONE { OsrOutcome::Done } else { OsrOutcome::Exit(Resume::decode(status)) }
    }

    /// The status word a variant returns.
    pub const fn encode(self) -> i64 {
        match self {
            OsrOutcome::Done => Self::DONE,
            OsrOutcome::Exit(resume) => resume.encode() as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OsrOutcome, Resume};

    #[test]
    fn the_status_word_round_trips() {
        let last = Resume::LIMIT - 1;
        let exits = [Resume::Site(0), Resume::Site(last), Resume::Exit(0), Resume::Exit(last)];
        for outcome in exits.map(OsrOutcome::Exit).into_iter().chain([OsrOutcome::Done]) {
            assert_eq!(OsrOutcome::decode(outcome.encode().cast_unsigned()), outcome);
        }
    }
}
