//! Every method with every kind of operand, read back by a disassembler that is somebody else's.

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, MemorySizeOptions, Mnemonic, NumberBase, OpKind,
};
use tierup_asm::*;

const GPRS: [Gpr; 16] = [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15];
const WIDTHS: [(Width, &str); 2] = [(Width::W32, "dword"), (Width::W64, "qword")];
const PRECISIONS: [(Precision, &str, &str, &str); 2] =
    [(Precision::Single, "ss", "ps", "dword"), (Precision::Double, "sd", "pd", "qword")];
const CONDITIONS: [(Cond, &str); 16] = [
    (Cond::Overflow, "o"),
    (Cond::NoOverflow, "no"),
    (Cond::Below, "b"),
    (Cond::AboveOrEqual, "ae"),
    (Cond::Equal, "e"),
    (Cond::NotEqual, "ne"),
    (Cond::BelowOrEqual, "be"),
    (Cond::Above, "a"),
    (Cond::Negative, "s"),
    (Cond::NotNegative, "ns"),
    (Cond::Parity, "p"),
    (Cond::NoParity, "np"),
    (Cond::Less, "l"),
    (Cond::GreaterOrEqual, "ge"),
    (Cond::LessOrEqual, "le"),
    (Cond::Greater, "g"),
];

/// What is written is one instruction, and reads `expected`.
fn reads(expected: &str, write: impl FnOnce(&mut Assembler)) {
    let mut asm = Assembler::default();
    write(&mut asm);
    let read = disassemble(asm.finish());
    assert_eq!(read, [expected]);
}

fn decode(code: &[u8]) -> impl Iterator<Item = Instruction> {
    Decoder::new(64, code, DecoderOptions::NONE).into_iter()
}

fn disassemble(code: &[u8]) -> Vec<String> {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_memory_size_options(MemorySizeOptions::Always);
    options.set_number_base(NumberBase::Decimal);
    options.set_signed_immediate_operands(true);
    options.set_branch_leading_zeros(false);
    let text = |instruction| {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        text
    };
    decode(code).map(text).collect()
}

fn gpr(reg: Gpr, size: &str) -> String {
    const OLD: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    let number = reg.number();
    match (OLD.get(usize::from(number)), size) {
        (Some(name), "byte") => format!("{}l", name.strip_suffix('x').unwrap_or(name)),
        (Some(name), "word") => (*name).into(),
        (Some(name), "dword") => format!("e{name}"),
        (Some(name), _) => format!("r{name}"),
        (None, "byte") => format!("r{number}b"),
        (None, "word") => format!("r{number}w"),
        (None, "dword") => format!("r{number}d"),
        (None, _) => format!("r{number}"),
    }
}

fn xmm(reg: Xmm) -> String {
    format!("xmm{}", reg.number())
}

/// An operand whose memory is of that size. (`lea`: of none.)
fn operand(rm: impl Into<Rm>, size: &str) -> String {
    let wide = |reg| gpr(reg, "qword");
    let (mut sum, disp) = match rm.into() {
        Rm::Gpr(reg) => return gpr(reg, size),
        Rm::Xmm(reg) => return xmm(reg),
        Rm::Mem(Mem::Base(base, disp)) => (wide(base), disp),
        Rm::Mem(Mem::Index(base, index, 0, disp)) => (format!("{}+{}", wide(base), wide(index)), disp),
        Rm::Mem(Mem::Index(base, index, scale, disp)) => (format!("{}+{}*{}", wide(base), wide(index), 1 << scale), disp),
        Rm::Mem(Mem::Scaled(index, scale, disp)) => (format!("{}*{}", wide(index), 1 << scale), disp),
        Rm::Mem(Mem::Pool(_)) => unreachable!("has a test of its own"),
    };
    if disp != 0 {
        sum.push_str(&format!("{disp:+}"));
    }
    if size.is_empty() { format!("[{sum}]") } else { format!("{size} ptr [{sum}]") }
}

fn xmms() -> impl Iterator<Item = Xmm> {
    (0..16).map(Xmm::new)
}

