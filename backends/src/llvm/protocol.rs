//! What passes between the backend and its helper: frames over two pipes, CLIF text one way, objects the other.
//!
//! A frame is a length, four bytes, little endian, and as many bytes of body:
//!
//! | frame | sent by | body |
//! |---|---|---|
//! | hello | helper, once | [`MAGIC`], the version, 4 bytes; then who it is, text |
//! | request | backend | a unit's functions as CLIF text, the entry first |
//! | answer | helper, one per request, in order | a byte that tells which, then as [`Answer`] says |
//!
//! CLIF text is what one reads and what one replays: a request saved to a file is what `tierup-llvm` compiles from its
//! standard input. Nothing is lost in it: floats are printed in hexadecimal, and the test `text_round_trips` compares.

use std::io::{self, Read, Write};

use super::Locations;

/// First bytes of a hello.
pub const MAGIC: &[u8; 12] = b"tierup-llvm\0";

/// The version of all that is in this file. A backend refuses a helper that says another.
pub const VERSION: u32 = 2;

/// Bytes of a frame before its body.
pub const LENGTH_BYTES: usize = 4;

/// Longest body. A longer one is a peer gone wrong.
pub const MAX_BODY: usize = 256 << 20;

/// What a helper says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its [`VERSION`].
    pub version: u32,
    /// Which compiler it is, for people.
    pub compiler: String,
}

/// What a helper answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 0: microseconds spent, 8 bytes; length of the symbol, 4 bytes; the symbol; the locations; the object.
    Object {
        /// Time the helper took, without transport, in microseconds.
        micros: u64,
        /// Symbol of the unit's entry.
        entry: String,
        /// What its code comes from.
        locations: Locations,
        /// An x86-64 ELF relocatable object.
        bytes: Vec<u8>,
    },
    /// 1: text. There is something in the unit that the compiler does not know.
    Unsupported(String),
    /// 2: two times 8 bytes. A native frame is larger than the ABI allows.
    FrameTooLarge {
        /// Its size.
        bytes: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// 3: text. Anything else that would happen again: text that is no CLIF, LLVM's own refusals, a panic.
    Failed(String),
}

/// A body that is not what its place in the conversation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {0}")]
pub struct BadBody(pub(super) &'static str);

impl BadBody {
    pub(super) const UNASKED: Self = BadBody("place for an answer");
}

impl Hello {
    /// As a frame's body.
    pub fn encode(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &self.version.to_le_bytes(), self.compiler.as_bytes()].concat()
    }

    /// From a frame's body. Of another version than ours only the version is understood.
    ///
    /// # Errors
    ///
    /// When it does not begin as every version's hello does.
    pub fn decode(body: &[u8]) -> Result<Self, BadBody> {
        let (version, compiler) = body.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk()).ok_or(BadBody("hello"))?;
        let compiler = String::from_utf8_lossy(compiler).into_owned();
        Ok(Hello { version: u32::from_le_bytes(*version), compiler })
    }
}

impl Answer {
    /// As a frame's body.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Object { micros, entry, locations, bytes } => {
                let length = u32::try_from(entry.len()).expect("a symbol's length");
                let mut body = [&[0], &micros.to_le_bytes()[..], &length.to_le_bytes(), entry.as_bytes()].concat();
                locations.encode(&mut body);
                body.extend(bytes);
                body
            }
            Answer::Unsupported(what) => [&[1], what.as_bytes()].concat(),
            Answer::FrameTooLarge { bytes, limit } => [&[2], &bytes.to_le_bytes()[..], &limit.to_le_bytes()].concat(),
            Answer::Failed(why) => [&[3], why.as_bytes()].concat(),
        }
    }

    /// From a frame's body.
    ///
    /// # Errors
    ///
    /// When it is none of the four.
    pub fn decode(body: &[u8]) -> Result<Self, BadBody> {
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| BadBody("frame size"));
        match body.split_first() {
            Some((0, rest)) => {
                let object = rest.split_first_chunk::<8>().and_then(|(micros, rest)| {
                    let (length, rest) = rest.split_first_chunk::<4>()?;
                    let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                    Some((u64::from_le_bytes(*micros), text(entry), rest))
                });
                let (micros, entry, mut rest) = object.ok_or(BadBody("object"))?;
                let locations = Locations::decode(&mut rest)?;
                Ok(Answer::Object { micros, entry, locations, bytes: rest.to_vec() })
            }
            Some((1, what)) => Ok(Answer::Unsupported(text(what))),
            Some((2, sizes)) => {
                let (bytes, limit) = sizes.split_at_checked(8).ok_or(BadBody("frame size"))?;
                Ok(Answer::FrameTooLarge { bytes: number(bytes)?, limit: number(limit)? })
            }
            Some((3, why)) => Ok(Answer::Failed(text(why))),
            _ => Err(BadBody("known answer")),
        }
    }
}

