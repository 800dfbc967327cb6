//! WASI preview 1 as an ordinary set of host functions, deny by default.
//!
//! A guest sees nothing of the host unless [`WasiCtxBuilder`] grants it: no files without a preopened directory, no
//! environment, no arguments, standard streams that are empty. Paths are resolved by `cap-std` beneath the directory
//! they start from and cannot leave it. Every function of preview 1 can be imported; sockets, which cannot be
//! granted, answer `ENOTSOCK` or `ENOSYS`.
//!
//! Pointers of the guest are checked ([`Errno::Fault`]), never trusted; no function panics on what a guest passes.
#![forbid(unsafe_code)]

mod args;
mod clock;
mod ctx;
mod errno;
mod fds;
mod file;
mod filestat;
mod guest;
mod imports;
mod path;
mod poll;
mod process;
mod random;
mod readdir;
mod rights;
mod stdio;
#[cfg(test)]
mod tests;

pub use ctx::{Access, ConfigError, WasiCtx, WasiCtxBuilder};
pub use errno::Errno;
pub use imports::{MODULE, add_to_linker};
pub use stdio::Buffer;
