//! The functions of preview 1 called directly, on a small memory and a scratch directory: no VM in between.

mod hostile;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::args::{args_get, args_sizes_get, environ_get, environ_sizes_get};
use crate::clock::{clock_res_get, clock_time_get};
use crate::file::*;
use crate::filestat::*;
use crate::guest::Guest;
use crate::path::*;
use crate::poll::poll_oneoff;
use crate::process::no_socket;
use crate::random::random_get;
use crate::readdir::*;
use crate::{Access, Buffer, ConfigError, Errno, WasiCtx, WasiCtxBuilder};

const MEMORY: usize = 64 << 10;
const READ: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 21;
const WRITE: u64 = 1 << 6 | 1 << 22;
const EVERYTHING: u64 = (1 << 29) - 1;
const CREAT: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCL: u32 = 4;
const TRUNC: u32 = 8;

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Ordering: Relaxed. Only uniqueness counts.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tierup-wasi-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("inside/sub")).unwrap();
        fs::write(path.join("secret"), "not yours").unwrap();
        fs::write(path.join("inside/hello"), "hello, world").unwrap();
        Self(path)
    }

    fn inside(&self) -> PathBuf {
        self.0.join("inside")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A guest with `dir` preopened as descriptor 3.
struct World {
    ctx: WasiCtx,
    memory: Vec<u8>,
}

impl World {
    fn new(builder: WasiCtxBuilder) -> Self {
        Self { ctx: builder.build(), memory: vec![0; MEMORY] }
    }

    fn with_dir(dir: &Path, access: Access) -> Self {
        Self::new(WasiCtxBuilder::new().preopened_dir(dir, "/data", access).unwrap())
    }

    fn run<R>(&mut self, f: impl FnOnce(&mut WasiCtx, &mut Guest<'_>) -> R) -> R {
        f(&mut self.ctx, &mut Guest::new(&mut self.memory))
    }

    /// Puts a string at 1024 (or `at`) and says where and how long.
    fn put(&mut self, at: u32, text: &str) -> (u32, u32) {
        self.memory[at as usize..at as usize + text.len()].copy_from_slice(text.as_bytes());
        (at, text.len() as u32)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.memory[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.memory[at..at + 8].try_into().unwrap())
    }

    fn open(&mut self, path: &str, oflags: u32, rights: u64) -> Result<u32, Errno> {
        self.open_with(path, 1, oflags, rights, 0)
    }

    fn open_with(&mut self, path: &str, lookup: u32, oflags: u32, rights: u64, fdflags: u32) -> Result<u32, Errno> {
        let (at, len) = self.put(1024, path);
        self.run(|ctx, guest| path_open(ctx, guest, 3, lookup, at, len, oflags, rights, rights, fdflags, 64))?;
        Ok(self.u32(64))
    }

    fn write(&mut self, fd: u32, text: &str) -> Result<u32, Errno> {
        let (at, len) = self.put(2048, text);
        self.memory[128..132].copy_from_slice(&at.to_le_bytes());
        self.memory[132..136].copy_from_slice(&len.to_le_bytes());
        self.run(|ctx, guest| fd_write(ctx, guest, fd, 128, 1, 64))?;
        Ok(self.u32(64))
    }

    fn read(&mut self, fd: u32, len: u32) -> Result<String, Errno> {
        self.memory[128..132].copy_from_slice(&4096u32.to_le_bytes());
        self.memory[132..136].copy_from_slice(&len.to_le_bytes());
        self.run(|ctx, guest| fd_read(ctx, guest, fd, 128, 1, 64))?;
        let read = self.u32(64) as usize;
        Ok(String::from_utf8(self.memory[4096..4096 + read].to_vec()).unwrap())
    }
}

#[test]
fn nothing_is_granted_by_default() {
    let mut world = World::new(WasiCtxBuilder::new());
    assert_eq!(world.read(0, 10), Ok(String::new()));
    assert_eq!(world.write(1, "into the void"), Ok(13));
    assert_eq!(world.open("hello", 0, READ), Err(Errno::BadF));
    world.run(|ctx, guest| {
        assert_eq!(fd_prestat_get(ctx, guest, 3, 0), Err(Errno::BadF));
        assert_eq!(args_sizes_get(ctx, guest, 0, 4), Ok(()));
        assert_eq!(environ_sizes_get(ctx, guest, 8, 12), Ok(()));
    });
    assert_eq!(&world.memory[..16], &[0; 16]);
}

#[test]
fn arguments_and_environment() {
    let builder = WasiCtxBuilder::new().args(["prog", "one"]).unwrap().env("KEY", "a=b").unwrap();
    let mut world = World::new(builder);
    world.run(|ctx, guest| {
        args_sizes_get(ctx, guest, 0, 4).unwrap();
        args_get(ctx, guest, 8, 100).unwrap();
        environ_sizes_get(ctx, guest, 16, 20).unwrap();
        environ_get(ctx, guest, 24, 200).unwrap();
        assert_eq!(args_get(ctx, guest, MEMORY as u32 - 4, 100), Err(Errno::Fault));
        assert_eq!(args_get(ctx, guest, 900, u32::MAX - 2), Err(Errno::Fault));
    });
    assert_eq!((world.u32(0), world.u32(4), world.u32(8), world.u32(12)), (2, 9, 100, 105));
    assert_eq!(&world.memory[100..109], b"prog\0one\0");
    assert_eq!((world.u32(16), world.u32(20)), (1, 8));
    assert_eq!(&world.memory[200..208], b"KEY=a=b\0");
}

#[test]
fn what_cannot_be_granted_is_said() {
    assert!(matches!(WasiCtxBuilder::new().arg("a\0b"), Err(ConfigError::Nul { .. })));
    assert!(matches!(WasiCtxBuilder::new().env("a=b", "c"), Err(ConfigError::VariableName(_))));
    assert!(matches!(WasiCtxBuilder::new().env("", "c"), Err(ConfigError::VariableName(_))));
    let missing = WasiCtxBuilder::new().preopened_dir("/does/not/exist", "/", Access::ReadOnly);
    assert!(matches!(missing, Err(ConfigError::Directory { .. })));
}

#[test]
fn streams() {
    let (out, err) = (Buffer::new(), Buffer::new());
    let builder = WasiCtxBuilder::new().stdin(&b"some input"[..]).stdout(out.clone()).stderr(err.clone());
    let mut world = World::new(builder);
    assert_eq!(world.read(0, 4).as_deref(), Ok("some"));
    assert_eq!(world.read(0, 100).as_deref(), Ok(" input"));
    assert_eq!(world.read(0, 100).as_deref(), Ok(""));
    assert_eq!(world.write(1, "to stdout"), Ok(9));
    assert_eq!(world.write(2, "to stderr"), Ok(9));
    assert_eq!((out.contents(), err.contents()), (b"to stdout".to_vec(), b"to stderr".to_vec()));
    assert_eq!(world.write(0, "x"), Err(Errno::NotCapable));
    assert_eq!(world.read(1, 1), Err(Errno::NotCapable));
    world.run(|ctx, guest| {
        assert_eq!(fd_seek(ctx, guest, 1, 0, 1, 0), Err(Errno::SPipe));
        assert_eq!(fd_fdstat_get(ctx, guest, 1, 0), Ok(()));
        assert_eq!(fd_close(ctx, guest, 1), Ok(()));
        assert_eq!(fd_close(ctx, guest, 1), Err(Errno::BadF));
    });
}

#[test]
fn pointers_are_checked() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let end = MEMORY as u32;
    let fd = world.open("hello", 0, READ).unwrap();
    world.run(|ctx, guest| {
        for at in [end - 1, end, u32::MAX - 1] {
            assert_eq!(fd_read(ctx, guest, fd, at, 1, 0), Err(Errno::Fault));
            assert_eq!(fd_write(ctx, guest, 1, at, 1, 0), Err(Errno::Fault));
            assert_eq!(fd_fdstat_get(ctx, guest, fd, at), Err(Errno::Fault));
            assert_eq!(fd_filestat_get(ctx, guest, fd, at), Err(Errno::Fault));
            assert_eq!(fd_prestat_get(ctx, guest, 3, at), Err(Errno::Fault));
            assert_eq!(fd_seek(ctx, guest, fd, 0, 1, at), Err(Errno::Fault));
            assert_eq!(clock_time_get(ctx, guest, 0, 0, at), Err(Errno::Fault));
            assert_eq!(random_get(ctx, guest, at, 16), Err(Errno::Fault));
            assert_eq!(poll_oneoff(ctx, guest, at, 0, 1, 0), Err(Errno::Fault));
            assert_eq!(path_open(ctx, guest, 3, 0, at, 5, 0, READ, 0, 0, 0), Err(Errno::Fault));
        }
        // An unreasonable number of buffers is refused before anything is allocated for them.
        assert_eq!(fd_write(ctx, guest, 1, 0, u32::MAX, 0), Err(Errno::Inval));
        assert_eq!(poll_oneoff(ctx, guest, 0, 0, u32::MAX, 0), Err(Errno::Inval));
    });
    // A descriptor that could not be reported is not left open.
    let (at, len) = world.put(1024, "hello");
    assert_eq!(world.run(|ctx, guest| path_open(ctx, guest, 3, 0, at, len, 0, READ, 0, 0, end)), Err(Errno::Fault));
    assert_eq!(world.open("hello", 0, READ), Ok(fd + 1));
}

#[test]
fn a_guest_without_memory_gets_faults() {
    let mut ctx = WasiCtxBuilder::new().arg("x").unwrap().build();
    let mut guest = Guest::new(&mut []);
    assert_eq!(args_sizes_get(&mut ctx, &mut guest, 0, 4), Err(Errno::Fault));
    assert_eq!(fd_write(&mut ctx, &mut guest, 1, 0, 0, 0), Err(Errno::Fault));
}

#[test]
fn paths_do_not_lead_out() {
    let scratch = Scratch::new();
    std::os::unix::fs::symlink("../secret", scratch.inside().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", scratch.inside().join("etc")).unwrap();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let absolute = scratch.0.join("secret");
    for path in ["../secret", "sub/../../secret", "link", "etc/passwd", "/etc/passwd", absolute.to_str().unwrap(), ".."] {
        let error = world.open(path, 0, READ).unwrap_err();
        assert_eq!(error, Errno::Perm, "{path}");
    }
    let (at, len) = world.put(1024, "../secret");
    let (new, new_len) = world.put(1124, "../new");
    let (hello, hello_len) = world.put(1224, "hello");
    world.run(|ctx, guest| {
        assert_eq!(path_unlink_file(ctx, guest, 3, at, len), Err(Errno::Perm));
        assert_eq!(path_create_directory(ctx, guest, 3, new, new_len), Err(Errno::Perm));
        assert_eq!(path_filestat_get(ctx, guest, 3, 1, at, len, 0), Err(Errno::Perm));
        assert_eq!(path_rename(ctx, guest, 3, hello, hello_len, 3, new, new_len), Err(Errno::Perm));
        assert_eq!(path_link(ctx, guest, 3, 0, at, len, 3, new, new_len), Err(Errno::Perm));
    });
    assert_eq!(fs::read(scratch.0.join("secret")).unwrap(), b"not yours");
    // `..` that stays inside is fine.
    assert!(world.open("sub/../hello", 0, READ).is_ok());
    assert_eq!(world.open("hel\0lo", 0, READ), Err(Errno::Inval));
    world.memory[1024] = 0xFF;
    assert_eq!(world.run(|ctx, guest| path_open(ctx, guest, 3, 0, 1024, 1, 0, READ, 0, 0, 0)), Err(Errno::IlSeq));
}

#[test]
fn reading_seeking_and_positions() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadOnly);
    let fd = world.open("hello", 0, EVERYTHING & !WRITE & !(1 << 8)).unwrap();
    assert_eq!(world.read(fd, 5).as_deref(), Ok("hello"));
    world.run(|ctx, guest| fd_tell(ctx, guest, fd, 64)).unwrap();
    assert_eq!(world.u64(64), 5);
    world.run(|ctx, guest| fd_seek(ctx, guest, fd, -5, 2, 64)).unwrap();
    assert_eq!(world.u64(64), 7);
    assert_eq!(world.read(fd, 100).as_deref(), Ok("world"));
    world.run(|ctx, guest| {
        assert_eq!(fd_seek(ctx, guest, fd, -1, 0, 64), Err(Errno::Inval));
        assert_eq!(fd_seek(ctx, guest, fd, 0, 9, 64), Err(Errno::Inval));
        fd_pread(ctx, guest, fd, 128, 1, 7, 64).unwrap();
    });
    assert_eq!(world.u32(64), 5);
    assert_eq!(&world.memory[4096..4101], b"world");
    world.run(|ctx, guest| fd_filestat_get(ctx, guest, fd, 512)).unwrap();
    assert_eq!((world.memory[528], world.u64(544)), (4, 12));
}

