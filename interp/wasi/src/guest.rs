//! The guest's memory, every access checked.

use std::io::IoSlice;
use std::ops::Range;

use crate::errno::Errno;

/// Buffers one read or write may gather, as POSIX systems limit it.
const MAX_IOVECS: u32 = 1024;

/// The importing instance's memory during one call.
#[derive(Debug)]
pub(crate) struct Guest<'a>(&'a mut [u8]);

impl<'a> Guest<'a> {
    pub(crate) fn new(memory: &'a mut [u8]) -> Self {
        Self(memory)
    }

    fn range(&self, at: u32, len: u32) -> Result<Range<usize>, Errno> {
        let (start, end) = (u64::from(at), u64::from(at) + u64::from(len));
        if end > self.0.len() as u64 {
            return Err(Errno::Fault);
        }
        // Both are within a slice's length.
        Ok(start as usize..end as usize)
    }

    /// `len` bytes at `at`.
    pub(crate) fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        self.range(at, len).map(|range| &self.0[range])
    }

    /// `len` bytes at `at`, to be written.
    pub(crate) fn bytes_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        self.range(at, len).map(|range| &mut self.0[range])
    }

    /// A string of the guest's.
    pub(crate) fn str(&self, at: u32, len: u32) -> Result<&str, Errno> {
        std::str::from_utf8(self.bytes(at, len)?).map_err(|_| Errno::IlSeq)
    }

    fn array<const N: usize>(&self, at: u32) -> Result<[u8; N], Errno> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(at, N as u32)?);
        Ok(array)
    }

    pub(crate) fn u8(&self, at: u32) -> Result<u8, Errno> {
        self.array(at).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&self, at: u32) -> Result<u16, Errno> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self, at: u32) -> Result<u32, Errno> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&self, at: u32) -> Result<u64, Errno> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?;
        self.bytes_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// A vector of buffers: where it is, how many, all of it inside the memory.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`]; [`Errno::Inval`] for too many buffers or more than 4 GiB in all.
    pub(crate) fn iovecs(&self, at: u32, count: u32) -> Result<Vec<Iovec>, Errno> {
        if count > MAX_IOVECS {
            return Err(Errno::Inval);
        }
        let (table, _) = self.bytes(at, count * 8)?.as_chunks::<8>();
        let mut total = 0u32;
        let mut iovecs = Vec::with_capacity(table.len());
        for &[a, b, c, d, e, f, g, h] in table {
            let iovec = Iovec { at: u32::from_le_bytes([a, b, c, d]), len: u32::from_le_bytes([e, f, g, h]) };
            self.range(iovec.at, iovec.len)?;
            total = total.checked_add(iovec.len).ok_or(Errno::Inval)?;
            iovecs.push(iovec);
        }
        Ok(iovecs)
    }

    /// The buffers of a vector, to be written out.
    pub(crate) fn gather(&self, at: u32, count: u32) -> Result<Vec<IoSlice<'_>>, Errno> {
        self.iovecs(at, count)?.iter().map(|iovec| self.bytes(iovec.at, iovec.len).map(IoSlice::new)).collect()
    }
}

/// One buffer of a vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Iovec {
    pub(crate) at: u32,
    pub(crate) len: u32,
}