/// Each base and each index, with displacements of each length.
fn memory() -> Vec<Mem> {
    const DISPLACEMENTS: [i32; 5] = [0, 8, -128, 128, i32::MIN];
    let mut all = Vec::new();
    for (at, &base) in GPRS.iter().enumerate() {
        all.extend(DISPLACEMENTS.map(|disp| Mem::Base(base, disp)));
        for (turn, &index) in GPRS.iter().enumerate() {
            let (scale, disp) = (((at + turn) % 4) as u8, DISPLACEMENTS[(at + turn) % 5]);
            if index != RSP {
                all.push(Mem::Index(base, index, scale, disp));
            }
        }
    }
    for index in GPRS.into_iter().filter(|&index| index != RSP) {
        // With scale 0 a disassembler takes the index for a base.
        all.extend((1..4).map(|scale| Mem::Scaled(index, scale, DISPLACEMENTS[1 + usize::from(scale)])));
    }
    all
}

/// Registers and memory, each with another register: with all of those in turn.
fn pairs() -> Vec<(Gpr, Rm)> {
    let rms = GPRS.map(Rm::Gpr).into_iter().chain(memory().into_iter().map(Rm::Mem));
    rms.enumerate().flat_map(|(at, rm)| [(GPRS[at % 16], rm), (GPRS[(at + 5) % 16], rm)]).collect()
}

fn float_pairs() -> Vec<(Xmm, Rm)> {
    let rms = xmms().map(Rm::Xmm).chain(memory().into_iter().map(Rm::Mem));
    rms.enumerate().flat_map(|(at, rm)| [(at, rm), (at + 5, rm)]).map(|(at, rm)| (Xmm::new((at % 16) as u8), rm)).collect()
}

#[test]
fn arithmetic() {
    let ops = [(Alu::Add, "add"), (Alu::Or, "or"), (Alu::And, "and"), (Alu::Sub, "sub"), (Alu::Xor, "xor"), (Alu::Cmp, "cmp")];
    for (op, name) in ops {
        for (width, size) in WIDTHS {
            for (dst, src) in pairs() {
                reads(&format!("{name} {},{}", gpr(dst, size), operand(src, size)), |asm| asm.alu(op, width, dst, src));
                if let Rm::Mem(mem) = src {
                    reads(&format!("{name} {},{}", operand(mem, size), gpr(dst, size)), |asm| asm.alu_to(op, width, mem, dst));
                }
                for imm in [1, -128, 128, i32::MIN] {
                    reads(&format!("{name} {},{imm}", operand(src, size)), |asm| asm.alu_imm(op, width, src, imm));
                }
            }
        }
    }
}

#[test]
fn multiplication_and_division() {
    for (width, size) in WIDTHS {
        for (dst, src) in pairs() {
            let (to, from) = (gpr(dst, size), operand(src, size));
            reads(&format!("imul {to},{from}"), |asm| asm.imul(width, dst, src));
            // Disassemblers name a register that is both but once.
            let operands = if to == from { to } else { format!("{to},{from}") };
            for imm in [3, -128, 128, i32::MIN] {
                reads(&format!("imul {operands},{imm}"), |asm| asm.imul_imm(width, dst, src, imm));
            }
            reads(&format!("div {from}"), |asm| asm.div(width, false, src));
            reads(&format!("idiv {from}"), |asm| asm.div(width, true, src));
        }
    }
    reads("cdq", |asm| asm.sign_to_rdx(Width::W32));
    reads("cqo", |asm| asm.sign_to_rdx(Width::W64));
}

#[test]
fn what_has_one_operand() {
    for (width, size) in WIDTHS {
        for reg in GPRS {
            let name = gpr(reg, size);
            reads(&format!("neg {name}"), |asm| asm.neg(width, reg));
            reads(&format!("not {name}"), |asm| asm.not(width, reg));
        }
    }
    for reg in GPRS {
        let name = gpr(reg, "qword");
        reads(&format!("push {name}"), |asm| asm.push(reg));
        reads(&format!("pop {name}"), |asm| asm.pop(reg));
    }
}