#[test]
fn one_read_fills_several_buffers() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadOnly);
    let fd = world.open("hello", 0, READ).unwrap();
    for (i, (at, len)) in [(300u32, 3u32), (400, 0), (500, 20)].into_iter().enumerate() {
        world.memory[128 + 8 * i..][..4].copy_from_slice(&at.to_le_bytes());
        world.memory[132 + 8 * i..][..4].copy_from_slice(&len.to_le_bytes());
    }
    world.run(|ctx, guest| fd_read(ctx, guest, fd, 128, 3, 64)).unwrap();
    assert_eq!(world.u32(64), 12);
    assert_eq!((&world.memory[300..303], &world.memory[500..509]), (&b"hel"[..], &b"lo, world"[..]));
}

#[test]
fn a_read_only_directory_stays_as_it_is() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadOnly);
    assert_eq!(world.open("hello", 0, READ | WRITE), Err(Errno::NotCapable));
    assert_eq!(world.open("new", CREAT, READ), Err(Errno::NotCapable));
    assert_eq!(world.open("hello", TRUNC, READ), Err(Errno::NotCapable));
    let (at, len) = world.put(1024, "hello");
    let (to, to_len) = world.put(1124, "other");
    world.run(|ctx, guest| {
        assert_eq!(path_unlink_file(ctx, guest, 3, at, len), Err(Errno::NotCapable));
        assert_eq!(path_rename(ctx, guest, 3, at, len, 3, to, to_len), Err(Errno::NotCapable));
        assert_eq!(path_link(ctx, guest, 3, 0, at, len, 3, to, to_len), Err(Errno::NotCapable));
        assert_eq!(path_symlink(ctx, guest, at, len, 3, to, to_len), Err(Errno::NotCapable));
        assert_eq!(path_create_directory(ctx, guest, 3, to, to_len), Err(Errno::NotCapable));
        assert_eq!(path_remove_directory(ctx, guest, 3, at, len), Err(Errno::NotCapable));
        assert_eq!(path_filestat_set_times(ctx, guest, 3, 1, at, len, 0, 0, 4), Err(Errno::NotCapable));
    });
    // Neither through a directory opened beneath it.
    let sub = world.open("sub", DIRECTORY, EVERYTHING).unwrap();
    let (at, len) = world.put(1024, "new");
    let opened = world.run(|ctx, guest| path_open(ctx, guest, sub, 1, at, len, CREAT, READ | WRITE, 0, 0, 64));
    assert_eq!(opened, Err(Errno::NotCapable));
    assert_eq!(fs::read_dir(scratch.inside()).unwrap().count(), 2);
}

