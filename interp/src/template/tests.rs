//! Each instruction, in each form, does by its template what it does by its handler: with the same slots, accumulators and memory it leaves the
//! same, traps at the same place, and goes on there.

#![cfg(not(debug_assertions))]

mod calls;

use std::cell::Cell;
use std::sync::atomic::AtomicU64;

use tierup::CountSlot;

use super::{MachineCode, emit};
use crate::exec::op::binary::BinaryOp;
use crate::exec::op::branch::{self, CompareOp};
use crate::exec::op::data::{self, Class, ReturnPlace, Written};
use crate::exec::op::memory::{LoadOp, Place, StoreOp, ValuePlace};
use crate::exec::op::unary::UnaryOp;
use crate::exec::{Cx, FINISHED, Form, Instruction, Kind, Op, State, Status, handler, start_state};
use crate::vmctx::{GLOBAL_CELLS, VmCtx};

const FORMS: [Form; 7] = [Form::SlotSlot, Form::SlotAcc, Form::AccSlot, Form::SlotImm, Form::AccImm, Form::ImmSlot, Form::ImmAcc];
const CLASSES: [Class; 3] = [Class::Int, Class::F32, Class::F64];
const PLACES: [Place; 3] = [Place::Slot, Place::Acc, Place::Absolute];
const VALUES: [ValuePlace; 5] = [ValuePlace::Slot, ValuePlace::Int, ValuePlace::F32, ValuePlace::F64, ValuePlace::Imm];

/// Slots of the frame; the first control slot is the sixth.
const SLOTS: usize = 24;
const CONTROL: u64 = 6;
const MEMORY: usize = 64;
const GLOBALS: usize = 4;

/// Every instruction that may have a template, with what is after its operand word.
fn instructions() -> Vec<(Instruction, After)> {
    let mut all = Vec::new();
    let mut add = |instructions: &[Instruction], after| all.extend(instructions.iter().map(|&one| (one, after)));
    let wide = |name: String, form: Form| {
        let is_immediate = matches!(form, Form::SlotImm | Form::AccImm | Form::ImmSlot | Form::ImmAcc);
        name.starts_with("F64") && is_immediate
    };
    for form in FORMS {
        for &op in BinaryOp::ALL {
            let after = After { wide: wide(format!("{op:?}"), form), ..After::default() };
            add(op.handlers(form).as_ref().map_or(&[], |pair| pair), after);
        }
        for &op in CompareOp::ALL {
            let after = After { wide: wide(format!("{op:?}"), form), ..After::default() };
            add(op.value(form).as_ref().map_or(&[], |pair| pair), after);
            if let Some([forward, back]) = op.branch(form) {
                add(&[forward], After { branch: Some(false), ..after });
                add(&[back], After { branch: Some(true), ..after });
            }
        }
    }
    for place in PLACES {
        LoadOp::ALL.iter().for_each(|op| add(&op.handlers(place), After::default()));
        for (&op, value) in StoreOp::ALL.iter().flat_map(|op| VALUES.map(|value| (op, value))) {
            let after = After { wide: value == ValuePlace::Imm, ..After::default() };
            add(op.handler(place, value).as_slice(), after);
        }
    }
    for accumulator in [false, true] {
        UnaryOp::ALL.iter().for_each(|op| add(&op.handlers(accumulator), After::default()));
        CLASSES.iter().for_each(|&class| add(&data::select(class, accumulator), After::default()));
    }
    add(&[data::copy(), data::copy_two(), data::narrow()], After::default());
    add(&[data::global_set_slot(Written::Defined)], After { global: true, ..After::default() });
    add(&[data::wide()], After { wide: true, ..After::default() });
    for count in [1, 8, 9, 16, 17] {
        add(&[data::clear(count)], After { count: Some(count), ..After::default() });
    }
    for class in CLASSES {
        add(&[data::keep(class)], After::default());
        let global = After { global: true, ..After::default() };
        add(&data::global_get(class, true), global);
        add(&[data::global_set(class, Written::Defined)], global);
        let places = [ReturnPlace::Slot, ReturnPlace::Acc, ReturnPlace::Imm];
        let places = places.into_iter().filter(|&place| place != ReturnPlace::Imm || class == Class::Int);
        places.for_each(|place| add(&[data::return_one(class, place)], After { returns: true, ..After::default() }));
    }
    add(&[data::return_none()], After { returns: true, ..After::default() });
    for accumulator in [false, true] {
        add(&[branch::switch(accumulator)], After { table: true, ..After::default() });
    }
    for back in [false, true] {
        add(&[branch::jump(back)], After { branch: Some(back), no_operands: true, ..After::default() });
    }
    all
}