/// A body with its length before it.
///
/// # Panics
///
/// If it is longer than [`MAX_BODY`].
pub fn frame(body: &[u8]) -> Vec<u8> {
    assert!(body.len() <= MAX_BODY, "a body of {} bytes", body.len());
    [&(body.len() as u32).to_le_bytes(), body].concat()
}

/// The body of the frame that `bytes` begin with, when all of it is there.
///
/// # Errors
///
/// When its length is beyond [`MAX_BODY`].
pub fn first_body(bytes: &[u8]) -> Result<Option<&[u8]>, BadBody> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    match u32::from_le_bytes(*length) as usize {
        length if length > MAX_BODY => Err(BadBody("length of a frame")),
        length => Ok(rest.get(..length)),
    }
}

/// Writes a frame, blocking.
///
/// # Errors
///
/// The writer's.
pub fn write_frame(to: &mut dyn Write, body: &[u8]) -> io::Result<()> {
    to.write_all(&frame(body))?;
    to.flush()
}

/// Reads a frame, blocking; `None` at the end of the stream.
///
/// # Errors
///
/// The reader's; `InvalidData` for a length beyond [`MAX_BODY`].
pub fn read_frame(from: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_BODY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Hello, Locations, MAX_BODY, first_body, frame, read_frame, write_frame};

    #[test]
    fn what_is_encoded_is_decoded() {
        let hello = Hello { version: 7, compiler: "LLVM".into() };
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        for answer in [
            Answer::Object { micros: 12, entry: "u0:0".into(), locations: Locations::default(), bytes: vec![1, 2, 3] },
            Answer::Unsupported("that".into()),
            Answer::FrameTooLarge { bytes: 1 << 40, limit: 9 },
            Answer::Failed(String::new()),
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let locations = Locations::default();
        let object = Answer::Object { micros: 12, entry: "entry".into(), locations, bytes: Vec::new() }.encode();
        for length in 0..object.len() {
            assert!(Answer::decode(&object[..length]).is_err(), "{length} bytes");
        }
        assert!(Answer::decode(&[2; 16]).is_err() && Answer::decode(&[2; 18]).is_err() && Answer::decode(&[4]).is_err());
        assert!(Hello::decode(b"tierup-llvm\0abc").is_err() && Hello::decode(b"hello, world, here I am").is_err());
    }

    #[test]
    fn frames_are_taken_off_when_they_are_complete() {
        let bytes = [frame(b"one"), frame(b"")].concat();
        assert_eq!(first_body(&bytes[..6]), Ok(None));
        assert_eq!(first_body(&bytes), Ok(Some(&b"one"[..])));
        assert_eq!(first_body(&bytes[7..]), Ok(Some(&b""[..])));
        assert!(first_body(&u32::MAX.to_le_bytes()).is_err());
        let mut stream = Vec::new();
        write_frame(&mut stream, b"one").unwrap();
        assert_eq!(read_frame(&mut &stream[..]).unwrap().unwrap(), b"one");
        assert!(read_frame(&mut &b""[..]).unwrap().is_none());
        assert!(read_frame(&mut &stream[..5]).is_err());
        assert!(read_frame(&mut &((MAX_BODY + 1) as u32).to_le_bytes()[..]).is_err());
    }
}
