//! What instructions work on.

/// A general purpose register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gpr(u8);

impl Gpr {
    /// Its number in encodings, below 16.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }
}

macro_rules! registers {
    ($($name:ident $number:literal)*) => {
        $(
            #[doc = concat!("Register ", $number, ".")]
            pub const $name: Gpr = Gpr($number);
        )*
    };
}

registers!(RAX 0 RCX 1 RDX 2 RBX 3 RSP 4 RBP 5 RSI 6 RDI 7 R8 8 R9 9 R10 10 R11 11 R12 12 R13 13 R14 14 R15 15);

/// A vector register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Xmm(u8);

impl Xmm {
    /// The register of that number.
    ///
    /// # Panics
    ///
    /// If there is none: from 16 on.
    #[inline]
    pub const fn new(number: u8) -> Self {
        assert!(number < 16, "there are 16 vector registers");
        Self(number)
    }

    /// Its number in encodings, below 16.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A memory operand. Scales are powers of two, 3 at most, and the stack pointer is no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mem {
    /// `[base + disp]`
    Base(Gpr, i32),
    /// `[base + (index << scale) + disp]`
    Index(Gpr, Gpr, u8, i32),
    /// `[(index << scale) + disp]`
    Scaled(Gpr, u8, i32),
    /// A constant of the pool.
    Pool(Constant),
}

/// A constant behind the code: what [`Assembler::constant`](crate::Assembler::constant) and
/// [`Assembler::wide_constant`](crate::Assembler::wide_constant) return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constant {
    /// Sixteen bytes, by number.
    Wide(u32),
    /// Eight bytes, by number.
    Narrow(u32),
}

/// A register or memory: what a ModRM byte names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rm {
    /// A general purpose register.
    Gpr(Gpr),
    /// A vector register.
    Xmm(Xmm),
    /// Memory.
    Mem(Mem),
}

impl From<Gpr> for Rm {
    #[inline]
    fn from(reg: Gpr) -> Self {
        Rm::Gpr(reg)
    }
}

impl From<Xmm> for Rm {
    #[inline]
    fn from(reg: Xmm) -> Self {
        Rm::Xmm(reg)
    }
}

impl From<Mem> for Rm {
    #[inline]
    fn from(mem: Mem) -> Self {
        Rm::Mem(mem)
    }
}

/// Operand width of an integer instruction. What is written narrow clears the register's upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// Precision of a float instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}

impl Precision {
    /// The width of its bits.
    #[inline]
    pub fn width(self) -> Width {
        match self {
            Precision::Single => Width::W32,
            Precision::Double => Width::W64,
        }
    }

    /// The prefix of a scalar instruction.
    #[inline]
    pub(crate) fn scalar(self) -> u8 {
        match self {
            Precision::Single => 0xf3,
            Precision::Double => 0xf2,
        }
    }

    /// The prefix of a packed one.
    #[inline]
    pub(crate) fn packed(self) -> u8 {
        match self {
            Precision::Single => 0,
            Precision::Double => 0x66,
        }
    }
}

/// When a condition holds, by its number in encodings. "Below" and "above" are of unsigned numbers, and of floats that were
/// [compared](crate::Assembler::ucomis); "less" and "greater" are of signed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names that say it")]
pub enum Cond {
    Overflow = 0,
    NoOverflow = 1,
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
    Negative = 8,
    NotNegative = 9,
    /// Of compared floats: one of them is NaN.
    Parity = 10,
    /// Of compared floats: neither is NaN.
    NoParity = 11,
    Less = 12,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

impl Cond {
    /// What holds whenever this does not.
    #[inline]
    pub fn inverse(self) -> Self {
        use Cond::*;
        match self {
            Overflow => NoOverflow,
            NoOverflow => Overflow,
            Below => AboveOrEqual,
            AboveOrEqual => Below,
            Equal => NotEqual,
            NotEqual => Equal,
            BelowOrEqual => Above,
            Above => BelowOrEqual,
            Negative => NotNegative,
            NotNegative => Negative,
            Parity => NoParity,
            NoParity => Parity,
            Less => GreaterOrEqual,
            GreaterOrEqual => Less,
            LessOrEqual => Greater,
            Greater => LessOrEqual,
        }
    }
}
