//! The interpreter, and how calls move between it and native code: in at calls and loops, out at calls and exits.

use std::{cell::Cell, mem::offset_of, sync::Arc};

use tierup::{
    Bead, BeadSpec, Broker, CodeMemory, CraneliftBackend, DEFAULT_CODE_BYTES, Event, InterpThread, Mode, NativeCode, OsrEntry,
    ThreadCells, Tiered, Transition,
    abi::{self, AbiType, ArgPlan, OsrOutcome, Regs, Resume, TrapCode},
    deopt::policy::{SuppressGuard, ThresholdThenDisable},
};

use super::code::{Frame, Function, Op, PARAMETERS, Pc, Program, REGISTERS};
use super::guard::Guard;
use super::lower::Lowering;
use super::native;
use super::value::{Heap, NONE, Value};

/// The machine stack is used up.
pub(crate) const STACK_OVERFLOW: TrapCode = TrapCode(1);
/// An operator was given operands it is not defined for.
pub(crate) const UNDEFINED: TrapCode = TrapCode(2);

/// About how many instructions one turn of a loop is: what it charges to the loop's budget.
const TURN: u32 = 5;

/// What a compiler needs to lower one function: the guest handle of its bead.
pub(crate) struct Guest {
    pub(crate) program: Arc<Program>,
    pub(crate) index: usize,
}

impl Guest {
    pub(crate) fn function(&self) -> &Function {
        &self.program.functions[self.index]
    }
}

/// Who is told, in words, of what happens to the code.
pub(crate) type Trace = Arc<dyn Fn(&str) + Send + Sync>;

/// How a program runs. The defaults are those of `Tierup` itself, and no trace.
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) compiler: Compiler,
    /// Compiled code assumes nothing.
    pub(crate) cautious: bool,
    pub(crate) mode: Mode,
    pub(crate) policy: Tiered,
    pub(crate) leave: Leave,
    pub(crate) trace: Option<Trace>,
}

/// Who makes the compiled tier, from the same lowering.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Nobody: everything is interpreted.
    None,
    #[default]
    Cranelift,
    #[cfg(feature = "llvm")]
    Llvm,
}

/// Whether code leaves where it need not: the best test of frame states there is.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    #[default]
    Never,
    /// At every so many operators.
    Every(u32),
    /// After fewer than 16 operators, as the seed has it.
    Random(u64),
}

/// A running program. Native code gets its address as `vmctx`, whose first word must be the thread's cells.
#[repr(C)]
pub(crate) struct Vm {
    pub(crate) cells: *mut ThreadCells,
    /// Operators that native code passes before it leaves, with [`Leave`].
    to_pass: Cell<i64>,
    leave: Cell<Leave>,
    pub(crate) heap: Heap,
    thread: InterpThread<Guest>,
    beads: Vec<Bead<Guest>>,
    pub(crate) broker: Broker<Guest>,
    program: Arc<Program>,
    pub(crate) plans: [ArgPlan; PARAMETERS + 1],
    /// Where code is, and so what its exits mean.
    memory: Arc<CodeMemory>,
    trace: Option<Trace>,
    /// How often code was left.
    exits: Cell<u64>,
}

/// Where in a [`Vm`] native code finds what it counts down.
pub(crate) const TO_PASS: i32 = offset_of!(Vm, to_pass) as i32;

/// Why no machine could be made.
pub(crate) type Unsupported = Box<dyn std::error::Error>;