#[test]
fn writing_and_changing() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let file = scratch.inside().join("new");
    let fd = world.open("new", CREAT | EXCL, READ | WRITE).unwrap();
    assert_eq!(world.open("new", CREAT | EXCL, READ | WRITE), Err(Errno::Exist));
    assert_eq!(world.write(fd, "abcdef"), Ok(6));
    world.put(2048, "XY");
    world.memory[132] = 2;
    world.run(|ctx, guest| fd_pwrite(ctx, guest, fd, 128, 1, 2, 64)).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"abXYef");
    world.run(|ctx, guest| {
        fd_filestat_set_size(ctx, guest, fd, 3).unwrap();
        assert_eq!(fd_filestat_set_times(ctx, guest, fd, 0, 5_000_000_007, 4), Err(Errno::NotCapable));
    });
    assert_eq!(fs::read(&file).unwrap(), b"abX");

    let append = world.open_with("new", 1, 0, READ | WRITE, 1).unwrap();
    assert_eq!(world.write(append, "+"), Ok(1));
    assert_eq!(fs::read(&file).unwrap(), b"abX+");
    let truncated = world.open("new", TRUNC, READ | WRITE).unwrap();
    assert_eq!(world.read(truncated, 9).as_deref(), Ok(""));

    let (from, from_len) = world.put(1024, "new");
    let (to, to_len) = world.put(1124, "sub/renamed");
    let (link, link_len) = world.put(1224, "link");
    world.run(|ctx, guest| {
        path_filestat_set_times(ctx, guest, 3, 1, from, from_len, 0, 5_000_000_007, 4).unwrap();
        path_filestat_get(ctx, guest, 3, 1, from, from_len, 512).unwrap();
        path_rename(ctx, guest, 3, from, from_len, 3, to, to_len).unwrap();
        path_symlink(ctx, guest, to, to_len, 3, link, link_len).unwrap();
        path_readlink(ctx, guest, 3, link, link_len, 700, 3, 64).unwrap();
    });
    assert_eq!(world.u64(512 + 48), 5_000_000_007);
    assert_eq!((world.u32(64), &world.memory[700..703]), (3, &b"sub"[..]));
    assert_eq!(world.open_with("link", 0, 0, READ, 0), Err(Errno::Loop));
    assert!(world.open_with("link", 1, 0, READ, 0).is_ok());
    let (sub, sub_len) = world.put(1324, "sub");
    world.run(|ctx, guest| {
        assert_eq!(path_remove_directory(ctx, guest, 3, sub, sub_len), Err(Errno::NotEmpty));
        path_unlink_file(ctx, guest, 3, to, to_len).unwrap();
        path_remove_directory(ctx, guest, 3, sub, sub_len).unwrap();
        path_create_directory(ctx, guest, 3, sub, sub_len).unwrap();
        assert_eq!(path_create_directory(ctx, guest, 3, sub, sub_len), Err(Errno::Exist));
    });
}

