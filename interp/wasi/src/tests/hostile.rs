//! What a hostile guest tries: nothing leads out of its directory, nothing panics, nothing is used up for good.

use super::*;
use crate::fds::MAX_OPEN;
use crate::process::{proc_raise, sched_yield};

/// An iovec at 128 + 8 * `index`.
fn iovec(world: &mut World, index: usize, at: u32, len: u32) {
    world.memory[128 + 8 * index..][..4].copy_from_slice(&at.to_le_bytes());
    world.memory[132 + 8 * index..][..4].copy_from_slice(&len.to_le_bytes());
}

#[test]
fn descriptors_run_out_and_come_back() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadOnly);
    let opened = (0..).map(|_| world.open("hello", 0, READ)).take_while(Result::is_ok).count();
    assert_eq!(opened, MAX_OPEN - 4, "streams and the preopened directory count");
    assert_eq!(world.open("sub", DIRECTORY, READ), Err(Errno::MFile));
    world.run(|ctx, guest| fd_close(ctx, guest, 77)).unwrap();
    assert_eq!(world.open("hello", 0, READ), Ok(77));
    assert_eq!(world.open("hello", 0, READ), Err(Errno::MFile));
    assert_eq!(world.read(77, 5).as_deref(), Ok("hello"));
}

#[test]
fn positions_and_sizes_do_not_overflow() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let fd = world.open("hello", 0, EVERYTHING).unwrap();
    assert_eq!(world.read(fd, 5).as_deref(), Ok("hello"));
    iovec(&mut world, 0, 4096, 4);
    world.run(|ctx, guest| {
        for (offset, whence) in [(i64::MAX, 1), (i64::MIN, 1), (i64::MAX, 2), (i64::MIN, 2), (i64::MIN, 0), (-6, 1)] {
            let refused = fd_seek(ctx, guest, fd, offset, whence, 64);
            assert!(matches!(refused, Err(Errno::Inval | Errno::Overflow)), "{offset} {whence}: {refused:?}");
        }
        for offset in [u64::MAX, i64::MAX as u64 + 1] {
            assert_eq!(fd_pread(ctx, guest, fd, 128, 1, offset, 64), Err(Errno::Inval));
            assert_eq!(fd_pwrite(ctx, guest, fd, 128, 1, offset, 64), Err(Errno::Inval));
            assert_eq!(fd_allocate(ctx, guest, fd, offset, 1), Err(Errno::Inval));
            assert_eq!(fd_allocate(ctx, guest, fd, 0, offset), Err(Errno::Inval));
            assert_eq!(fd_filestat_set_size(ctx, guest, fd, offset), Err(Errno::Inval));
            // Advice about what is not there is no mistake everywhere.
            let _ = fd_advise(ctx, guest, fd, offset, offset, 3);
        }
        assert_eq!(fd_allocate(ctx, guest, fd, 0, 0), Err(Errno::Inval));
        fd_tell(ctx, guest, fd, 64).unwrap();
    });
    assert_eq!(world.u64(64), 5, "the position is where it was");
    assert_eq!(fs::read(scratch.inside().join("hello")).unwrap(), b"hello, world");
}