#[test]
fn copies() {
    for (dst, src) in pairs() {
        for (width, size) in WIDTHS {
            reads(&format!("mov {},{}", gpr(dst, size), operand(src, size)), |asm| asm.mov(width, dst, src));
            for (bytes, part) in [(1, "byte"), (2, "word")] {
                let expected = format!("movsx {},{}", gpr(dst, size), operand(src, part));
                reads(&expected, |asm| asm.movsx(width, bytes, dst, src));
            }
            if let Rm::Mem(mem) = src {
                reads(&format!("lea {},{}", gpr(dst, size), operand(mem, "")), |asm| asm.lea(width, dst, mem));
            }
        }
        reads(&format!("movsxd {},{}", gpr(dst, "qword"), operand(src, "dword")), |asm| asm.movsx(Width::W64, 4, dst, src));
        for (bytes, part) in [(1, "byte"), (2, "word")] {
            reads(&format!("movzx {},{}", gpr(dst, "dword"), operand(src, part)), |asm| asm.movzx(bytes, dst, src));
        }
        if let Rm::Mem(mem) = src {
            for (bytes, size) in [(1, "byte"), (2, "word"), (4, "dword"), (8, "qword")] {
                let to = operand(mem, size);
                reads(&format!("mov {to},{}", gpr(dst, size)), |asm| asm.store(bytes, mem, dst));
                reads(&format!("mov {to},-7"), |asm| asm.store_imm(bytes, mem, -7));
            }
        }
    }
}

#[test]
fn constants_in_instructions() {
    for reg in GPRS {
        let (half, whole) = (gpr(reg, "dword"), gpr(reg, "qword"));
        reads(&format!("mov {half},0"), |asm| asm.mov_imm(reg, 0));
        // Cleared above: as a number of 32 bits with a sign it is -1.
        reads(&format!("mov {half},-1"), |asm| asm.mov_imm(reg, u32::MAX.into()));
        reads(&format!("mov {whole},-1"), |asm| asm.mov_imm(reg, -1));
        reads(&format!("mov {whole},{}", i32::MIN), |asm| asm.mov_imm(reg, i32::MIN.into()));
        reads(&format!("mov {whole},{}", 1_i64 << 32), |asm| asm.mov_imm(reg, 1 << 32));
        reads(&format!("mov {whole},{}", i64::MIN), |asm| asm.mov_imm(reg, i64::MIN));
    }
    reads("mov rax,qword ptr [81985529216486895]", |asm| asm.load_rax_from(0x0123_4567_89ab_cdef));
}

#[test]
fn conditions() {
    for (cond, name) in CONDITIONS {
        for (dst, src) in pairs() {
            reads(&format!("cmov{name} {},{}", gpr(dst, "qword"), operand(src, "qword")), |asm| asm.cmov(cond, dst, src));
        }
        for reg in GPRS {
            let set = format!("set{name} {}", gpr(reg, "byte"));
            reads(&set, |asm| asm.set_byte(cond, reg));
            let mut asm = Assembler::default();
            asm.set(cond, reg);
            assert_eq!(disassemble(asm.finish()), [set, format!("movzx {},{}", gpr(reg, "dword"), gpr(reg, "byte"))]);
        }
        assert_eq!(cond as u8 ^ 1, cond.inverse() as u8, "{cond:?}: encodings differ in their last bit");
    }
    for (width, size) in WIDTHS {
        for (at, a) in GPRS.into_iter().enumerate() {
            let b = GPRS[(at + 5) % 16];
            reads(&format!("test {},{}", gpr(a, size), gpr(b, size)), |asm| asm.test(width, a, b));
        }
    }
}

#[test]
fn shifts() {
    let all = [
        (Shift::RotateLeft, "rol"),
        (Shift::RotateRight, "ror"),
        (Shift::Left, "shl"),
        (Shift::Right, "shr"),
        (Shift::Arithmetic, "sar"),
    ];
    for (shift, name) in all {
        for (width, size) in WIDTHS {
            for reg in GPRS {
                reads(&format!("{name} {},3", gpr(reg, size)), |asm| asm.shift_imm(shift, width, reg, 3));
                reads(&format!("{name} {},cl", gpr(reg, size)), |asm| asm.shift_cl(shift, width, reg));
            }
            if matches!(shift, Shift::RotateLeft | Shift::RotateRight) {
                continue;
            }
            for (at, (dst, src)) in pairs().into_iter().enumerate() {
                let amount = GPRS[(at / 3 + 7) % 16];
                let expected = format!("{name}x {},{},{}", gpr(dst, size), operand(src, size), gpr(amount, size));
                reads(&expected, |asm| asm.shift_by(shift, width, dst, src, amount));
            }
        }
    }
}