#[test]
fn rights_are_kept_and_only_shrink() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let fd = world.open("hello", 0, READ).unwrap();
    assert_eq!(world.write(fd, "x"), Err(Errno::NotCapable));
    world.run(|ctx, guest| {
        assert_eq!(fd_fdstat_set_rights(ctx, guest, fd, READ | WRITE, 0), Err(Errno::NotCapable));
        fd_fdstat_set_rights(ctx, guest, fd, 1 << 1, 0).unwrap();
        assert_eq!(fd_seek(ctx, guest, fd, 0, 0, 64), Err(Errno::NotCapable));
        assert_eq!(fd_fdstat_set_flags(ctx, guest, fd, 1), Err(Errno::NotCapable));
    });
    assert_eq!(world.open("hello", DIRECTORY, READ), Err(Errno::NotDir));
    assert_eq!(world.open("sub", CREAT, READ | WRITE), Err(Errno::IsDir));
    assert_eq!(world.open("missing", 0, READ), Err(Errno::NoEnt));
    assert_eq!(world.open("hello", 1 << 9, READ), Err(Errno::Inval));
}

#[test]
fn renumbering() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadOnly);
    let (a, b) = (world.open("hello", 0, READ).unwrap(), world.open("hello", 0, READ).unwrap());
    world.read(a, 7).unwrap();
    world.run(|ctx, guest| {
        fd_renumber(ctx, guest, a, b).unwrap();
        assert_eq!(fd_renumber(ctx, guest, a, b), Err(Errno::BadF));
        assert_eq!(fd_renumber(ctx, guest, b, 999), Err(Errno::BadF));
        fd_renumber(ctx, guest, b, b).unwrap();
    });
    assert_eq!(world.read(b, 100).as_deref(), Ok("world"));
    assert_eq!(world.open("hello", 0, READ), Ok(a), "the lowest free number");
}

