//! Random bytes, from the operating system.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::guest::Guest;

pub(crate) fn random_get(_: &mut WasiCtx, guest: &mut Guest<'_>, at: u32, len: u32) -> Result<(), Errno> {
    let mut rest = guest.bytes_mut(at, len)?;
    while !rest.is_empty() {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(filled) => rest = &mut rest[filled..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