#[test]
fn bits() {
    let all = [
        (BitCount::Lowest, "bsf"),
        (BitCount::Highest, "bsr"),
        (BitCount::LeadingZeros, "lzcnt"),
        (BitCount::TrailingZeros, "tzcnt"),
        (BitCount::Ones, "popcnt"),
    ];
    for (what, name) in all {
        for (width, size) in WIDTHS {
            for (dst, src) in pairs() {
                reads(&format!("{name} {},{}", gpr(dst, size), operand(src, size)), |asm| asm.count(what, width, dst, src));
            }
        }
    }
}

#[test]
fn floats() {
    let ops = [
        (FloatOp::Sqrt, "sqrt"),
        (FloatOp::Add, "add"),
        (FloatOp::Mul, "mul"),
        (FloatOp::Sub, "sub"),
        (FloatOp::Min, "min"),
        (FloatOp::Div, "div"),
        (FloatOp::Max, "max"),
    ];
    let roundings = [Rounding::Nearest, Rounding::Down, Rounding::Up, Rounding::TowardZero];
    for (precision, scalar, packed, size) in PRECISIONS {
        assert_eq!(precision.width() == Width::W64, size == "qword");
        for (dst, src) in float_pairs() {
            let (to, from) = (xmm(dst), operand(src, size));
            for (op, name) in ops {
                reads(&format!("{name}{scalar} {to},{from}"), |asm| asm.float(op, precision, dst, src));
            }
            let other = if precision == Precision::Single { "sd" } else { "ss" };
            reads(&format!("cvt{scalar}2{other} {to},{from}"), |asm| asm.float(FloatOp::Convert, precision, dst, src));
            for (op, name) in [(MaskOp::And, "and"), (MaskOp::Or, "or"), (MaskOp::Xor, "xor")] {
                reads(&format!("{name}{packed} {to},{}", operand(src, "xmmword")), |asm| asm.mask(op, precision, dst, src));
            }
            reads(&format!("ucomi{scalar} {to},{from}"), |asm| asm.ucomis(precision, dst, src));
            for (mode, rounding) in (8..).zip(roundings) {
                reads(&format!("round{scalar} {to},{from},{mode}"), |asm| asm.round(rounding, precision, dst, src));
            }
            if let Rm::Mem(mem) = src {
                reads(&format!("mov{scalar} {to},{from}"), |asm| asm.load_float(precision, dst, mem));
                reads(&format!("mov{scalar} {from},{to}"), |asm| asm.store_float(precision, mem, dst));
            }
        }
    }
    for (dst, src) in xmms().zip(xmms().skip(5).chain(xmms())) {
        reads(&format!("movaps {},{}", xmm(dst), xmm(src)), |asm| asm.movaps(dst, src));
        reads(&format!("xorps {0},{0}", xmm(dst)), |asm| asm.clear_float(dst));
    }
}

#[test]
fn floats_and_integers() {
    for (width, size) in WIDTHS {
        for (precision, scalar, _, float_size) in PRECISIONS {
            for (at, (_, src)) in pairs().into_iter().enumerate() {
                let dst = Xmm::new((at % 16) as u8);
                let expected = format!("cvtsi2{scalar} {},{}", xmm(dst), operand(src, size));
                reads(&expected, |asm| asm.int_to_float(width, precision, dst, src));
            }
            for (at, (_, src)) in float_pairs().into_iter().enumerate() {
                let dst = GPRS[at % 16];
                let expected = format!("cvtt{scalar}2si {},{}", gpr(dst, size), operand(src, float_size));
                reads(&expected, |asm| asm.float_to_int(width, precision, dst, src));
            }
        }
        let name = if width == Width::W64 { "movq" } else { "movd" };
        for (at, (_, rm)) in pairs().into_iter().enumerate() {
            let reg = Xmm::new((at % 16) as u8);
            reads(&format!("{name} {},{}", xmm(reg), operand(rm, size)), |asm| asm.bits_to_float(width, reg, rm));
            reads(&format!("{name} {},{}", operand(rm, size), xmm(reg)), |asm| asm.float_to_bits(width, rm, reg));
        }
    }
}

