//! The object loader: what LLVM emits runs, everything else is refused, and nothing of either stays behind.
#![cfg(feature = "llvm")]

mod malformed;

use std::{collections::BTreeMap, fs, process::Command, sync::Arc};

use tierup_backends::{
    CodeMemory,
    object::{LoadError, LoadedObject, RelocationKind, load},
};

/// `sample.c`, compiled as its first lines say.
pub(crate) const SAMPLE: &[u8] = include_bytes!("sample.o");

unsafe extern "C" {
    safe fn fmod(x: f64, y: f64) -> f64;
}

extern "C" fn runtime_helper(x: u64) -> u64 {
    x * 2 + 1
}

fn resolve(name: &str) -> Option<*const u8> {
    match name {
        "memcpy" => Some(libc::memcpy as *const () as *const u8),
        "fmod" => Some(fmod as *const () as *const u8),
        "runtime_helper" => Some(runtime_helper as *const () as *const u8),
        _ => None,
    }
}

fn memory() -> Arc<CodeMemory> {
    CodeMemory::reserve(1 << 20).unwrap()
}

fn address(object: &LoadedObject, name: &str) -> *const () {
    object.function(name).unwrap().start as *const ()
}

/// Runs everything in the sample.
fn run(object: &LoadedObject) {
    // SAFETY: the functions have these signatures in `sample.c`; the object lives until the end of this function.
    unsafe {
        let copy_and_add: extern "C" fn(*mut u64, u64) -> u64 = std::mem::transmute(address(object, "copy_and_add"));
        let wrap: extern "C" fn(f64) -> f64 = std::mem::transmute(address(object, "wrap"));
        let dispatch: extern "C" fn(u64, u64) -> u64 = std::mem::transmute(address(object, "dispatch"));
        let address_of_helper: extern "C" fn() -> usize = std::mem::transmute(address(object, "address_of_helper"));
        let through_pointer: extern "C" fn(u64, u64, u64) -> u64 = std::mem::transmute(address(object, "through_pointer"));

        let mut copied = [0; 8];
        assert_eq!(copy_and_add(copied.as_mut_ptr(), 8), 31_415_926);
        assert_eq!(wrap(400.0), 140.5);
        let cases: Vec<u64> = (0..7).map(|op| dispatch(op, 10)).collect();
        assert_eq!(cases, [22, 69, 139, 1, (10 - 11u64 as i64) as u64, 43, 0]);
        assert_eq!(address_of_helper(), runtime_helper as *const () as usize);
        assert_eq!((through_pointer(0, 1, 10), through_pointer(1, 1, 10)), (69, 11));
    }
}

#[test]
fn far_calls_constants_and_jump_tables_run() {
    let memory = memory();
    let object = load(SAMPLE, &memory, &resolve).unwrap();
    let distance = address(&object, "dispatch").addr().abs_diff(runtime_helper as *const () as usize);
    assert!(distance > 2 << 30, "only {distance} bytes apart: the test shows nothing");
    run(&object);
    let seen: BTreeMap<_, _> = [
        (RelocationKind::Absolute64, 2),
        (RelocationKind::Relative32, 12),
        (RelocationKind::Call32, 9),
        (RelocationKind::Slot32, 1),
    ]
    .into();
    assert_eq!(*object.relocations(), seen);
    assert!(object.largest_frame().is_some_and(|bytes| (8..200).contains(&bytes)), "{:?}", object.largest_frame());
    assert_eq!(memory.used_bytes(), 4096);
    drop(object);
    assert_eq!(memory.used_bytes(), 0);
}

/// The checked-in object is what the documented command makes, or at least behaves the same.
#[test]
fn the_sample_compiled_now_runs() {
    let output = std::env::temp_dir().join(format!("tierup-sample-{}.o", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/object/sample.c");
    for optimization in ["-O1", "-O2", "-O3"] {
        let clang = Command::new("clang-19")
            .args(["-c", optimization, "-fPIC", "-fno-omit-frame-pointer", "-fstack-size-section", "-mcmodel=small"])
            .args(["--target=x86_64-linux-gnu", source, "-o"])
            .arg(&output)
            .status();
        match clang {
            Ok(status) => assert!(status.success()),
            Err(_) => return println!("skipped: clang-19 not found"),
        }
        let object = load(&fs::read(&output).unwrap(), &memory(), &resolve).unwrap();
        run(&object);
    }
    fs::remove_file(output).unwrap();
}

#[test]
fn an_unknown_symbol_is_named() {
    let memory = memory();
    let error = load(SAMPLE, &memory, &|name| resolve(name).filter(|_| name != "fmod")).unwrap_err();
    assert!(matches!(&error, LoadError::Unresolved(name) if name == "fmod"), "{error}");
    assert_eq!(memory.used_bytes(), 0);
}

#[test]
fn an_exhausted_arena_is_not_a_fault_of_the_object() {
    let memory = CodeMemory::reserve(4096).unwrap();
    let first = load(SAMPLE, &memory, &resolve).unwrap();
    assert!(matches!(load(SAMPLE, &memory, &resolve), Err(LoadError::OutOfCodeMemory(_))));
    drop(first);
    run(&load(SAMPLE, &memory, &resolve).unwrap());
}

/// Ten times more loads than stay alive: pages and mappings do not grow with the number of loads.
#[test]
fn reloading_leaves_nothing_behind() {
    let memory = CodeMemory::reserve(4 << 20).unwrap();
    let mut live: Vec<_> = (0..50).map(|_| load(SAMPLE, &memory, &resolve).unwrap()).collect();
    let (used, maps) = (memory.used_bytes(), mappings(&live));
    for turn in 0..500 {
        let at = turn * 7 % live.len();
        drop(live.swap_remove(at));
        live.push(load(SAMPLE, &memory, &resolve).unwrap());
        run(live.last().unwrap());
    }
    assert_eq!(memory.used_bytes(), used);
    assert!(mappings(&live) <= maps + maps / 10 + 1, "{} mappings, {maps} before", mappings(&live));
}

/// Mappings of this process that hold one of the objects.
fn mappings(objects: &[LoadedObject]) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().map(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()
    });
    ranges.filter(|range| objects.iter().any(|object| range.contains(&object.functions()[0].start))).count()
}
