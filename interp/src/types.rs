//! WebAssembly types as the VM keeps them: small, comparable, free of the decoder's lifetimes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use tierup::abi::{AbiType, ArgPlan};

/// The type of a value. `v128` is not here: the VM refuses SIMD when it loads a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// Nullable reference to a function.
    FuncRef,
    /// Nullable reference to something of the host's.
    ExternRef,
}

impl ValType {
    /// Whether values of this type are references.
    pub const fn is_reference(self) -> bool {
        matches!(self, Self::FuncRef | Self::ExternRef)
    }

    /// A slot of this type from a register whose upper half may be anything.
    pub(crate) const fn canonical(self, register: u64) -> u64 {
        match self {
            Self::I32 | Self::F32 => register & 0xffff_ffff,
            _ => register,
        }
    }

    /// The type as the machine-code ABI sees it: references are addresses or numbers.
    fn abi(self) -> AbiType {
        match self {
            Self::I32 => AbiType::I32,
            Self::F32 => AbiType::F32,
            Self::F64 => AbiType::F64,
            Self::I64 | Self::FuncRef | Self::ExternRef => AbiType::I64,
        }
    }

    /// The decoder's type, or `None` for one the VM does not know (validation has refused it already, or will).
    pub(crate) fn from_wasm(ty: wasmparser::ValType) -> Option<Self> {
        Some(match ty {
            wasmparser::ValType::I32 => Self::I32,
            wasmparser::ValType::I64 => Self::I64,
            wasmparser::ValType::F32 => Self::F32,
            wasmparser::ValType::F64 => Self::F64,
            wasmparser::ValType::Ref(reference) => Self::from_ref(reference)?,
            wasmparser::ValType::V128 => return None,
        })
    }

    /// As [`ValType::from_wasm`], for a reference type.
    pub(crate) fn from_ref(ty: wasmparser::RefType) -> Option<Self> {
        match ty {
            wasmparser::RefType::FUNCREF => Some(Self::FuncRef),
            wasmparser::RefType::EXTERNREF => Some(Self::ExternRef),
            _ => None,
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::FuncRef => "funcref",
            Self::ExternRef => "externref",
        })
    }
}

/// A function's parameters and results. Cloning shares.
#[derive(Clone)]
pub struct FuncType(Arc<Signature>);

struct Signature {
    params: Box<[ValType]>,
    results: Box<[ValType]>,
    /// Where arguments travel in native calls; made when the first one is.
    plan: OnceLock<ArgPlan>,
}

impl PartialEq for FuncType {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.params() == other.params() && self.results() == other.results())
    }
}

impl Eq for FuncType {}

/// By parameters, then by results: for maps.
impl Ord for FuncType {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.params(), self.results()).cmp(&(other.params(), other.results()))
    }
}

impl PartialOrd for FuncType {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for FuncType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.params().hash(state);
        self.results().hash(state);
    }
}

impl FuncType {
    /// A function type.
    pub fn new(params: impl IntoIterator<Item = ValType>, results: impl IntoIterator<Item = ValType>) -> Self {
        let (params, results) = (params.into_iter().collect(), results.into_iter().collect());
        Self(Arc::new(Signature { params, results, plan: OnceLock::new() }))
    }

    /// The parameters' types, in order.
    pub fn params(&self) -> &[ValType] {
        &self.0.params
    }

    /// The results' types, in order.
    pub fn results(&self) -> &[ValType] {
        &self.0.results
    }

    /// How many slots a call of this type uses at its base: the arguments go in, the results come out, in place.
    pub(crate) fn slots(&self) -> usize {
        self.params().len().max(self.results().len())
    }

    /// Where arguments and result travel in a native call.
    pub(crate) fn plan(&self) -> &ArgPlan {
        self.0.plan.get_or_init(|| {
            let params: Vec<AbiType> = self.params().iter().map(|ty| ty.abi()).collect();
            let result = match self.results() {
                &[one] => Some(one.abi()),
                _ => None,
            };
            ArgPlan::new(&params, result)
        })
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, types: &[ValType]) -> fmt::Result {
            f.write_str("(")?;
            for (i, ty) in types.iter().enumerate() {
                write!(f, "{}{ty}", if i == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        }
        list(f, self.params())?;
        f.write_str(" -> ")?;
        list(f, self.results())
    }
}

impl fmt::Debug for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A global's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GlobalType {
    /// What it holds.
    pub content: ValType,
    /// Whether it may be written.
    pub mutable: bool,
}

/// Bounds of a memory (in 64 KiB pages) or of a table (in elements).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Size at creation.
    pub minimum: u64,
    /// Size it may never pass, if declared.
    pub maximum: Option<u64>,
}

impl Limits {
    /// Whether something that has `current` units now and these limits may be imported where `wanted` is declared.
    pub(crate) fn satisfies(&self, current: u64, wanted: &Limits) -> bool {
        current >= wanted.minimum
            && match (self.maximum, wanted.maximum) {
                (_, None) => true,
                (Some(have), Some(want)) => have <= want,
                (None, Some(_)) => false,
            }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.maximum {
            Some(maximum) => write!(f, "{}..={maximum}", self.minimum),
            None => write!(f, "{}..", self.minimum),
        }
    }
}

/// A table's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableType {
    /// What its elements are.
    pub element: ValType,
    /// How many there may be.
    pub limits: Limits,
}

/// A memory's type. Limits are in pages of 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemoryType {
    /// How many pages there may be.
    pub limits: Limits,
}

/// The type of something imported or exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => write!(f, "function {ty}"),
            Self::Table(ty) => write!(f, "table of {} {}", ty.limits, ty.element),
            Self::Memory(ty) => write!(f, "memory of {} pages", ty.limits),
            Self::Global(ty) => write!(f, "{} global {}", if ty.mutable { "mutable" } else { "constant" }, ty.content),
        }
    }
}