#[test]
fn vectors() {
    for (dst, src) in float_pairs() {
        let (to, from) = (xmm(dst), operand(src, "xmmword"));
        match src {
            Rm::Mem(mem) => {
                reads(&format!("movups {to},{from}"), |asm| asm.load_vector(dst, mem));
                reads(&format!("movups {from},{to}"), |asm| asm.store_vector(mem, dst));
            }
            Rm::Xmm(src) => {
                reads(&format!("pcmpeqd {to},{from}"), |asm| asm.lanes(LaneOp::Equal, dst, src));
                reads(&format!("psubd {to},{from}"), |asm| asm.lanes(LaneOp::Sub, dst, src));
                reads(&format!("pshufd {to},{from},0"), |asm| asm.spread(dst, src));
                reads(&format!("ptest {from},{from}"), |asm| asm.test_vector(src));
            }
            Rm::Gpr(_) => unreachable!("not among them"),
        }
    }
}

#[test]
fn ways_on() {
    for (_, target) in pairs() {
        reads(&format!("jmp {}", operand(target, "qword")), |asm| asm.jump_to(target));
        reads(&format!("call {}", operand(target, "qword")), |asm| asm.call(target));
    }
    for reg in GPRS {
        let mut asm = Assembler::default();
        asm.jump_far(1 << 40, reg, 1 << 50);
        let expected =
            [format!("mov {},{}", gpr(reg, "qword"), 1_u64 << 50), format!("mov rax,{}", 1_u64 << 40), "jmp rax".into()];
        assert_eq!(disassemble(asm.finish()), expected);
    }
    reads("ret", Assembler::ret);
    reads("ud2", Assembler::ud2);
}

#[test]
fn branches_lead_to_their_labels() {
    // Distances around those that a byte can say, forward and back.
    for between in [0_u32, 1, 123, 124, 125, 126, 127, 128, 129, 40_000] {
        for (cond, name) in CONDITIONS {
            let mut asm = Assembler::default();
            let (start, end) = (asm.label(), asm.label());
            asm.bind(start);
            (0..between).for_each(|_| asm.ret());
            asm.jump_if(cond, start);
            asm.jump(start);
            asm.jump_if(cond, end);
            asm.jump(end);
            (0..between).for_each(|_| asm.ret());
            asm.bind(end);
            let after = u64::from(asm.position());
            let code = asm.finish();
            let (jumps, branches): (Vec<_>, Vec<_>) = decode(code)
                .filter(|instruction| instruction.op0_kind() == OpKind::NearBranch64)
                .partition(|instruction| instruction.mnemonic() == Mnemonic::Jmp);
            for found in [&branches, &jumps] {
                let targets: Vec<u64> = found.iter().map(Instruction::near_branch_target).collect();
                assert_eq!(targets, [0, after], "{between}");
            }
            assert_eq!(branches[0].len() == 2, between + 2 <= 128, "the short form where it fits: {between}");
            assert!(disassemble(code).iter().filter(|text| text.starts_with(&format!("j{name} "))).count() == 2);
        }
    }
}

