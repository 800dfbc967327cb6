//! A toy embedder: one vmctx, numbered functions that are native or interpreted, a bridge, a trap hook.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use tierup_backends::{
    GuardedRegion,
    abi::{self, AbiType, ArgPlan, CountSlot, RED_ZONE, Regs, Segment, ThreadCells, TrapCode, WIDE_SLOTS},
};
use tierup_broker::{CodeCell, Face};

use super::SpikeCompiler;

/// Function numbers, which are also their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Func {
    Down,
    InterpretedDown,
    Outer,
    Middle,
    Leaf,
    Recurse,
    Peek,
    PeekCaller,
    OsrSum,
    Wide,
    WideCaller,
    Forward,
    Many,
}

const COUNT: usize = 13;
const ALL: [Func; COUNT] = [
    Func::Down,
    Func::InterpretedDown,
    Func::Outer,
    Func::Middle,
    Func::Leaf,
    Func::Recurse,
    Func::Peek,
    Func::PeekCaller,
    Func::OsrSum,
    Func::Wide,
    Func::WideCaller,
    Func::Forward,
    Func::Many,
];

/// The test's trap codes.
pub(crate) const TRAP_MEMORY: TrapCode = TrapCode(2);
pub(crate) const TRAP_LEAF: TrapCode = TrapCode(7);
pub(crate) const TRAP_STACK: TrapCode = TrapCode(9);

/// Native stack one outermost call may use.
const STACK: usize = 256 << 10;

impl Func {
    fn name(self) -> &'static str {
        match self {
            Func::Down => "down",
            Func::InterpretedDown => "interpreted_down",
            Func::Outer => "outer",
            Func::Middle => "middle",
            Func::Leaf => "leaf",
            Func::Recurse => "recurse",
            Func::Peek => "peek",
            Func::PeekCaller => "peek_caller",
            Func::OsrSum => "osr_sum",
            Func::Wide => "wide",
            Func::WideCaller => "wide_caller",
            Func::Forward => "forward",
            Func::Many => "many",
        }
    }

    fn plan(self) -> ArgPlan {
        use AbiType::{F32, F64, I32, I64};
        match self {
            Func::Peek => ArgPlan::new(&[I32], Some(I32)),
            Func::Wide => ArgPlan::new(&[I64, I64, F32], None),
            Func::Forward | Func::Many => {
                let ints = [I64, I32, I64, I32, I64, I32, I64, I32];
                let floats = [F64, F64, F32, F64, F64, F64, F32, F64, F64, F32];
                ArgPlan::new(&[&ints[..], &floats].concat(), Some(F64))
            }
            _ => ArgPlan::new(&[I64], Some(I64)),
        }
    }

    /// Results that travel through the wide buffer.
    fn wide_results(self) -> usize {
        if self == Func::Wide { 3 } else { 0 }
    }
}

/// The record native code sees. Offsets are spelled out in `functions.clif`.
#[repr(C)]
struct Vmctx {
    cells: *mut ThreadCells,
    code_cells: [*const CodeCell; 15],
    memory_base: *mut u8,
    memory_len: u64,
}

/// An interpreted function.
pub(crate) type Interpreted = fn(&World, &[u64]) -> Result<Vec<u64>, TrapCode>;

/// One guest thread. Boxed: native code holds its address.
pub(crate) struct World {
    vmctx: Vmctx,
    cells: *mut ThreadCells,
    code_cells: [CodeCell; COUNT],
    #[expect(clippy::vec_box, reason = "code cells point at the faces")]
    faces: Vec<Box<Face>>,
    native: [Option<*const u8>; COUNT],
    interpreted: [Option<Interpreted>; COUNT],
    _code: Vec<Box<dyn Any>>,
    _wide: Vec<u64>,
    _counts: Vec<CountSlot>,
    pub(crate) memory: GuardedRegion,
    /// Native frames of the innermost segment at each trap.
    pub(crate) trap_frames: RefCell<Vec<usize>>,
    /// Interpreted activations that were dropped.
    pub(crate) drops: Cell<u32>,
}

impl World {
    /// A world in which the given functions are native, compiled by `compiler`, and the others interpreted.
    pub(crate) fn new(compiler: &dyn SpikeCompiler, native: &[Func], interpreted: &[(Func, Interpreted)]) -> Box<Self> {
        let parsed = cranelift_reader::parse_functions(include_str!("functions.clif")).unwrap();
        let mut code = Vec::new();
        let mut entries = [None; COUNT];
        for &func in native {
            let clif = parsed.iter().find(|clif| clif.name.to_string() == format!("%{}", func.name())).unwrap();
            let compiled = compiler.compile(clif);
            entries[func as usize] = Some(compiled.entry);
            code.push(compiled.keep);
        }
        let mut wide = vec![0u64; WIDE_SLOTS];
        let mut counts = vec![CountSlot::default(); 16];
        let mut cells = ThreadCells::new(counts.as_mut_ptr(), wide.as_mut_ptr());
        cells.bridge = bridge;
        cells.on_trap = on_trap;
        let cells = Box::into_raw(Box::new(cells));
        let memory = GuardedRegion::reserve((8 << 30) + (64 << 10), TRAP_MEMORY).unwrap();
        memory.make_accessible(0, 64 << 10).unwrap();
        let mut world = Box::new(World {
            vmctx: Vmctx { cells, code_cells: [ptr::null(); 15], memory_base: memory.base(), memory_len: 64 << 10 },
            cells,
            code_cells: std::array::from_fn(|_| AtomicPtr::default()),
            faces: Vec::new(),
            native: entries,
            interpreted: [None; COUNT],
            _code: code,
            _wide: wide,
            _counts: counts,
            memory,
            trap_frames: RefCell::default(),
            drops: Cell::new(0),
        });
        for &(func, run) in interpreted {
            world.interpreted[func as usize] = Some(run);
        }
        for func in ALL {
            world.route(func, entries[func as usize].unwrap_or(abi::bridge_stub()));
        }
        let address: *mut World = &mut *world;
        // SAFETY: the cells were just made.
        unsafe { (*cells).host = address.cast() };
        world
    }