/// What an instruction has besides its operand word, and what that has to be.
#[derive(Debug, Clone, Copy, Default)]
struct After {
    /// A wide immediate.
    wide: bool,
    /// A branch word; whether of a back-edge.
    branch: Option<bool>,
    no_operands: bool,
    /// As many branch words as the immediate says, and one more.
    table: bool,
    /// The immediate is the number of a global, or of slots to be cleared; DST is the first control slot.
    global: bool,
    count: Option<usize>,
    returns: bool,
}

/// Ends a run, and keeps how it was.
struct Stop;

thread_local! {
    static STOPPED: Cell<Option<State>> = const { Cell::new(None) };
}

impl Op for Stop {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        keep(state);
        FINISHED
    }
}

/// Not part of the handler, which must not have a frame of its own.
#[inline(never)]
fn keep(state: State) {
    STOPPED.set(Some(state));
}

/// How often each is tried.
const TRIES: u32 = 60;

/// What is left to its handler, whatever its operands: what is long, and what is rare.
const LEFT: &[&str] =
    &["Min", "Max", "Copysign", "Popcnt", "Ceil", "Floor", "Trunc", "Nearest", "F32Abs", "F32Neg", "ConvertI64U"];

/// How code begins that leaves at once: the instruction's address to `rdi`.
const HANDED_OVER: [u8; 2] = [0x48, 0xbf];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Bits that are often an edge of something: of integers, of floats of either width, of the memory.
    fn bits(&mut self) -> u64 {
        let edges = [
            0,
            1,
            u64::MAX,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 63,
            i64::MAX as u64,
            f64::NAN.to_bits(),
            f64::INFINITY.to_bits(),
            (-0.0_f64).to_bits(),
            1.5_f64.to_bits(),
            (-2.5_f64).to_bits(),
            u64::from(f32::NAN.to_bits()),
            u64::from((-0.0_f32).to_bits()),
            u64::from(1.5_f32.to_bits()),
            u64::from(f32::INFINITY.to_bits()),
            31,
            32,
            33,
            63,
            64,
        ];
        match self.next() % 4 {
            0 => edges[self.next() as usize % edges.len()],
            1 => self.next() % (MEMORY as u64 + 8),
            2 => self.next() >> 32,
            _ => self.next(),
        }
    }
}

/// What an instruction starts with, and what it leaves.
#[derive(Debug, Clone, PartialEq)]
struct World {
    slots: [u64; SLOTS],
    memory: [u8; MEMORY],
    globals: [u64; GLOBALS],
    countdown: i32,
    int: u64,
    f32: u32,
    f64: u64,
}

/// Where it ended: what it returned, the word it had come to, and which slot was its frame's first.
type End = (Status, usize, usize);

/// An instance's record with the cells of its globals behind it.
#[repr(C, align(64))]
struct Record {
    before: [u8; GLOBAL_CELLS],
    globals: [u64; GLOBALS],
}

/// Runs the instruction at the first of `words` until it stops.
fn run(words: &[AtomicU64], world: &mut World) -> End {
    let mut record = Record { before: [0; GLOBAL_CELLS], globals: world.globals };
    let mut counts = [CountSlot { countdown: world.countdown, generation: 0 }; 2];
    let start: *const u64 = words.as_ptr().cast();
    // A return goes to the words' second stop, with the frame of whoever called one slot further.
    world.slots[CONTROL as usize] = start.wrapping_add(words.len() - 1) as u64;
    world.slots[CONTROL as usize + 1] = world.slots.as_ptr().wrapping_add(1) as u64;
    let mut cx = Cx::for_test((&raw mut record).cast::<VmCtx>(), counts.as_mut_ptr());
    let state = State {
        ip: start,
        fp: world.slots.as_mut_ptr(),
        mem: world.memory.as_mut_ptr(),
        len: MEMORY as u64,
        cx: &raw mut cx,
        int: world.int,
        f64: f64::from_bits(world.f64),
        f32: f32::from_bits(world.f32),
    };
    STOPPED.set(None);
    // SAFETY: the words are an instruction, and stops; all it may use is there.
    let status = unsafe { start_state(state) };
    let (ip, fp) = match STOPPED.get() {
        Some(state) => {
            (world.int, world.f64, world.f32) = (state.int, state.f64.to_bits(), state.f32.to_bits());
            assert_eq!((state.mem, state.len), (world.memory.as_mut_ptr(), MEMORY as u64), "the memory's registers");
            (state.ip, state.fp)
        }
        None => (cx.at, cx.fp),
    };
    (world.globals, world.countdown) = (record.globals, counts[1].countdown);
    let end = (status, (ip.addr() - start.addr()) / 8, (fp.addr() - world.slots.as_ptr().addr()) / 8);
    world.slots[CONTROL as usize..][..2].fill(0);
    end
}

