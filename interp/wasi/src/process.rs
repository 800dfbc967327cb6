//! The process: yielding and signals. (`proc_exit` does not return to the guest and is in `imports.rs`.)

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::guest::Guest;

pub(crate) fn sched_yield(_: &mut WasiCtx, _: &mut Guest<'_>) -> Result<(), Errno> {
    std::thread::yield_now();
    Ok(())
}

/// There are no signals here.
pub(crate) fn proc_raise(_: &mut WasiCtx, _: &mut Guest<'_>, _signal: u32) -> Result<(), Errno> {
    Err(Errno::NoSys)
}

/// What every socket function answers: [`Errno::BadF`] for a closed descriptor, [`Errno::NotSock`] for an open one,
/// because none can be a socket.
pub(crate) fn no_socket(ctx: &WasiCtx, fd: u32) -> Result<(), Errno> {
    ctx.fds.get(fd)?;
    Err(Errno::NotSock)
}
