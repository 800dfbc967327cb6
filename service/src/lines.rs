//! Lines of bounded length, read by somebody who may stop waiting at any time.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines. Takes memory for one line of `limit` bytes, whatever comes.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
    /// Lines begun before this one.
    before: u64,
    /// The rest of this line is not wanted.
    skipping: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line, without its newline.
    Line(Vec<u8>),
    /// A line that is longer than it may be: this is said once, as soon as that is known, and the line is skipped.
    TooLong,
    /// Nothing any more, but the last line had no newline.
    Unfinished,
    /// Nothing any more.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R, limit: usize) -> Self {
        Lines { from: BufReader::new(from), line: Vec::new(), limit, before: 0, skipping: false }
    }

    /// Number of the line that was returned last, or is being read, counted from 1.
    pub(crate) fn number(&self) -> u64 {
        self.before + u64::from(!self.line.is_empty() || self.skipping)
    }

    /// The next line that is not empty. Cancel-safe: what was read stays here.
    ///
    /// # Errors
    ///
    /// The reader's.
    pub(crate) async fn next(&mut self) -> io::Result<Next> {
        loop {
            let chunk = self.from.fill_buf().await?;
            if chunk.is_empty() {
                let unfinished = !self.line.is_empty();
                self.before += u64::from(unfinished || self.skipping);
                self.line.clear();
                self.skipping = false;
                return Ok(if unfinished { Next::Unfinished } else { Next::End });
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let too_long = !self.skipping && self.line.len() + part.len() > self.limit;
            if too_long {
                self.skipping = true;
                self.line = Vec::new();
            }
            if !self.skipping {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.from.consume(taken);
            if end.is_some() {
                self.before += 1;
                let skipped = std::mem::take(&mut self.skipping);
                if too_long {
                    return Ok(Next::TooLong);
                }
                if !skipped && !self.line.is_empty() {
                    return Ok(Next::Line(std::mem::take(&mut self.line)));
                }
            } else if too_long {
                return Ok(Next::TooLong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is read of `bytes`, which come in pieces of `piece`, with the numbers of lines.
    fn read(bytes: &[u8], piece: usize, limit: usize) -> Vec<(u64, Next)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut to, from) = tokio::io::duplex(piece);
            let bytes = bytes.to_vec();
            tokio::spawn(async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut to, &bytes).await;
            });
            let (mut lines, mut all) = (Lines::new(from, limit), Vec::new());
            loop {
                let next = lines.next().await.unwrap();
                let end = next == Next::End;
                all.push((lines.number(), next));
                if end {
                    return all;
                }
            }
        })
    }

    #[test]
    fn lines_of_every_kind_in_pieces_of_every_size() {
        let line = |text: &str| Next::Line(text.as_bytes().to_vec());
        for piece in [1, 2, 3, 7, 100] {
            assert_eq!(read(b"", piece, 4), [(0, Next::End)]);
            assert_eq!(
                read(b"ab\n\nabcd\nabcde\nx\nhalf", piece, 4),
                [(1, line("ab")), (3, line("abcd")), (4, Next::TooLong), (5, line("x")), (6, Next::Unfinished), (6, Next::End)],
                "pieces of {piece}"
            );
            assert_eq!(read(b"abcdefghij", piece, 4), [(1, Next::TooLong), (1, Next::End)], "pieces of {piece}");
        }
    }
}
