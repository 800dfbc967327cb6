//! Where an object's code comes from: for ranges of it, the guest functions that are under way there, inlined ones included.

use super::protocol::BadBody;

/// What a compiler kept of its unit's source locations. Need not be complete: what is missing is told at its function's start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locations {
    /// Symbols of the unit's functions, to which the rest refers by index.
    pub symbols: Vec<String>,
    /// By function and ascending start.
    pub ranges: Vec<LocationRange>,
}

/// Code of one place in the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationRange {
    /// Index of the symbol of the function whose machine code it is.
    pub function: u32,
    /// Bytes from that function's start to its first byte.
    pub start: u32,
    /// Bytes from that function's start to behind its last byte.
    pub end: u32,
    /// What is under way there, innermost first; the last is the function itself.
    pub frames: Vec<LocationFrame>,
}

/// A function that is under way, in a frame of its own or inlined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocationFrame {
    /// Index of its symbol.
    pub function: u32,
    /// The CLIF source location, if there is one.
    pub offset: Option<u32>,
}

const NO_OFFSET: u32 = u32::MAX;
const CUT_SHORT: BadBody = BadBody("table of locations");

impl Locations {
    /// Appends the encoding: counts and numbers of 4 bytes, little endian, in the order of the fields.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let mut put = |numbers: &[u32]| to.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        put(&[self.symbols.len() as u32, self.ranges.len() as u32]);
        for range in &self.ranges {
            put(&[range.function, range.start, range.end, range.frames.len() as u32]);
            for frame in &range.frames {
                put(&[frame.function, frame.offset.unwrap_or(NO_OFFSET)]);
            }
        }
        for symbol in &self.symbols {
            to.extend((symbol.len() as u32).to_le_bytes());
            to.extend(symbol.as_bytes());
        }
    }

    /// Takes the encoding off `bytes`.
    pub(super) fn decode(bytes: &mut &[u8]) -> Result<Self, BadBody> {
        let [symbols, ranges] = [number(bytes)?, number(bytes)?];
        // Nothing is allocated by what a count claims.
        let ranges = (0..ranges).map(|_| LocationRange::decode(bytes, symbols)).collect::<Result<_, _>>()?;
        let symbols = (0..symbols).map(|_| symbol(bytes)).collect::<Result<_, _>>()?;
        Ok(Locations { symbols, ranges })
    }
}

impl LocationRange {
    fn decode(bytes: &mut &[u8], symbols: u32) -> Result<Self, BadBody> {
        let [function, start, end, frames] = [number(bytes)?, number(bytes)?, number(bytes)?, number(bytes)?];
        let frame = |_| {
            let [function, offset] = [number(bytes)?, number(bytes)?];
            let offset = Some(offset).filter(|&offset| offset != NO_OFFSET);
            if function < symbols { Ok(LocationFrame { function, offset }) } else { Err(CUT_SHORT) }
        };
        let frames = (0..frames).map(frame).collect::<Result<_, _>>()?;
        if function < symbols { Ok(LocationRange { function, start, end, frames }) } else { Err(CUT_SHORT) }
    }
}

fn number(bytes: &mut &[u8]) -> Result<u32, BadBody> {
    let (number, rest) = bytes.split_first_chunk().ok_or(CUT_SHORT)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*number))
}

fn symbol(bytes: &mut &[u8]) -> Result<String, BadBody> {
    let length = number(bytes)? as usize;
    let (symbol, rest) = bytes.split_at_checked(length).ok_or(CUT_SHORT)?;
    *bytes = rest;
    Ok(String::from_utf8_lossy(symbol).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{LocationFrame, LocationRange, Locations};

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_less() {
        let frame = |function, offset| LocationFrame { function, offset };
        let locations = Locations {
            symbols: vec!["u0:0".into(), "u1:1".into()],
            ranges: vec![
                LocationRange { function: 0, start: 3, end: 8, frames: vec![frame(1, Some(7)), frame(0, None)] },
                LocationRange { function: 1, start: 0, end: 5, frames: Vec::new() },
            ],
        };
        let mut bytes = Vec::new();
        locations.encode(&mut bytes);
        let whole = bytes.len();
        bytes.push(9);
        let mut rest = &bytes[..];
        assert_eq!(Locations::decode(&mut rest), Ok(locations));
        assert_eq!(rest, [9]);
        for length in 0..whole {
            assert!(Locations::decode(&mut &bytes[..length]).is_err(), "{length} bytes");
        }
        // A symbol that there is not.
        bytes[8] = 2;
        assert!(Locations::decode(&mut &bytes[..]).is_err());
    }
}
