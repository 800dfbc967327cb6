//! The ABI's test, one body for both compilers: hand-written CLIF, a toy interpreter, every way in and out.

mod expansions;
mod world;

use std::any::Any;

use cranelift_codegen::ir::Function;
use tierup_backends::abi::{OsrOutcome, Resume, TrapCode};

pub(crate) use expansions::{expansions_agree, polls_and_countdowns};
use world::{Func, TRAP_LEAF, TRAP_MEMORY, TRAP_STACK, World};

/// What the body needs of a compiler.
pub(crate) trait SpikeCompiler {
    /// Compiles a function; failing is failing the test.
    fn compile(&self, func: &Function) -> SpikeCode;
}

/// Callable code, as long as `keep` lives.
pub(crate) struct SpikeCode {
    pub(crate) entry: *const u8,
    pub(crate) keep: Box<dyn Any>,
}

/// Declares a `#[test]` for every case, through a compiler.
macro_rules! every_case {
    ($compiler:expr) => {
        spike::every_case! { $compiler =>
            nested_calls_alternate_between_tiers,
            a_trap_leaves_three_native_frames,
            a_trap_crosses_an_interpreted_frame,
            a_loop_enters_and_exits_an_osr_variant,
            endless_native_recursion_traps,
            endless_mixed_recursion_traps,
            a_guard_fault_is_a_trap,
            a_guard_fault_traps_on_any_thread,
            three_results_travel_in_the_wide_buffer,
            many_arguments_cross_in_both_directions,
            expansions_agree,
            polls_and_countdowns,
        }
    };
    ($compiler:expr => $($case:ident),* $(,)?) => {
        $(#[test]
        fn $case() {
            spike::$case(&$compiler);
        })*
    };
}
pub(crate) use every_case;

fn trapped(world: &World, result: Result<Vec<u64>, TrapCode>, code: TrapCode) {
    assert_eq!(result, Err(code));
    let cells = world.cells();
    assert_eq!((cells.entry_sp, cells.exit_fp, cells.exit_pc), (0, 0, 0), "everything is as before the outermost entry");
}

pub(crate) fn nested_calls_alternate_between_tiers(compiler: &dyn SpikeCompiler) {
    let interpreted_down = |world: &World, args: &[u64]| match args[0] {
        0 => Ok(vec![0]),
        n => Ok(vec![1 + world.call(Func::Down, &[n - 1])?[0]]),
    };
    let world = World::new(compiler, &[Func::Down], &[(Func::InterpretedDown, interpreted_down)]);
    for n in [0, 1, 2, 101] {
        assert_eq!(world.call(Func::Down, &[n]), Ok(vec![n]));
        assert_eq!(world.call(Func::InterpretedDown, &[n]), Ok(vec![n]));
    }
    assert_eq!(world.cells().entry_sp, 0);
}

pub(crate) fn a_trap_leaves_three_native_frames(compiler: &dyn SpikeCompiler) {
    let world = World::new(compiler, &[Func::Outer, Func::Middle, Func::Leaf], &[]);
    assert_eq!(world.call(Func::Outer, &[5]), Ok(vec![115]));
    for _ in 0..3 {
        trapped(&world, world.call(Func::Outer, &[0]), TRAP_LEAF);
    }
    assert_eq!(*world.trap_frames.borrow(), [3, 3, 3]);
    assert_eq!(world.call(Func::Outer, &[5]), Ok(vec![115]));
}

pub(crate) fn a_trap_crosses_an_interpreted_frame(compiler: &dyn SpikeCompiler) {
    let middle = |world: &World, args: &[u64]| {
        let inner = world.call(Func::Leaf, args)?;
        Ok(vec![inner[0] + 10])
    };
    let world = World::new(compiler, &[Func::Outer, Func::Leaf], &[(Func::Middle, middle)]);
    assert_eq!(world.call(Func::Outer, &[5]), Ok(vec![115]));
    trapped(&world, world.call(Func::Outer, &[0]), TRAP_LEAF);
    assert_eq!(world.drops.get(), 2, "the interpreted frame returned, so it dropped what it had");
    assert_eq!(*world.trap_frames.borrow(), [1], "the hook runs where the trap was, and not again when it is passed on");
}

/// What interpreting `osr_sum` looks like: the loop, one back-edge at a time.
fn interpret_sum(frame: &mut [u64; 4], back_edges: u64) {
    for _ in 0..back_edges {
        if frame[0] < frame[2] {
            frame[1] += frame[0];
            frame[0] += 1;
        }
    }
}

pub(crate) fn a_loop_enters_and_exits_an_osr_variant(compiler: &dyn SpikeCompiler) {
    let world = World::new(compiler, &[Func::OsrSum], &[]);
    let mut frame = [0, 0, 1000, 600];
    interpret_sum(&mut frame, 300);
    let status = world.call(Func::OsrSum, &[frame.as_mut_ptr() as u64]).unwrap()[0];
    assert_eq!(OsrOutcome::decode(status), OsrOutcome::Exit(Resume::Site(42)));
    assert_eq!(frame[..2], [600, (0..600).sum()], "the exit wrote the frame back");
    interpret_sum(&mut frame, 50);
    let status = world.call(Func::OsrSum, &[frame.as_mut_ptr() as u64]).unwrap()[0];
    assert_eq!(OsrOutcome::decode(status), OsrOutcome::Done);
    assert_eq!(frame[0], (0..1000).sum());
}

