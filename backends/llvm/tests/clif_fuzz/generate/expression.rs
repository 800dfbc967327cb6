//! Expressions: one or a few instructions that make a value of a given type.

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32, F64, I8, I16, I32, I64, I128},
};

use super::{FLOATS, Generator, INTS, Memory, PLAIN, TYPES};

const CONDITIONS: [IntCC; 10] = [
    IntCC::Equal,
    IntCC::NotEqual,
    IntCC::SignedLessThan,
    IntCC::SignedGreaterThanOrEqual,
    IntCC::SignedGreaterThan,
    IntCC::SignedLessThanOrEqual,
    IntCC::UnsignedLessThan,
    IntCC::UnsignedGreaterThanOrEqual,
    IntCC::UnsignedGreaterThan,
    IntCC::UnsignedLessThanOrEqual,
];
const COMPARISONS: [FloatCC; 14] = [
    FloatCC::Ordered,
    FloatCC::Unordered,
    FloatCC::Equal,
    FloatCC::NotEqual,
    FloatCC::OrderedNotEqual,
    FloatCC::UnorderedOrEqual,
    FloatCC::LessThan,
    FloatCC::LessThanOrEqual,
    FloatCC::GreaterThan,
    FloatCC::GreaterThanOrEqual,
    FloatCC::UnorderedOrLessThan,
    FloatCC::UnorderedOrLessThanOrEqual,
    FloatCC::UnorderedOrGreaterThan,
    FloatCC::UnorderedOrGreaterThanOrEqual,
];

/// What [`Generator::int`] may choose where only 32 and 64 bits of what the quick compiler knows are wanted.
const PLAIN_INT: [usize; 25] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 22, 23, 25, 26, 28, 30, 31];

impl Generator<'_, '_> {
    /// A variable's value, or a constant.
    pub(super) fn value(&mut self, ty: Type) -> Value {
        let fitting: Vec<_> = self.variables.iter().filter(|(_, of)| *of == ty).map(|&(variable, _)| variable).collect();
        if let Memory::Context(loops) = &self.memory
            && ty == I64
            && self.random.once_in(8)
        {
            return self.random.pick(&loops.constants);
        }
        if self.random.once_in(5) { self.constant(ty) } else { self.b.use_var(self.random.pick(&fitting)) }
    }

    pub(super) fn constant(&mut self, ty: Type) -> Value {
        match ty {
            I128 => {
                let (low, high) = (self.constant(I64), self.constant(I64));
                self.b.ins().iconcat(low, high)
            }
            F32 => {
                let bits = self.float_bits(23, 8) as u32;
                self.b.ins().f32const(f32::from_bits(bits))
            }
            F64 => {
                let bits = self.float_bits(52, 11);
                self.b.ins().f64const(f64::from_bits(bits))
            }
            _ => {
                let mask = u64::MAX >> (64 - ty.bits());
                let sign = 1 << (ty.bits() - 1);
                let small = self.random.next() % 200;
                let any = self.random.next();
                let bits = self.random.pick(&[0, 1, 2, 7, u64::MAX, sign, sign - 1, sign + 1, small, small, any]);
                self.b.ins().iconst(ty, (bits & mask).cast_signed())
            }
        }
    }

    /// Bits of a float that is worth trying. No signalling NaN: compilers may quiet those when they fold.
    fn float_bits(&mut self, mantissa: u32, exponent: u32) -> u64 {
        let sign = 1u64 << (mantissa + exponent);
        let infinity = ((1 << exponent) - 1) << mantissa;
        let one = ((1u64 << (exponent - 1)) - 1) << mantissa;
        let quiet = infinity | 1 << (mantissa - 1);
        let any = self.random.next() & (sign - 1);
        let any = if any > infinity { quiet } else { any };
        let near_one = one.wrapping_add(self.random.next() % (40 << (mantissa - 2)));
        let magnitude =
            self.random.pick(&[0, one, one, one + (1 << mantissa), infinity, quiet, 1, infinity - 1, near_one, near_one, any]);
        magnitude | if self.random.once_in(3) { sign } else { 0 }
    }

    /// Something of type `ty`.
    pub(super) fn expression(&mut self, ty: Type) -> Value {
        match self.random.below(10) {
            0 => {
                let cond = self.condition();
                let (one, other) = (self.value(ty), self.value(ty));
                if self.random.once_in(4) && ty.is_int() && !self.plain {
                    self.b.ins().select_spectre_guard(cond, one, other)
                } else {
                    self.b.ins().select(cond, one, other)
                }
            }
            1 => self.load(ty),
            _ if ty.is_float() => self.float(ty),
            _ => self.int(ty),
        }
    }