impl Vm {
    pub(crate) fn new(program: Program, config: Config) -> Result<Self, Unsupported> {
        let program = Arc::new(program);
        let lowering =
            Lowering { speculates: !config.cautious, leaves: config.leave != Leave::Never, trace: config.trace.clone() };
        let memory = CodeMemory::reserve(DEFAULT_CODE_BYTES)?;
        let backend = native::helpers(CraneliftBackend::builder()).code_memory(Arc::clone(&memory));
        let mut builder = Broker::builder()
            .mode(config.mode)
            .policy(config.policy)
            .bridge(abi::bridge_stub())
            // An exit now and then is cheap. Four at one guard are a habit: code is made without it, from what was seen meanwhile.
            .deopt_policy(SuppressGuard::or(ThresholdThenDisable::default()))
            .describe(|guest: &Guest| guest.function().name.clone());
        if let Some(trace) = config.trace.clone() {
            builder = builder.on_event(Arc::new(move |event: &Event| trace(&in_words(event))));
        }
        builder = match config.compiler {
            Compiler::None => builder,
            Compiler::Cranelift => builder.compiler(backend.build(lowering)?),
            #[cfg(feature = "llvm")]
            Compiler::Llvm => builder.compiler(tierup::LlvmBackend::builder().beside(&backend).build(lowering)?),
        };
        let broker = builder.build()?;
        let beads = (0..program.functions.len())
            .map(|index| {
                let size = program.functions[index].code.len() as u32;
                broker.register(Guest { program: Arc::clone(&program), index }, BeadSpec { size })
            })
            .collect::<Result<Vec<_>, _>>()?;
        program.code_cells.set(beads.iter().map(|bead| bead.code_cell().addr()).collect()).expect("the program is new");
        let thread = broker.register_thread()?;
        let cells = thread.cells();
        // SAFETY: the cells are this thread's, and no native code runs yet.
        unsafe { (*cells).bridge = native::bridge };
        // SAFETY: as above.
        unsafe { (*cells).finish = native::finish };
        let plans = std::array::from_fn(|parameters| ArgPlan::new(&[AbiType::I64; PARAMETERS][..parameters], Some(AbiType::I64)));
        let vm = Vm {
            cells,
            to_pass: Cell::new(0),
            leave: Cell::new(config.leave),
            heap: program.heap(),
            thread,
            beads,
            broker,
            program,
            plans,
            memory,
            trace: config.trace,
            exits: Cell::new(0),
        };
        vm.aim();
        Ok(vm)
    }

    /// A call from outside: nothing native is on the stack before and after.
    ///
    /// # Errors
    ///
    /// [`STACK_OVERFLOW`], [`UNDEFINED`].
    ///
    /// # Panics
    ///
    /// If the program has no such function, of so many parameters.
    pub(crate) fn run(&mut self, name: &str, arguments: &[Value]) -> Result<Value, TrapCode> {
        let function = self.program.find(name).expect("a function of the program");
        assert_eq!(arguments.len(), self.parameters(function), "{name}");
        // SAFETY: the cells are this thread's.
        unsafe { (*self.cells).limit_stack(abi::stack_limit(512 << 10, abi::RED_ZONE)) };
        let result = self.call(function, arguments);
        self.thread.quiescent();
        result
    }

    pub(crate) fn parameters(&self, function: usize) -> usize {
        self.program.functions[function].parameters
    }

    /// How often code was left through exits.
    pub(crate) fn exits(&self) -> u64 {
        self.exits.get()
    }

    /// Calls a function in whichever tier it is.
    pub(crate) fn call(&self, function: usize, arguments: &[Value]) -> Result<Value, TrapCode> {
        if let Some(code) = self.thread.on_invoke(self.beads[function].as_ref()) {
            return self.call_native(code, function, arguments);
        }
        let mut frame = [0; REGISTERS];
        frame[..arguments.len()].copy_from_slice(arguments);
        self.interpret(function, &mut frame, 0)
    }

    /// The rest of a call, from `pc` on.
    pub(crate) fn interpret(&self, function: usize, frame: &mut Frame, mut pc: Pc) -> Result<Value, TrapCode> {
        self.check_stack()?;
        let code = &self.program.functions[function].code;
        loop {
            let instruction = &code[pc];
            pc += 1;
            match instruction.op {
                Op::Const { to, value } => frame[to] = value,
                Op::Copy { to, from } => frame[to] = frame[from],
                Op::Binary { op, to, a, b } => {
                    instruction.seen.note(frame[a], frame[b]);
                    frame[to] = self.heap.apply(op, frame[a], frame[b]);
                    if frame[to] == NONE {
                        return Err(UNDEFINED);
                    }
                }
                Op::Jump { go } => pc = go,
                Op::JumpUnless { a, go } if !self.heap.is_true(frame[a]) => pc = go,
                Op::JumpUnless { .. } => {}
                Op::Loop { site } => {
                    if let Some(variant) = self.thread.on_back_edge(self.beads[function].as_ref(), site, TURN) {
                        match self.go_on_native(variant, site, function, frame)? {
                            OsrOutcome::Done => return Ok(frame[0]),
                            OsrOutcome::Exit(Resume::Exit(exit)) => {
                                pc = self.left(variant.address().addr().get(), exit, function, frame);
                            }
                            OsrOutcome::Exit(Resume::Site(_)) => unreachable!("the lowering has no leave blocks"),
                        }
                    }
                }
                Op::Call { to, function, first } => {
                    frame[to] = self.call(function, &frame[first..first + self.parameters(function)])?;
                }
                Op::Return { a } => return Ok(frame[a]),
            }
        }
    }