/// A NaN's bits may be anybody's.
fn same(a: &World, b: &World) -> bool {
    let float32 = |bits: u64| f32::from_bits(bits as u32).is_nan() && bits >> 32 == 0;
    let alike = |a: u64, b: u64| a == b || f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan() || float32(a) && float32(b);
    let floats = alike(a.f64, b.f64) && alike(a.f32.into(), b.f32.into());
    let slots = a.slots.iter().zip(&b.slots).all(|(&a, &b)| alike(a, b));
    floats && slots && (a.memory, a.globals, a.countdown, a.int) == (b.memory, b.globals, b.countdown, b.int)
}

/// The words of an instruction with random operands, a stop behind it, and one to branch or return to.
fn words(instruction: Instruction, after: After, random: &mut Random) -> Vec<u64> {
    let mut words = vec![instruction.handler as usize as u64];
    if !after.no_operands {
        let slot = |random: &mut Random| random.next() % CONTROL;
        let [dst, a, b, c] = std::array::from_fn(|_| slot(random));
        let takes_slots = matches!(
            instruction.kind,
            Kind::Binary { form: Form::SlotSlot, .. }
                | Kind::Test { form: Form::SlotSlot, .. }
                | Kind::Branch { form: Form::SlotSlot, .. }
                | Kind::Select { .. }
                | Kind::CopyTwo
        );
        let k = match after {
            After { count: Some(count), .. } => count as u64,
            After { global: true, .. } => random.next() % GLOBALS as u64,
            After { table: true, .. } => random.next() % 40,
            _ if matches!(instruction.kind, Kind::Load { .. } | Kind::Store { .. }) => match random.next() % 8 {
                0 => 0xffff_fff0,
                1 => 0x7fff_fff9,
                _ => random.next() % 16,
            },
            _ => random.bits() & 0xffff_ffff,
        };
        let dst = if after.returns { CONTROL } else { dst.min(after.count.map_or(dst, |_| 2)) };
        words.push(dst | a << 16 | if takes_slots { b << 32 | c << 48 } else { k << 32 });
    }
    if after.table {
        words.resize(words.len() + 1 + (words[1] >> 32) as usize, 0);
    }
    if after.wide {
        words.push(random.bits());
    }
    if let Some(back) = after.branch {
        words.push(0);
        if back {
            // The body is nobody's: the countdown suffices. The bead's index is 1, the work 3.
            words.extend([0, 1 | 3 << 48]);
        }
    }
    words.extend([handler::<Stop>() as usize as u64; 2]);
    words
}

#[test]
fn templates_do_what_handlers_do() {
    let mut random = Random(1);
    for (instruction, after) in instructions() {
        let mut handed_over = 0;
        for _ in 0..TRIES {
            let plain = words(instruction, after, &mut random);
            let stops = [plain.len() - 2, plain.len() - 1];
            let starts: Vec<_> = [(0, instruction.kind)].into_iter().chain(stops.map(|at| (at as u32, Kind::Other))).collect();
            let [by_handler, by_template] = [(); 2].map(|()| {
                let mut words: Vec<_> = plain.iter().map(|&word| AtomicU64::new(word)).collect();
                if let Some(back) = after.branch {
                    let target = words.as_ptr().wrapping_add(stops[1]) as u64;
                    *words[stops[0] - if back { 3 } else { 1 }].get_mut() = target;
                }
                if after.table {
                    let targets = stops.map(|stop| words.as_ptr().wrapping_add(stop) as u64);
                    words[2..stops[0]].iter_mut().enumerate().for_each(|(at, word)| *word.get_mut() = targets[at % 2]);
                }
                words
            });
            let _made = MachineCode::of(&by_template, &starts).expect("executable memory");
            handed_over += u32::from(emit(&by_handler, &starts).asm.finish().starts_with(&HANDED_OVER));
            let mut before = World {
                slots: std::array::from_fn(|_| random.bits()),
                memory: std::array::from_fn(|_| random.next() as u8),
                globals: std::array::from_fn(|_| random.bits()),
                countdown: 1000,
                int: random.bits(),
                f32: random.bits() as u32,
                f64: random.bits(),
            };
            // What narrow instructions find in the accumulator is zero-extended.
            if let Kind::Binary { .. } | Kind::Test { .. } | Kind::Branch { .. } | Kind::Unary { .. } = instruction.kind
                && !format!("{:?}", instruction.kind).contains("64")
            {
                before.int &= 0xffff_ffff;
            }
            let (mut want, mut got) = (before.clone(), before.clone());
            let ends = [run(&by_handler, &mut want), run(&by_template, &mut got)];
            assert!(
                ends[0] == ends[1] && same(&want, &got),
                "{instruction:?} {plain:x?}\n{before:x?}\n{ends:?}\n{want:x?}\n{got:x?}"
            );
        }
        let kind = format!("{:?}", instruction.kind);
        let is_left = LEFT.iter().any(|name| kind.contains(name)) || after.count.is_some_and(|count| count > 16);
        assert_eq!(handed_over == TRIES, is_left, "{kind}");
    }
}