    /// Makes native callers of `func` go to `entry`.
    fn route(&mut self, func: Func, entry: *const u8) {
        let face = Box::new(Face::new(entry));
        self.code_cells[func as usize].store(ptr::from_ref(&*face).cast_mut(), Ordering::Release);
        self.faces.push(face);
        self.vmctx.code_cells[func as usize] = &self.code_cells[func as usize];
    }

    /// Makes native callers of `func` go through the bridge although it has native code.
    pub(crate) fn route_to_bridge(&mut self, func: Func) {
        self.route(func, abi::bridge_stub());
    }

    /// The driver: runs `func` wherever it lives.
    pub(crate) fn call(&self, func: Func, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        match self.native[func as usize] {
            Some(code) => self.enter(func, code, args),
            None => self.interpret(func, args),
        }
    }

    pub(crate) fn call_native(&self, func: Func, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        self.enter(func, self.native[func as usize].expect("compiled"), args)
    }

    fn interpret(&self, func: Func, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        let _activation = Activation(self);
        self.interpreted[func as usize].expect("interpreted")(self, args)
    }

    fn enter(&self, func: Func, code: *const u8, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        let plan = func.plan();
        let mut stack = vec![0; plan.stack_slots()];
        let mut regs = Regs::default();
        let vmctx: *const Vmctx = &self.vmctx;
        regs.gpr[0] = vmctx as u64;
        regs.gpr[1] = func as u64;
        plan.write(&mut regs, &mut stack, args);
        let position = ptr::from_ref(&regs) as usize;
        let cells = self.cells;
        // SAFETY: the cells live as long as the world, on this thread.
        let outermost = unsafe { (*cells).entry_sp } == 0;
        if outermost {
            // SAFETY: as above.
            unsafe { (*cells).limit_stack(position - STACK) };
        }
        // SAFETY: as above.
        if position < unsafe { (*cells).stack_floor() } {
            return Err(TRAP_STACK);
        }
        // SAFETY: `code` is the compiled function of this plan's signature, kept by the world; tests run with 2 MiB of stack and
        // the limit leaves more than a red zone of it.
        const { assert!(STACK + RED_ZONE < 1 << 20) };
        // SAFETY: as said.
        unsafe { abi::enter(cells, code, &mut regs) }?;
        match func.wide_results() {
            0 => Ok(vec![plan.read_result(&regs)]),
            // SAFETY: the callee just stored them, and the buffer has WIDE_SLOTS slots.
            count => Ok((0..count).map(|i| unsafe { (*cells).wide.add(i).read() }).collect()),
        }
    }

    /// The cells, for checks.
    pub(crate) fn cells(&self) -> &ThreadCells {
        // SAFETY: alive as long as the world; no native code runs while a test looks.
        unsafe { &*self.cells }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: made by Box::into_raw in `new`.
        drop(unsafe { Box::from_raw(self.cells) });
    }
}

/// An interpreter frame with something to drop.
struct Activation<'a>(&'a World);

impl Drop for Activation<'_> {
    fn drop(&mut self) {
        self.0.drops.set(self.0.drops.get() + 1);
    }
}

/// Native code called a function that is interpreted.
unsafe extern "C" fn bridge(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32 {
    // SAFETY: vmctx is the world's, alive during the call.
    let cells = unsafe { (*vmctx.cast::<Vmctx>()).cells };
    // SAFETY: `host` is the world, set in `World::new`; only shared references to it exist while guests run.
    let world = unsafe { &*(*cells).host.cast::<World>() };
    let func = ALL[callee as usize];
    let plan = func.plan();
    let mut args = vec![0; plan.params().len()];
    // SAFETY: the stub's registers, called with the function's signature.
    unsafe { plan.read(&*regs, &mut args) };
    let result = match world.interpreted[func as usize] {
        Some(_) => world.interpret(func, &args),
        None => world.call_native(func, &args),
    };
    match result {
        Ok(results) if func.wide_results() > 0 => {
            for (i, &slot) in results.iter().enumerate() {
                // SAFETY: the buffer has WIDE_SLOTS slots.
                unsafe { (*cells).wide.add(i).write(slot) };
            }
            0
        }
        Ok(results) => {
            // SAFETY: the stub's registers.
            plan.write_result(unsafe { &mut *regs }, results[0]);
            0
        }
        Err(trap) => {
            // SAFETY: this thread's cells.
            unsafe { (*cells).trap = trap.0 };
            1
        }
    }
}

unsafe extern "C" fn on_trap(cells: *mut ThreadCells) {
    // SAFETY: as in `bridge`.
    let world = unsafe { &*(*cells).host.cast::<World>() };
    // SAFETY: the trap path just recorded the exit.
    let segment = unsafe { Segment::innermost(cells) }.expect("traps come from native code");
    // SAFETY: the frames are on this thread's stack until the hook returns.
    let frames = unsafe { segment.frames() }.count();
    world.trap_frames.borrow_mut().push(frames);
}