pub(crate) fn endless_native_recursion_traps(compiler: &dyn SpikeCompiler) {
    let world = World::new(compiler, &[Func::Recurse], &[]);
    for _ in 0..2 {
        trapped(&world, world.call(Func::Recurse, &[0]), TRAP_STACK);
    }
    assert!(world.trap_frames.borrow().iter().all(|&frames| frames > 1000), "{:?}", world.trap_frames);
}

pub(crate) fn endless_mixed_recursion_traps(compiler: &dyn SpikeCompiler) {
    let mut world = World::new(compiler, &[Func::Recurse], &[]);
    world.route_to_bridge(Func::Recurse);
    trapped(&world, world.call(Func::Recurse, &[0]), TRAP_STACK);
}

pub(crate) fn a_guard_fault_is_a_trap(compiler: &dyn SpikeCompiler) {
    let world = World::new(compiler, &[Func::Peek, Func::PeekCaller], &[]);
    // SAFETY: the first 64 KiB are accessible.
    unsafe { world.memory.base().add(0xfff0).cast::<u32>().write(0xdead_beef) };
    assert_eq!(world.call(Func::Peek, &[0xfff0]), Ok(vec![0xdead_beef]));
    for address in [0x10000, 0xfffd, 0xffff_ffff] {
        trapped(&world, world.call(Func::Peek, &[address]), TRAP_MEMORY);
        trapped(&world, world.call(Func::PeekCaller, &[address]), TRAP_MEMORY);
    }
    assert_eq!(*world.trap_frames.borrow(), [1, 2, 1, 2, 1, 2]);
    assert_eq!(world.call(Func::PeekCaller, &[0xfff0]), Ok(vec![0xdead_beef]));
}

pub(crate) fn a_guard_fault_traps_on_any_thread(compiler: &dyn SpikeCompiler) {
    extern "C" fn raw(world: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the spawning test waits, so the world is this thread's alone.
        let world = unsafe { &*world.cast::<World>() };
        let ok = world.call(Func::Peek, &[0x10000]) == Err(TRAP_MEMORY);
        usize::from(ok) as *mut libc::c_void
    }
    let world = World::new(compiler, &[Func::Peek], &[]);
    let argument: *const World = &*world;
    let mut thread = 0;
    let mut returned = std::ptr::null_mut();
    // SAFETY: a pthread with default attributes and an argument that outlives it.
    let made = unsafe { libc::pthread_create(&mut thread, std::ptr::null(), raw, argument.cast_mut().cast()) };
    assert_eq!(made, 0);
    // SAFETY: made above, joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, &mut returned) }, 0);
    assert_eq!(returned as usize, 1);
    trapped(&world, world.call(Func::Peek, &[0x10000]), TRAP_MEMORY);
}

pub(crate) fn three_results_travel_in_the_wide_buffer(compiler: &dyn SpikeCompiler) {
    let wide = |_: &World, args: &[u64]| Ok(vec![args[0] * 2, args[1], args[2]]);
    let native = World::new(compiler, &[Func::Wide, Func::WideCaller], &[]);
    let float = u64::from(1.5f32.to_bits());
    assert_eq!(native.call(Func::Wide, &[30, 12, float]), Ok(vec![42, 18, float]));
    assert_eq!(native.call(Func::WideCaller, &[Func::Wide as u64]), Ok(vec![42_018]));
    let mixed = World::new(compiler, &[Func::WideCaller], &[(Func::Wide, wide)]);
    assert_eq!(mixed.call(Func::WideCaller, &[Func::Wide as u64]), Ok(vec![60_012]));
}

/// 1..=8 as integers, then ten floats.
fn many_args() -> Vec<u64> {
    let single = |x: f32| u64::from(x.to_bits());
    let double = |x: f64| x.to_bits();
    let ints = 1..=8;
    let floats = [
        double(1.0),
        double(0.0),
        single(1.0),
        double(1.0),
        double(0.0),
        double(0.0),
        single(1.0),
        double(0.0),
        double(1.0),
        single(1.0),
    ];
    ints.chain(floats).collect()
}

/// 12345678 in decimal digits plus 0b1011001011 in binary ones.
const MANY: f64 = 12_345_678.0 + 715.0;

pub(crate) fn many_arguments_cross_in_both_directions(compiler: &dyn SpikeCompiler) {
    let many = |_: &World, args: &[u64]| {
        assert_eq!(args, many_args(), "every argument arrived, canonical");
        Ok(vec![MANY.to_bits()])
    };
    let native = World::new(compiler, &[Func::Many, Func::Forward], &[]);
    assert_eq!(native.call(Func::Many, &many_args()), Ok(vec![MANY.to_bits()]));
    assert_eq!(native.call(Func::Forward, &many_args()), Ok(vec![MANY.to_bits()]));
    let mixed = World::new(compiler, &[Func::Forward], &[(Func::Many, many)]);
    assert_eq!(mixed.call(Func::Forward, &many_args()), Ok(vec![MANY.to_bits()]));
}
