//! The functions, each on checked memory; `TABLE` gives their names and signatures.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Type::{I32, I64};
use super::descriptors::Descriptor;
use super::{Body, Errno, Function, Guest, Wasi};

type Args<'a> = &'a [u64];
type Outcome = Result<(), Errno>;

pub(super) const TABLE: &[Function] = &[
    errno("args_get", &[I32, I32], args_get),
    errno("args_sizes_get", &[I32, I32], args_sizes_get),
    errno("clock_time_get", &[I32, I64, I32], clock_time_get),
    errno("environ_get", &[I32, I32], |_, _, _| Ok(())),
    errno("environ_sizes_get", &[I32, I32], environ_sizes_get),
    errno("fd_close", &[I32], |wasi, _, args| wasi.descriptors.close(args[0])),
    errno("fd_fdstat_get", &[I32, I32], fd_fdstat_get),
    errno("fd_fdstat_set_flags", &[I32, I32], fd_fdstat_set_flags),
    errno("fd_prestat_dir_name", &[I32, I32, I32], fd_prestat_dir_name),
    errno("fd_prestat_get", &[I32, I32], fd_prestat_get),
    errno("fd_read", &[I32, I32, I32, I32], fd_read),
    errno("fd_renumber", &[I32, I32], |wasi, _, args| wasi.descriptors.renumber(args[0], args[1])),
    errno("fd_seek", &[I32, I64, I32, I32], fd_seek),
    errno("fd_write", &[I32, I32, I32, I32], fd_write),
    errno("path_open", &[I32, I32, I32, I32, I32, I64, I64, I32, I32], path_open),
    errno("random_get", &[I32, I32], random_get),
    Function { name: "proc_exit", params: &[I32], body: Body::Exit },
];

const fn errno(
    name: &'static str,
    params: &'static [super::Type],
    body: fn(&mut Wasi, &mut Guest<'_>, Args<'_>) -> Outcome,
) -> Function {
    Function { name, params, body: Body::Errno(body) }
}

/// The only preopened folder's name in the guest.
const ROOT: &[u8] = b"/";

fn args_get(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let (mut pointer, mut text) = (args[0], args[1]);
    for arg in &wasi.args {
        guest.write_u32(pointer, text as u32)?;
        guest.write(text, arg)?;
        guest.write(text + arg.len() as u64, &[0])?;
        pointer += 4;
        text += arg.len() as u64 + 1;
    }
    Ok(())
}

fn args_sizes_get(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let bytes: usize = wasi.args.iter().map(|arg| arg.len() + 1).sum();
    guest.write_u32(args[0], wasi.args.len() as u32)?;
    guest.write_u32(args[1], bytes as u32)
}

fn environ_sizes_get(_: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    guest.write_u32(args[0], 0)?;
    guest.write_u32(args[1], 0)
}

fn clock_time_get(_: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    static START: OnceLock<Instant> = OnceLock::new();
    let time = match args[0] {
        0 => SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Errno::Inval)?,
        1 => START.get_or_init(Instant::now).elapsed(),
        _ => return Err(Errno::Inval),
    };
    guest.write(args[2], &(time.as_nanos() as u64).to_le_bytes())
}

fn fd_fdstat_get(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let kind = match wasi.descriptors.get(args[0])? {
        Descriptor::Preopen(_) => 3,
        Descriptor::File(file) => {
            let kind = file.metadata()?.file_type();
            if kind.is_char_device() {
                2
            } else if kind.is_file() {
                4
            } else {
                0
            }
        }
    };
    // filetype u8 @0, flags u16 @2, rights u64 @8, inherited rights u64 @16.
    let mut stat = [0; 24];
    stat[0] = kind;
    // A terminal is what can neither seek nor tell.
    let rights = if kind == 2 { !0x24 } else { u64::MAX };
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    stat[16..].copy_from_slice(&u64::MAX.to_le_bytes());
    guest.write(args[1], &stat)
}

/// Flags change nothing here: there is no non-blocking descriptor and nothing to append to.
fn fd_fdstat_set_flags(wasi: &mut Wasi, _: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    wasi.descriptors.get(args[0]).map(drop)
}

fn fd_prestat_get(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    wasi.descriptors.preopen(args[0])?;
    guest.write_u32(args[1], 0)?;
    guest.write_u32(args[1] + 4, ROOT.len() as u32)
}