#[test]
fn buffers_may_overlap_but_not_overhang() {
    let scratch = Scratch::new();
    let out = Buffer::new();
    let builder = WasiCtxBuilder::new().stdout(out.clone());
    let mut world = World::new(builder.preopened_dir(scratch.inside(), "/data", Access::ReadOnly).unwrap());
    let end = MEMORY as u32;
    let fd = world.open("hello", 0, READ).unwrap();
    for (at, len) in [(end - 1, 2), (end, 1), (u32::MAX, 1), (u32::MAX, 2), (u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 0)] {
        iovec(&mut world, 0, 300, 1);
        iovec(&mut world, 1, at, len);
        world.run(|ctx, guest| {
            assert_eq!(fd_read(ctx, guest, fd, 128, 2, 64), Err(Errno::Fault), "{at} {len}");
            assert_eq!(fd_pread(ctx, guest, fd, 128, 2, 0, 64), Err(Errno::Fault), "{at} {len}");
            assert_eq!(fd_write(ctx, guest, 1, 128, 2, 64), Err(Errno::Fault), "{at} {len}");
        });
    }
    // Nothing was read or written although the first buffer was a good one.
    assert_eq!((world.memory[300], out.contents()), (0, vec![]));
    iovec(&mut world, 0, 300, 5);
    iovec(&mut world, 1, 302, 5);
    iovec(&mut world, 2, end, 0);
    world.run(|ctx, guest| fd_read(ctx, guest, fd, 128, 3, 64)).unwrap();
    assert_eq!((world.u32(64), &world.memory[300..307]), (10, &b"he, wor"[..]));
    world.run(|ctx, guest| fd_write(ctx, guest, 1, 128, 3, 64)).unwrap();
    assert_eq!(out.contents(), b"he, w, wor");
    // A read over its own list of buffers and the place of its result.
    iovec(&mut world, 0, 128, 12);
    world.run(|ctx, guest| {
        fd_seek(ctx, guest, fd, 0, 0, 512).unwrap();
        fd_read(ctx, guest, fd, 128, 1, 130).unwrap();
    });
    assert_eq!((&world.memory[128..130], world.u32(130), &world.memory[134..140]), (&b"he"[..], 12, &b" world"[..]));
}

#[test]
fn odd_paths_stay_inside() {
    let scratch = Scratch::new();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let long = "x".repeat(300);
    let longer = "sub/../".repeat(5000) + "hello";
    for (path, errno) in [
        ("", Errno::NoEnt),
        ("hello/", Errno::NotDir),
        ("hello/x", Errno::NotDir),
        (&long, Errno::NameTooLong),
        (&longer, Errno::NameTooLong),
        ("sub/../../inside/hello", Errno::Perm),
        ("./../secret", Errno::Perm),
        ("//", Errno::Perm),
    ] {
        assert_eq!(world.open(path, 0, READ), Err(errno), "{} bytes: {path:.30}", path.len());
    }
    // A directory opened beneath another one is a root of its own.
    let sub = world.open("sub", DIRECTORY, EVERYTHING).unwrap();
    let (at, len) = world.put(1024, "../hello");
    assert_eq!(world.run(|ctx, guest| path_open(ctx, guest, sub, 1, at, len, 0, READ, 0, 0, 64)), Err(Errno::Perm));
    // Links the guest plants itself lead out for nobody.
    for (link, target, errno) in [("up", "../secret", Errno::Perm), ("loop", "loop", Errno::Loop)] {
        let (to, to_len) = world.put(1024, target);
        let (at, len) = world.put(1124, link);
        world.run(|ctx, guest| path_symlink(ctx, guest, to, to_len, 3, at, len)).unwrap();
        assert_eq!(world.open(link, 0, READ), Err(errno), "{link}");
        assert_eq!(world.open(link, CREAT | TRUNC, READ | WRITE), Err(errno), "{link}");
        let looked = world.run(|ctx, guest| path_filestat_get(ctx, guest, 3, 1, at, len, 512));
        assert_eq!(looked, Err(errno), "{link}");
        let touched = world.run(|ctx, guest| path_filestat_set_times(ctx, guest, 3, 1, at, len, 0, 0, 8));
        assert_eq!(touched, Err(errno), "{link}");
    }
    let (to, to_len) = world.put(1024, "/etc/passwd");
    let (at, len) = world.put(1124, "absolute");
    assert_eq!(world.run(|ctx, guest| path_symlink(ctx, guest, to, to_len, 3, at, len)), Err(Errno::Perm));
    assert_eq!(fs::read(scratch.0.join("secret")).unwrap(), b"not yours");
}

#[test]
fn setting_the_times_of_a_pipe_does_not_wait() {
    let scratch = Scratch::new();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, scratch.inside().join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let (at, len) = world.put(1024, "pipe");
    world.run(|ctx, guest| path_filestat_set_times(ctx, guest, 3, 1, at, len, 0, 5_000_000_007, 4)).unwrap();
    world.run(|ctx, guest| path_filestat_get(ctx, guest, 3, 1, at, len, 512)).unwrap();
    assert_eq!(world.u64(512 + 48), 5_000_000_007);
}