#[test]
fn preopens_and_listings() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadOnly);
    world.run(|ctx, guest| {
        fd_prestat_get(ctx, guest, 3, 0).unwrap();
        fd_prestat_dir_name(ctx, guest, 3, 100, 5).unwrap();
        assert_eq!(fd_prestat_dir_name(ctx, guest, 3, 100, 4), Err(Errno::NameTooLong));
        assert_eq!(fd_prestat_get(ctx, guest, 1, 0), Err(Errno::BadF));
        assert_eq!(fd_prestat_get(ctx, guest, 4, 0), Err(Errno::BadF));
    });
    assert_eq!((world.u32(0), world.u32(4), &world.memory[100..105]), (0, 5, &b"/data"[..]));

    // In one go, and in pieces that hold one entry each.
    for size in [4096, 24 + 6] {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            world.run(|ctx, guest| fd_readdir(ctx, guest, 3, 8192, size, cookie, 64)).unwrap();
            let used = world.u32(64) as usize;
            let mut at = 8192;
            while at + 24 <= 8192 + used {
                let len = world.u32(at + 16) as usize;
                if at + 24 + len > 8192 + used {
                    break;
                }
                names.push((String::from_utf8(world.memory[at + 24..at + 24 + len].to_vec()).unwrap(), world.memory[at + 20]));
                cookie = world.u64(at);
                at += 24 + len;
            }
            if used < size as usize {
                break;
            }
        }
        let expected = [(".", 3), ("..", 3), ("hello", 4), ("sub", 3)].map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(names, expected, "with a buffer of {size} bytes");
    }
}