#[test]
fn constants_are_where_instructions_look() {
    for (reg, to) in GPRS.into_iter().zip(xmms()) {
        let mut asm = Assembler::default();
        let wide = asm.wide_constant(1 << 127 | 3);
        let (first, second) = (asm.constant(5), asm.constant(u64::MAX));
        assert_eq!((asm.constant(5), asm.wide_constant(1 << 127 | 3)), (first, wide), "each is there once");
        asm.mov(Width::W64, reg, Mem::Pool(first));
        asm.alu_imm(Alu::Cmp, Width::W32, Mem::Pool(second), 1);
        asm.alu_imm(Alu::Cmp, Width::W32, Mem::Pool(second), 1000);
        asm.mask(MaskOp::And, Precision::Double, to, Mem::Pool(wide));
        asm.round(Rounding::Up, Precision::Double, to, Mem::Pool(first));
        let instructions = asm.position() as usize;
        let code = asm.finish();
        let at: Vec<usize> =
            decode(&code[..instructions]).map(|instruction| instruction.memory_displacement64() as usize).collect();
        let expected: [&[u8]; 5] = [
            &5_u64.to_le_bytes(),
            &u64::MAX.to_le_bytes(),
            &u64::MAX.to_le_bytes(),
            &(1_u128 << 127 | 3).to_le_bytes(),
            &5_u64.to_le_bytes(),
        ];
        assert_eq!(at.len(), expected.len());
        for (at, bytes) in at.into_iter().zip(expected) {
            assert_eq!(&code[at..at + bytes.len()], bytes);
            assert_eq!(at % bytes.len(), 0, "aligned");
        }
    }
}

#[test]
fn tables_lead_to_their_labels() {
    for (at, index) in GPRS.into_iter().enumerate() {
        let scratch = GPRS[(at + 5) % 16];
        if index == RSP {
            continue;
        }
        let mut asm = Assembler::default();
        let labels = [asm.label(), asm.label(), asm.label()];
        asm.bind(labels[0]);
        asm.jump_table(index, scratch, &[labels[2], labels[0], labels[1]]);
        let behind = asm.position() as usize;
        asm.bind(labels[1]);
        asm.ret();
        asm.bind(labels[2]);
        asm.ret();
        let code = asm.finish();
        let table = behind - 12;
        let read: Vec<Instruction> = decode(&code[..table]).collect();
        assert_eq!(read[0].memory_displacement64(), table as u64);
        let (i, s) = (gpr(index, "qword"), gpr(scratch, "qword"));
        let expected = [format!("movsxd {i},dword ptr [{s}+{i}*4]"), format!("add {i},{s}"), format!("jmp {i}")];
        assert_eq!(disassemble(&code[..table])[1..], expected);
        let entries = code[table..behind].chunks(4).map(|entry| i32::from_le_bytes(entry.try_into().unwrap()));
        let targets: Vec<i64> = entries.map(|entry| table as i64 + i64::from(entry)).collect();
        assert_eq!(targets, [behind as i64 + 1, 0, behind as i64]);
    }
}

#[test]
fn padding_does_nothing() {
    for before in 0..32 {
        for to in [1, 16, 32] {
            let mut asm = Assembler::default();
            (0..before).for_each(|_| asm.ret());
            asm.align(to);
            assert_eq!(asm.position() % to, 0);
            assert!(asm.position() - before < to);
            let read = disassemble(asm.finish());
            // Of two bytes it is an exchange of `ax` with itself.
            assert!(read.iter().skip(before as usize).all(|text| text.starts_with("nop") || text == "xchg ax,ax"), "{read:?}");
        }
    }
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    let (mut asm, mut other) = (Assembler::default(), Assembler::default());
    let write = |asm: &mut Assembler, end| {
        let constant = asm.constant(7);
        asm.mov(Width::W64, RAX, Mem::Pool(constant));
        asm.jump_if(Cond::Equal, end);
    };
    let ends = [asm.label(), other.label()];
    write(&mut asm, ends[0]);
    let here = asm.position();
    write(&mut asm, ends[0]);
    let nowhere = asm.label();
    asm.jump(nowhere);
    asm.jump_table(RAX, RCX, &[nowhere]);
    asm.rewind(here);
    write(&mut other, ends[1]);
    for (asm, end) in [&mut asm, &mut other].into_iter().zip(ends) {
        asm.bind(end);
        asm.ret();
    }
    assert_eq!(asm.finish(), other.finish());
    asm.clear();
    assert_eq!((asm.position(), asm.finish()), (0, &[][..]));
}

#[test]
#[should_panic(expected = "there are 16 vector registers")]
fn there_is_no_seventeenth_vector_register() {
    let _ = Xmm::new(16);
}