/// A subscription to a clock at 1024 + 48 * `index`.
fn subscribe(world: &mut World, index: usize, user: u8, timeout: u64, flags: u8) {
    let record = &mut world.memory[1024 + 48 * index..][..48];
    record.fill(0);
    (record[0], record[16], record[40]) = (user, 1, flags);
    record[24..32].copy_from_slice(&timeout.to_le_bytes());
}

#[test]
fn polls_end_with_the_first_event() {
    let mut world = World::new(WasiCtxBuilder::new());
    assert_eq!(world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 2048, 0, 64)), Err(Errno::Inval));
    assert_eq!(world.run(|ctx, guest| poll_oneoff(ctx, guest, 0, 0, u32::MAX / 48, 64)), Err(Errno::Inval));
    // Six centuries, at once, and a time that has passed; the events lie where the subscriptions were.
    subscribe(&mut world, 0, 1, u64::MAX, 0);
    subscribe(&mut world, 1, 2, 0, 0);
    subscribe(&mut world, 2, 3, 1, 1);
    world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 1024, 3, 64)).unwrap();
    assert_eq!((world.u32(64), world.u64(1024), world.u64(1024 + 32)), (2, 2, 3));
    subscribe(&mut world, 0, 1, 0, 0);
    world.memory[1024 + 8] = 9;
    assert_eq!(world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 2048, 1, 64)), Err(Errno::Inval));
    world.memory[1024 + 8] = 0;
    world.memory[1024 + 16] = 9;
    assert_eq!(world.run(|ctx, guest| poll_oneoff(ctx, guest, 1024, 2048, 1, 64)), Err(Errno::Inval), "no such clock");
    let end = MEMORY as u32;
    for (subscriptions, events, happened) in [(end - 47, 0, 0), (0, end - 31, 0), (0, 0, end - 3)] {
        let refused = world.run(|ctx, guest| poll_oneoff(ctx, guest, subscriptions, events, 1, happened));
        assert_eq!(refused, Err(Errno::Fault));
    }
}

#[test]
fn random_bytes_fill_what_they_are_given() {
    let mut world = World::new(WasiCtxBuilder::new());
    let end = MEMORY as u32;
    for (at, len) in [(0, u32::MAX), (1, end), (end, 1), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
        assert_eq!(world.run(|ctx, guest| random_get(ctx, guest, at, len)), Err(Errno::Fault));
    }
    assert!(world.memory.iter().all(|&byte| byte == 0), "a refused call writes nothing");
    world.run(|ctx, guest| random_get(ctx, guest, end, 0)).unwrap();
    // More than the system gives at once.
    world.run(|ctx, guest| random_get(ctx, guest, 0, end)).unwrap();
    assert!(world.memory.chunks(256).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
}

#[test]
fn clocks_take_any_precision() {
    let mut world = World::new(WasiCtxBuilder::new());
    world.run(|ctx, guest| {
        for precision in [0, 1, u64::MAX] {
            clock_time_get(ctx, guest, 1, precision, 0).unwrap();
        }
        assert_eq!(clock_res_get(ctx, guest, u32::MAX, 0), Err(Errno::Inval));
        assert_eq!(clock_res_get(ctx, guest, 0, MEMORY as u32 - 7), Err(Errno::Fault));
    });
}

#[test]
fn strings_with_nul_are_never_granted() {
    assert!(matches!(WasiCtxBuilder::new().env("k", "a\0b"), Err(ConfigError::Nul { .. })));
    assert!(matches!(WasiCtxBuilder::new().env("k\0", "v"), Err(ConfigError::Nul { .. })));
    assert!(matches!(WasiCtxBuilder::new().preopened_dir(".", "/\0", Access::ReadOnly), Err(ConfigError::Nul { .. })));
}

/// Numbers that guests get wrong.
const ODD: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    64,
    1024,
    1124,
    MEMORY as u64 - 1,
    MEMORY as u64,
    i32::MAX as u64,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    u64::MAX,
];