    /// Interpreter → body.
    fn call_native(&self, code: NativeCode<'_>, function: usize, arguments: &[Value]) -> Result<Value, TrapCode> {
        let mut regs = self.regs(function);
        let plan = &self.plans[arguments.len()];
        plan.write(&mut regs, &mut [], arguments);
        // SAFETY: the code was borrowed from this thread and has the plan's signature; the first word of the vmctx is `cells`; `run`
        // set the stack limit.
        unsafe { abi::enter(self.cells, code.address().as_ptr(), &mut regs)? };
        Ok(plan.read_result(&regs))
    }

    /// Interpreter → variant: the frame goes in, and comes back with the result, unless the variant leaves through an exit.
    fn go_on_native(&self, variant: OsrEntry<'_>, site: u32, function: usize, frame: &mut Frame) -> Result<OsrOutcome, TrapCode> {
        let mut regs = self.regs(function);
        regs.gpr[2] = frame.as_mut_ptr().expose_provenance() as u64;
        regs.gpr[3] = site.into();
        // SAFETY: as above; the lowering's slots are the registers.
        unsafe { abi::enter(self.cells, variant.address().as_ptr(), &mut regs)? };
        Ok(OsrOutcome::decode(regs.ret_gpr))
    }

    fn regs(&self, function: usize) -> Regs {
        let mut regs = Regs::default();
        (regs.gpr[0], regs.gpr[1]) = (std::ptr::from_ref(self).expose_provenance() as u64, function as u64);
        regs
    }

    /// Native → interpreter, in the midst of a function: code of the unit that `at` lies in was left through its exit `number`. Fills
    /// the frame, and says where to go on in it.
    pub(crate) fn left(&self, at: usize, number: u32, function: usize, frame: &mut Frame) -> Pc {
        let table = self.memory.map().exits(at).expect("code that leaves has exits");
        let exit = table.exit(number).expect("it leaves through one of them");
        // SAFETY: the exit stored so many words in this thread's buffer, and nothing native ran since.
        let words = unsafe { std::slice::from_raw_parts((*self.cells).wide.cast_const(), exit.words()) };
        let state = exit.rebuild(words).next().expect("there is a frame at least");
        debug_assert_eq!(state.function(), function as u64, "the lowering inlines nothing");
        for (slot, value) in state.slots() {
            frame[slot as usize] = value;
        }
        let pc = state.pc() as Pc;
        self.exits.set(self.exits.get() + 1);
        let guard = Guard::of(exit.guard());
        if guard == Guard::Test {
            self.aim();
            return pc;
        }
        // Before the broker is told, which may compile at once: this is what it is to know.
        let Function { name, code, .. } = &self.program.functions[function];
        if let Op::Binary { op, a, b, .. } = code[pc].op {
            code[pc].seen.note(frame[a], frame[b]);
            if let Some(trace) = &self.trace {
                let [a, b] = [a, b].map(|operand| self.heap.text(frame[operand]));
                trace(&format!("{name}: exit at {pc}, {a} {} {b}: {}, {guard}", op.sign(), exit.reason()));
            }
        }
        if let Some(unit) = table.unit() {
            self.thread.on_exit(unit, exit.guard());
        }
        pc
    }

    /// Says how many operators native code passes before it leaves.
    fn aim(&self) {
        self.to_pass.set(match self.leave.get() {
            Leave::Never => return,
            Leave::Every(n) => i64::from(n) - 1,
            Leave::Random(seed) => {
                // Knuth's generator; its upper bits are the good ones.
                let next = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                self.leave.set(Leave::Random(next));
                (next >> 60).cast_signed()
            }
        });
    }

    /// Interpreted frames are on the machine stack, so they keep to the same limit as native ones.
    fn check_stack(&self) -> Result<(), TrapCode> {
        let here = (&raw const self).addr();
        // SAFETY: the cells are this thread's.
        if here < unsafe { (*self.cells).stack_floor() } { Err(STACK_OVERFLOW) } else { Ok(()) }
    }
}

fn in_words(event: &Event) -> String {
    let unit = event.site.map_or(String::new(), |site| format!(" from loop {site}"));
    let what = match &event.what {
        // The broker knows guards by number only.
        Transition::Deoptimized { guard, decision } => format!("given up because of \"{}\": {decision}", Guard::of(*guard)),
        what => what.to_string(),
    };
    format!("{}{unit}: {what}, {} -> {}", event.name, event.from, event.to)
}