fn fd_prestat_dir_name(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    wasi.descriptors.preopen(args[0])?;
    if (args[2] as usize) < ROOT.len() {
        return Err(Errno::Nametoolong);
    }
    guest.write(args[1], ROOT)
}

fn fd_read(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let file = wasi.descriptors.file(args[0])?;
    let mut total = 0u32;
    for index in 0..args[2] {
        let (address, len) = guest.iovec(args[1], index)?;
        let read = file.read(guest.bytes_mut(address, len)?)?;
        total = u32::saturating_add(total, read as u32);
        if read < len as usize {
            break;
        }
    }
    guest.write_u32(args[3], total)
}

fn fd_write(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let file = wasi.descriptors.file(args[0])?;
    let mut total = 0u32;
    for index in 0..args[2] {
        let (address, len) = guest.iovec(args[1], index)?;
        file.write_all(guest.bytes(address, len)?)?;
        total = u32::saturating_add(total, len);
    }
    guest.write_u32(args[3], total)
}

fn fd_seek(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let offset = args[1].cast_signed();
    let to = match args[2] {
        0 => SeekFrom::Start(args[1]),
        1 => SeekFrom::Current(offset),
        2 => SeekFrom::End(offset),
        _ => return Err(Errno::Inval),
    };
    let position = wasi.descriptors.file(args[0])?.seek(to)?;
    guest.write(args[3], &position.to_le_bytes())
}

fn path_open(wasi: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    const CREATE_OR_TRUNCATE: u64 = 1 | 8;
    if args[4] & CREATE_OR_TRUNCATE != 0 {
        return Err(Errno::Rofs);
    }
    let path = guest.bytes(args[2], args[3] as u32)?;
    let path = std::str::from_utf8(path).map_err(|_| Errno::Inval)?;
    let fd = wasi.descriptors.open(args[0], path)?;
    guest.write_u32(args[8], fd)
}

fn random_get(_: &mut Wasi, guest: &mut Guest<'_>, args: Args<'_>) -> Outcome {
    let bytes = guest.bytes_mut(args[0], args[1] as u32)?;
    Ok(File::open("/dev/urandom")?.read_exact(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::super::FUNCTIONS;
    use super::*;

    fn call(wasi: &mut Wasi, memory: &mut [u8], name: &str, args: &[u64]) -> i32 {
        let function = FUNCTIONS.iter().find(|f| f.name == name).expect("offered");
        function.call(wasi, memory, args).expect("does not exit")
    }

    fn guest() -> Wasi {
        let args = ["prog".to_owned(), "x".to_owned()];
        Wasi::new(&args, None).expect("stdio")
    }

    #[test]
    fn arguments_are_laid_out() {
        let (mut wasi, mut memory) = (guest(), vec![0; 64]);
        assert_eq!(call(&mut wasi, &mut memory, "args_sizes_get", &[0, 4]), 0);
        assert_eq!(memory[..8], [2, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(call(&mut wasi, &mut memory, "args_get", &[0, 16]), 0);
        assert_eq!(memory[..8], [16, 0, 0, 0, 21, 0, 0, 0]);
        assert_eq!(memory[16..23], *b"prog\0x\0");
    }

    #[test]
    fn wild_addresses_are_faults() {
        let (mut wasi, mut memory) = (guest(), vec![0; 64]);
        for address in [61, 64, u64::from(u32::MAX)] {
            let errno = call(&mut wasi, &mut memory, "args_sizes_get", &[address, 0]);
            assert_eq!(errno, Errno::Fault as i32);
        }
        let errno = call(&mut wasi, &mut memory, "fd_write", &[1, 60, 1, 0]);
        assert_eq!(errno, Errno::Fault as i32);
    }

    #[test]
    fn unknown_descriptors_are_refused() {
        let (mut wasi, mut memory) = (guest(), vec![0; 64]);
        for (name, args) in
            [("fd_close", &[3][..]), ("fd_prestat_get", &[3, 0]), ("fd_read", &[9, 0, 0, 0]), ("fd_renumber", &[0, 7])]
        {
            let errno = call(&mut wasi, &mut memory, name, args);
            assert_eq!(errno, Errno::Badf as i32, "{name}");
        }
    }

    #[test]
    fn exit_carries_its_code() {
        let exit = FUNCTIONS.iter().find(|f| f.name == "proc_exit").expect("offered");
        let stop = exit.call(&mut guest(), &mut [], &[3]).expect_err("exits");
        assert_eq!(stop.0, 3);
    }
}