/// Every function but those that wait or allocate, with every kind of nonsense.
#[test]
fn no_arguments_cause_a_panic_or_lead_out() {
    let scratch = Scratch::new();
    let mut seed = 0x5eed_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        ODD[seed as usize % ODD.len()]
    };
    let mut world = World::with_dir(&scratch.inside(), Access::ReadWrite);
    let (mut succeeded, mut refused) = (0, 0);
    for round in 0..40_000 {
        if round % 100 == 0 {
            // Paths where pointers point, and descriptors where descriptors are.
            world = World::with_dir(&scratch.inside(), Access::ReadWrite);
            for (at, path) in [(1024, "hello"), (64, "sub/../../secret"), (8, "../secret"), (1124, "/etc/passwd")] {
                world.put(at, path);
            }
            for path in ["hello", "sub"] {
                let _ = world.open(path, if path == "sub" { DIRECTORY } else { CREAT }, EVERYTHING);
            }
        }
        let [a, b, c, d, e, f, g, h] = [(); 8].map(|()| next() as u32);
        let [x, y] = [(); 2].map(|()| next());
        let result = world.run(|ctx, m| match round % 37 {
            0 => args_get(ctx, m, a, b),
            1 => args_sizes_get(ctx, m, a, b),
            2 => environ_get(ctx, m, a, b),
            3 => environ_sizes_get(ctx, m, a, b),
            4 => clock_res_get(ctx, m, a, b),
            5 => clock_time_get(ctx, m, a, x, b),
            6 => fd_advise(ctx, m, a, x, y, b),
            7 => fd_close(ctx, m, a),
            8 => fd_datasync(ctx, m, a),
            9 => fd_fdstat_get(ctx, m, a, b),
            10 => fd_fdstat_set_flags(ctx, m, a, b),
            11 => fd_fdstat_set_rights(ctx, m, a, x, y),
            12 => fd_filestat_get(ctx, m, a, b),
            13 => fd_filestat_set_size(ctx, m, a, x),
            14 => fd_filestat_set_times(ctx, m, a, x, y, b),
            15 => fd_pread(ctx, m, a, b, c, x, d),
            16 => fd_prestat_get(ctx, m, a, b),
            17 => fd_prestat_dir_name(ctx, m, a, b, c),
            18 => fd_pwrite(ctx, m, a, b, c, x, d),
            19 => fd_read(ctx, m, a, b, c, d),
            20 => fd_readdir(ctx, m, a, b, c, x, d),
            21 => fd_renumber(ctx, m, a, b),
            22 => fd_seek(ctx, m, a, x as i64, b, c),
            23 => fd_sync(ctx, m, a),
            24 => fd_tell(ctx, m, a, b),
            25 => fd_write(ctx, m, a, b, c, d),
            26 => path_create_directory(ctx, m, a, b, c),
            27 => path_filestat_get(ctx, m, a, b, c, d, e),
            28 => path_filestat_set_times(ctx, m, a, b, c, d, x, y, e),
            29 => path_link(ctx, m, a, b, c, d, e, f, g),
            30 => path_open(ctx, m, a, b, c, d, e, x, y, f, g),
            31 => path_readlink(ctx, m, a, b, c, d, e, f),
            32 => path_remove_directory(ctx, m, a, b, c),
            33 => path_rename(ctx, m, a, b, c, d, e, f),
            34 => path_symlink(ctx, m, a, b, c, d, e),
            35 => path_unlink_file(ctx, m, a, b, c),
            _ => proc_raise(ctx, m, h).or_else(|_| sched_yield(ctx, m)),
        });
        *if result.is_ok() { &mut succeeded } else { &mut refused } += 1;
    }
    assert!(succeeded > 1000 && refused > 1000, "{succeeded} calls succeeded, {refused} were refused");
    assert_eq!(fs::read(scratch.0.join("secret")).unwrap(), b"not yours");
    let mut left: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["inside", "secret"]);
}
