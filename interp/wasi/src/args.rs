//! Arguments and environment.

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::guest::Guest;

pub(crate) fn args_sizes_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, count: u32, bytes: u32) -> Result<(), Errno> {
    sizes(guest, &ctx.args, count, bytes)
}

pub(crate) fn args_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, pointers: u32, bytes: u32) -> Result<(), Errno> {
    strings(guest, &ctx.args, pointers, bytes)
}

pub(crate) fn environ_sizes_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, count: u32, bytes: u32) -> Result<(), Errno> {
    sizes(guest, &ctx.env, count, bytes)
}

pub(crate) fn environ_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, pointers: u32, bytes: u32) -> Result<(), Errno> {
    strings(guest, &ctx.env, pointers, bytes)
}

fn sizes(guest: &mut Guest<'_>, strings: &[String], count: u32, bytes: u32) -> Result<(), Errno> {
    let total: usize = strings.iter().map(|string| string.len() + 1).sum();
    guest.write_u32(count, u32::try_from(strings.len()).map_err(|_| Errno::Overflow)?)?;
    guest.write_u32(bytes, u32::try_from(total).map_err(|_| Errno::Overflow)?)
}

/// A table of pointers at `pointers` to NUL-terminated strings one after the other at `bytes`.
fn strings(guest: &mut Guest<'_>, strings: &[String], mut pointers: u32, mut bytes: u32) -> Result<(), Errno> {
    for string in strings {
        guest.write_u32(pointers, bytes)?;
        guest.write(bytes, string.as_bytes())?;
        // A successful write proves that the length fits; the address after it may not.
        bytes = bytes.checked_add(string.len() as u32).ok_or(Errno::Fault)?;
        guest.write(bytes, &[0])?;
        bytes = bytes.checked_add(1).ok_or(Errno::Fault)?;
        pointers = pointers.checked_add(4).ok_or(Errno::Fault)?;
    }
    Ok(())
}