    /// A truth value.
    pub(super) fn condition(&mut self) -> Value {
        if self.random.once_in(4) {
            let ty = self.random.pick(&INTS);
            return if self.random.once_in(3) { self.load(ty) } else { self.value(ty) };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Value {
        if self.random.once_in(3) {
            let ty = self.random.pick(&FLOATS);
            let (one, other, cond) = (self.value(ty), self.value(ty), self.random.pick(&COMPARISONS));
            return self.b.ins().fcmp(cond, one, other);
        }
        let ty = self.any_int();
        let (one, other, cond) = (self.value(ty), self.value(ty), self.random.pick(&CONDITIONS));
        let cond = if self.plain && ty.bits() < 32 { cond.unsigned() } else { cond };
        self.b.ins().icmp(cond, one, other)
    }

    fn int(&mut self, ty: Type) -> Value {
        let (x, y) = (self.value(ty), self.value(ty));
        let choice = match ty {
            _ if !self.plain => self.random.below(36),
            I8 => self.random.pick(&[4, 5, 6, 20, 22]),
            I16 => self.random.pick(&[4, 5, 6, 22]),
            _ => self.random.pick(&PLAIN_INT),
        };
        match choice {
            0 | 1 => self.b.ins().iadd(x, y),
            2 => self.b.ins().isub(x, y),
            3 => self.b.ins().imul(x, y),
            4 => self.b.ins().band(x, y),
            5 => self.b.ins().bor(x, y),
            6 => self.b.ins().bxor(x, y),
            shift @ 7..=11 => {
                let of = self.random.pick(&INTS);
                let amount = self.value(of);
                match shift {
                    7 => self.b.ins().ishl(x, amount),
                    8 => self.b.ins().ushr(x, amount),
                    9 => self.b.ins().sshr(x, amount),
                    10 => self.b.ins().rotl(x, amount),
                    _ => self.b.ins().rotr(x, amount),
                }
            }
            12 => self.b.ins().ineg(x),
            13 => self.b.ins().bnot(x),
            14 => self.b.ins().clz(x),
            15 => self.b.ins().ctz(x),
            16 => self.b.ins().popcnt(x),
            17 if ty != I8 => self.b.ins().bswap(x),
            18 => self.b.ins().bitrev(x),
            19 => {
                let cond = self.value(ty);
                self.b.ins().bitselect(cond, x, y)
            }
            20 if ty == I8 => self.comparison(),
            21 => {
                let of = self.random.pick(&INTS);
                let value = self.value(of);
                self.b.ins().bmask(ty, value)
            }
            22 | 23 => self.widened_or_narrowed(ty),
            24 if ty == I128 => {
                let (low, high) = (self.value(I64), self.value(I64));
                self.b.ins().iconcat(low, high)
            }
            24 if ty == I64 => {
                let whole = self.value(I128);
                let (low, high) = self.b.ins().isplit(whole);
                if self.random.once_in(2) { low } else { high }
            }
            25 if ty == I32 || ty == I64 => {
                let of = if ty == I32 { F32 } else { F64 };
                let float = self.value(of);
                let float = self.canonical(float, of);
                self.b.ins().bitcast(ty, MemFlagsData::new(), float)
            }
            26 | 27 if ty == I32 || ty == I64 => {
                let of = self.random.pick(&FLOATS);
                let float = self.value(of);
                if self.random.once_in(2) {
                    self.b.ins().fcvt_to_uint_sat(ty, float)
                } else {
                    self.b.ins().fcvt_to_sint_sat(ty, float)
                }
            }
            other if ty != I128 => self.narrow_int(other, x, y, ty),
            _ => self.b.ins().isub(y, x),
        }
    }

    /// What Cranelift does not do at 128 bits.
    fn narrow_int(&mut self, choice: usize, x: Value, y: Value, ty: Type) -> Value {
        match choice {
            28 => self.b.ins().smin(x, y),
            29 => self.b.ins().smax(x, y),
            30 => self.b.ins().umin(x, y),
            31 => self.b.ins().umax(x, y),
            32 => self.b.ins().iabs(x),
            33 => self.b.ins().umulhi(x, y),
            34 => self.b.ins().smulhi(x, y),
            35 => self.b.ins().cls(x),
            17 | 20 | 24 => {
                // Odd and positive.
                let odd = self.b.ins().bor_imm_s(y, 1);
                let most = (u64::MAX >> (65 - ty.bits())).cast_signed();
                let divisor = self.b.ins().band_imm_u(odd, most);
                match self.random.below(4) {
                    0 => self.b.ins().udiv(x, divisor),
                    1 => self.b.ins().urem(x, divisor),
                    2 => self.b.ins().sdiv(x, divisor),
                    _ => self.b.ins().srem(x, divisor),
                }
            }
            _ => {
                let (value, overflow) = match self.random.below(6) {
                    0 => self.b.ins().uadd_overflow(x, y),
                    1 => self.b.ins().sadd_overflow(x, y),
                    2 => self.b.ins().usub_overflow(x, y),
                    3 => self.b.ins().ssub_overflow(x, y),
                    4 => self.b.ins().umul_overflow(x, y),
                    _ => self.b.ins().smul_overflow(x, y),
                };
                if self.random.once_in(2) || ty == I8 {
                    let of = self.value(ty);
                    self.b.ins().select(overflow, value, of)
                } else {
                    self.b.ins().uextend(ty, overflow)
                }
            }
        }
    }

    fn widened_or_narrowed(&mut self, ty: Type) -> Value {
        let from = self.any_int();
        let value = self.value(from);
        match from.bits().cmp(&ty.bits()) {
            std::cmp::Ordering::Less if self.random.once_in(2) || self.plain && ty == I16 => self.b.ins().uextend(ty, value),
            std::cmp::Ordering::Less => self.b.ins().sextend(ty, value),
            std::cmp::Ordering::Equal => value,
            std::cmp::Ordering::Greater => self.b.ins().ireduce(ty, value),
        }
    }

    fn float(&mut self, ty: Type) -> Value {
        let (x, y) = (self.value(ty), self.value(ty));
        match self.random.below(if self.plain { 20 } else { 22 }) {
            0 | 1 => self.b.ins().fadd(x, y),
            2 | 3 => self.b.ins().fsub(x, y),
            4 | 5 => self.b.ins().fmul(x, y),
            6 => self.b.ins().fdiv(x, y),
            7 => self.b.ins().fmin(x, y),
            8 => self.b.ins().fmax(x, y),
            9 => self.b.ins().sqrt(x),
            10 => self.b.ins().ceil(x),
            11 => self.b.ins().floor(x),
            12 => self.b.ins().trunc(x),
            13 => self.b.ins().nearest(x),
            14 => self.b.ins().fneg(x),
            15 => self.b.ins().fabs(x),
            16 => {
                let sign = self.canonical(y, ty);
                self.b.ins().fcopysign(x, sign)
            }
            17 if ty == F64 => {
                let narrow = self.value(F32);
                self.b.ins().fpromote(F64, narrow)
            }
            17 => {
                let wide = self.value(F64);
                self.b.ins().fdemote(F32, wide)
            }
            18 => {
                let of = self.random.pick(&INTS);
                let int = self.value(of);
                let is_unsigned = self.random.once_in(2) || self.plain && of.bits() < 32;
                if is_unsigned { self.b.ins().fcvt_from_uint(ty, int) } else { self.b.ins().fcvt_from_sint(ty, int) }
            }
            19 => {
                let bits = self.value(if ty == F32 { I32 } else { I64 });
                self.b.ins().bitcast(ty, MemFlagsData::new(), bits)
            }
            20 => {
                let z = self.value(ty);
                self.b.ins().fma(x, y, z)
            }
            _ => {
                let (x, y) = (self.canonical(x, ty), self.canonical(y, ty));
                match self.random.below(3) {
                    0 => self.b.ins().band(x, y),
                    1 => self.b.ins().bor(x, y),
                    _ => self.b.ins().bxor(x, y),
                }
            }
        }
    }

    /// The float, or the canonical NaN.
    pub(super) fn canonical(&mut self, value: Value, ty: Type) -> Value {
        let nan = if ty == F32 { self.b.ins().f32const(f32::NAN) } else { self.b.ins().f64const(f64::NAN) };
        let is_nan = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        self.b.ins().select(is_nan, nan, value)
    }

    /// An address in the slot, aligned for `ty`.
    pub(super) fn address(&mut self, ty: Type) -> Value {
        let bytes = ty.bytes();
        let offset = self.random.below((super::SLOT / bytes) as usize) as u32 * bytes;
        if self.random.once_in(2) {
            return self.place(offset.cast_signed());
        }
        let base = self.place(0);
        let index = self.value(I64);
        let masked = self.b.ins().band_imm_u(index, i64::from((super::SLOT - 1) & !(bytes - 1)));
        if self.random.once_in(2) {
            return self.b.ins().iadd(base, masked);
        }
        // There and back again: sums within each other.
        let away = self.random.pick(&[8, -8, 1 << 28, 1 << 31, -(1 << 40)]);
        let far = self.b.ins().iadd_imm_s(base, away);
        let sum = self.b.ins().iadd(far, masked);
        self.b.ins().iadd_imm_s(sum, -away)
    }

    pub(super) fn flags(&mut self) -> MemFlagsData {
        let all = [MemFlagsData::new(), MemFlagsData::trusted(), MemFlagsData::new().with_notrap()];
        self.random.pick(&all)
    }

    fn load(&mut self, ty: Type) -> Value {
        let flags = self.flags();
        if ty == I64 && self.random.once_in(3) {
            let address = self.address(I32);
            return match self.random.below(6) {
                0 => self.b.ins().uload8(I64, flags, address, 0),
                1 => self.b.ins().sload8(I64, flags, address, 0),
                2 => self.b.ins().uload16(I64, flags, address, 0),
                3 => self.b.ins().sload16(I64, flags, address, 0),
                4 => self.b.ins().uload32(flags, address, 0),
                _ => self.b.ins().sload32(flags, address, 0),
            };
        }
        let address = self.address(ty);
        if INTS.contains(&ty) && self.random.once_in(4) {
            return self.b.ins().atomic_load(ty, flags, address);
        }
        self.b.ins().load(ty, flags, address, 0)
    }

    pub(super) fn any_type(&mut self) -> Type {
        if self.plain { self.random.pick(&PLAIN) } else { self.random.pick(&TYPES) }
    }

    fn any_int(&mut self) -> Type {
        if self.plain { self.random.pick(&INTS) } else { self.random.pick(&[I8, I16, I32, I64, I128]) }
    }
}