#[test]
fn clocks_random_numbers_and_waiting() {
    let mut world = World::new(WasiCtxBuilder::new());
    world.run(|ctx, guest| {
        for id in 0..4 {
            clock_time_get(ctx, guest, id, 0, 8 * id).unwrap();
            clock_res_get(ctx, guest, id, 64).unwrap();
        }
        assert_eq!(clock_time_get(ctx, guest, 4, 0, 0), Err(Errno::Inval));
        random_get(ctx, guest, 256, 64).unwrap();
    });
    assert!(world.u64(0) > 1_600_000_000_000_000_000, "the time of day");
    assert!(world.u64(8) < 60_000_000_000, "the monotonic clock starts at zero");
    assert!(world.memory[256..320].iter().any(|&byte| byte != 0));

    // A clock that rings in a millisecond, one in an hour.
    world.memory[1024..1120].fill(0);
    world.memory[1024] = 7;
    world.memory[1024 + 16] = 1;
    world.memory[1024 + 24..1024 + 32].copy_from_slice(&1_000_000u64.to_le_bytes());
    world.memory[1072 + 16] = 1;
    world.memory[1072 + 24..1072 + 32].copy_from_slice(&3_600_000_000_000u64.to_le_bytes());
    let before = std::time::Instant::now();
    world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 2048, 2, 64)).unwrap();
    assert!(before.elapsed() >= std::time::Duration::from_millis(1));
    assert_eq!((world.u32(64), world.u64(2048), world.u32(2056)), (1, 7, 0));

    // A descriptor beside the hour: ready at once, or an error of its own.
    world.memory[1024 + 8] = 2;
    world.memory[1024 + 16] = 1;
    world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 2048, 2, 64)).unwrap();
    assert_eq!((world.u32(64), world.u64(2048), world.memory[2056], world.memory[2058]), (1, 7, 0, 2));
    world.memory[1024 + 16] = 77;
    world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 2048, 2, 64)).unwrap();
    assert_eq!(world.memory[2056], Errno::BadF as u8);
}

#[test]
fn there_are_no_sockets() {
    let ctx = WasiCtxBuilder::new().build();
    assert_eq!(no_socket(&ctx, 1), Err(Errno::NotSock));
    assert_eq!(no_socket(&ctx, 9), Err(Errno::BadF));
}
