//! Checked access to the guest's linear memory.

use super::Errno;

/// The guest's memory for the time of one call.
pub(super) struct Guest<'m>(pub(super) &'m mut [u8]);

impl Guest<'_> {
    pub(super) fn bytes(&self, address: u64, len: u32) -> Result<&[u8], Errno> {
        let range = range(address, len)?;
        self.0.get(range).ok_or(Errno::Fault)
    }

    pub(super) fn bytes_mut(&mut self, address: u64, len: u32) -> Result<&mut [u8], Errno> {
        let range = range(address, len)?;
        self.0.get_mut(range).ok_or(Errno::Fault)
    }

    pub(super) fn read_u32(&self, address: u64) -> Result<u32, Errno> {
        let bytes = self.bytes(address, 4)?;
        bytes.try_into().map(u32::from_le_bytes).map_err(|_| Errno::Fault)
    }

    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.bytes_mut(address, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write_u32(&mut self, address: u64, value: u32) -> Result<(), Errno> {
        self.write(address, &value.to_le_bytes())
    }

    /// The `index`-th (address, length) pair of an iovec array.
    pub(super) fn iovec(&self, array: u64, index: u64) -> Result<(u64, u32), Errno> {
        let entry = array + 8 * index;
        Ok((u64::from(self.read_u32(entry)?), self.read_u32(entry + 4)?))
    }
}

fn range(address: u64, len: u32) -> Result<std::ops::Range<usize>, Errno> {
    let start = usize::try_from(address).map_err(|_| Errno::Fault)?;
    let end = start.checked_add(len as usize).ok_or(Errno::Fault)?;
    Ok(start..end)
}
