//! The import table: every function of preview 1 by name.

use tierup_interp::{Caller, HostError, Linker};

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::guest::Guest;
use crate::{args, clock, file, filestat, path, poll, process, random, readdir};

/// The module name guests import preview 1 from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Defines all of preview 1 in a linker. `project` finds a guest's [`WasiCtx`] in its store's data.
///
/// Defining the functions grants nothing: what they may do is in the `WasiCtx`. A guest without a memory gets
/// [`Errno::Fault`] from every function that takes a pointer.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    project: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) {
    macro_rules! define {
        ($($name:ident = $function:path, ($($arg:ident: $ty:ty),*);)*) => {$(
            linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($arg: $ty),*| -> u32 {
                call(&mut caller, project, |ctx, guest| $function(ctx, guest, $($arg),*))
            });
        )*};
    }
    // What may wait for somebody does so parked: nobody else has to wait for the guest meanwhile.
    macro_rules! define_waiting {
        ($($name:ident = $function:path, ($($arg:ident: $ty:ty),*);)*) => {$(
            linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($arg: $ty),*| -> u32 {
                call_parked(&mut caller, project, |ctx, guest| $function(ctx, guest, $($arg),*))
            });
        )*};
    }
    define_waiting! {
        fd_read = file::fd_read, (fd: u32, iovecs: u32, count: u32, read: u32);
        fd_write = file::fd_write, (fd: u32, iovecs: u32, count: u32, written: u32);
        poll_oneoff = poll::poll_oneoff, (subscriptions: u32, events: u32, count: u32, happened: u32);
    }
    define! {
        args_get = args::args_get, (pointers: u32, bytes: u32);
        args_sizes_get = args::args_sizes_get, (count: u32, bytes: u32);
        environ_get = args::environ_get, (pointers: u32, bytes: u32);
        environ_sizes_get = args::environ_sizes_get, (count: u32, bytes: u32);
        clock_res_get = clock::clock_res_get, (id: u32, resolution: u32);
        clock_time_get = clock::clock_time_get, (id: u32, precision: u64, time: u32);
        fd_advise = file::fd_advise, (fd: u32, offset: u64, len: u64, advice: u32);
        fd_allocate = file::fd_allocate, (fd: u32, offset: u64, len: u64);
        fd_close = file::fd_close, (fd: u32);
        fd_datasync = file::fd_datasync, (fd: u32);
        fd_fdstat_get = file::fd_fdstat_get, (fd: u32, at: u32);
        fd_fdstat_set_flags = file::fd_fdstat_set_flags, (fd: u32, flags: u32);
        fd_fdstat_set_rights = file::fd_fdstat_set_rights, (fd: u32, rights: u64, inheriting: u64);
        fd_filestat_get = filestat::fd_filestat_get, (fd: u32, at: u32);
        fd_filestat_set_size = filestat::fd_filestat_set_size, (fd: u32, size: u64);
        fd_filestat_set_times = filestat::fd_filestat_set_times, (fd: u32, access: u64, modification: u64, flags: u32);
        fd_pread = file::fd_pread, (fd: u32, iovecs: u32, count: u32, offset: u64, read: u32);
        fd_prestat_get = readdir::fd_prestat_get, (fd: u32, at: u32);
        fd_prestat_dir_name = readdir::fd_prestat_dir_name, (fd: u32, at: u32, len: u32);
        fd_pwrite = file::fd_pwrite, (fd: u32, iovecs: u32, count: u32, offset: u64, written: u32);
        fd_readdir = readdir::fd_readdir, (fd: u32, buffer: u32, len: u32, cookie: u64, used: u32);
        fd_renumber = file::fd_renumber, (from: u32, to: u32);
        fd_seek = file::fd_seek, (fd: u32, offset: i64, whence: u32, position: u32);
        fd_sync = file::fd_sync, (fd: u32);
        fd_tell = file::fd_tell, (fd: u32, position: u32);
        path_create_directory = path::path_create_directory, (fd: u32, path: u32, len: u32);
        path_filestat_get = filestat::path_filestat_get, (fd: u32, lookup: u32, path: u32, len: u32, at: u32);
        path_filestat_set_times = filestat::path_filestat_set_times,
            (fd: u32, lookup: u32, path: u32, len: u32, access: u64, modification: u64, flags: u32);
        path_link = path::path_link,
            (fd: u32, lookup: u32, path: u32, len: u32, to_fd: u32, to: u32, to_len: u32);
        path_open = path::path_open,
            (fd: u32, lookup: u32, path: u32, len: u32, oflags: u32, rights: u64, inheriting: u64, fdflags: u32, opened: u32);
        path_readlink = path::path_readlink, (fd: u32, path: u32, len: u32, buffer: u32, buffer_len: u32, used: u32);
        path_remove_directory = path::path_remove_directory, (fd: u32, path: u32, len: u32);
        path_rename = path::path_rename, (fd: u32, path: u32, len: u32, to_fd: u32, to: u32, to_len: u32);
        path_symlink = path::path_symlink, (target: u32, target_len: u32, fd: u32, path: u32, len: u32);
        path_unlink_file = path::path_unlink_file, (fd: u32, path: u32, len: u32);
        proc_raise = process::proc_raise, (signal: u32);
        random_get = random::random_get, (at: u32, len: u32);
        sched_yield = process::sched_yield, ();
    }

    // A guest that exits does not come back: the outermost call returns `Error::Exit`.
    linker.func_wrap(MODULE, "proc_exit", |_: Caller<'_, T>, code: i32| -> Result<(), HostError> { Err(HostError::exit(code)) });

    macro_rules! sockets {
        ($($name:ident($($arg:ident: $ty:ty),*);)*) => {$(
            linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, fd: u32, $($arg: $ty),*| -> u32 {
                $(let _ = $arg;)*
                call(&mut caller, project, |ctx, _| process::no_socket(ctx, fd))
            });
        )*};
    }
    sockets! {
        sock_accept(flags: u32, opened: u32);
        sock_recv(iovecs: u32, count: u32, flags: u32, read: u32, flags_out: u32);
        sock_send(iovecs: u32, count: u32, flags: u32, written: u32);
        sock_shutdown(how: u32);
    }
}

/// Runs one function on the caller's memory and grants; answers with an error number, 0 for success.
fn call<T: 'static>(
    caller: &mut Caller<'_, T>,
    project: impl Fn(&mut T) -> &mut WasiCtx,
    function: impl FnOnce(&mut WasiCtx, &mut Guest<'_>) -> Result<(), Errno>,
) -> u32 {
    number(match caller.memory_and_data() {
        Some((memory, data)) => function(project(data), &mut Guest::new(memory)),
        None => function(project(caller.data_mut()), &mut Guest::new(&mut [])),
    })
}

/// The same, parked.
fn call_parked<T: 'static>(
    caller: &mut Caller<'_, T>,
    project: impl Fn(&mut T) -> &mut WasiCtx,
    function: impl FnOnce(&mut WasiCtx, &mut Guest<'_>) -> Result<(), Errno>,
) -> u32 {
    number(caller.parked_with_memory(|memory, data| function(project(data), &mut Guest::new(memory.unwrap_or_default()))))
}

fn number(result: Result<(), Errno>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(errno) => errno as u32,
    }
}
