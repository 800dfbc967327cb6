//! Functions that call themselves: the unit has copies of the body, one per level, and LLVM inlines each into the one before.
//! The last level calls through the code cell as everybody does, so that new code is noticed after so many calls.
//!
//! Only the function itself is inlined. Its copies go where it goes: reloading or invalidating the bead replaces the unit, and
//! nobody else needs to be told. (Other callees would have to be recorded as what the unit depends on.)

use cranelift_codegen::ir::{Function, UserExternalName, UserFuncName};

use crate::lower::NEXT;

/// Instructions of all levels together, inlined into each other.
const MAX_INSTRUCTIONS: usize = 600;
/// Levels below the entry. Two took a third off `fib`; four and six gave half of that back.
const MAX_LEVELS: usize = 2;

/// The name of a level; the entry is level 0.
fn level(index: usize) -> UserExternalName {
    UserExternalName::new(0, index as u32)
}

/// How many levels are worth it for a function of so many instructions that calls itself in so many places.
pub(super) fn levels(instructions: usize, calls: usize) -> usize {
    let (mut total, mut copies) = (instructions, 1usize);
    for levels in 0..MAX_LEVELS {
        copies = copies.saturating_mul(calls);
        total = total.saturating_add(copies.saturating_mul(instructions));
        if total > MAX_INSTRUCTIONS {
            return levels;
        }
    }
    MAX_LEVELS
}

/// The unit of a function that calls [`NEXT`], which becomes `levels` copies, and of the same function as it calls itself
/// through its code cell, which becomes the last level.
pub(super) fn unfold(calling_next: &Function, last: Function, levels: usize) -> Vec<Function> {
    let mut unit: Vec<Function> = (0..levels).map(|_| calling_next.clone()).collect();
    unit.push(last);
    for (index, func) in unit.iter_mut().enumerate() {
        let own = level(index);
        func.name = UserFuncName::User(own);
        let next = func.params.user_named_funcs().iter().find(|(_, name)| **name == NEXT).map(|(reference, _)| reference);
        if let Some(next) = next {
            func.params.reset_user_func_name(next, level(index + 1));
        }
    }
    unit
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::{ExtFuncData, ExternalName, Function, Signature};
    use cranelift_codegen::isa::CallConv;

    use super::{MAX_INSTRUCTIONS, MAX_LEVELS, NEXT, levels, unfold};

    #[test]
    fn levels_are_bounded_by_what_they_expand_to() {
        assert_eq!(levels(40, 1), MAX_LEVELS);
        assert_eq!(levels(MAX_INSTRUCTIONS, 1), 0);
        assert_eq!(levels(MAX_INSTRUCTIONS / 3, 1), 2);
        assert_eq!(levels(MAX_INSTRUCTIONS / 3, 2), 1);
        assert_eq!(levels(1, usize::MAX), 0);
    }

    #[test]
    fn each_level_calls_the_next_and_the_last_does_not() {
        let mut calling = Function::new();
        let signature = calling.import_signature(Signature::new(CallConv::SystemV));
        let name = ExternalName::user(calling.declare_imported_user_function(NEXT));
        calling.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
        let unit: Vec<String> = unfold(&calling, Function::new(), 2).iter().map(|func| func.display().to_string()).collect();
        assert_eq!(unit.len(), 3);
        assert!(unit[0].contains("function u0:0") && unit[0].contains("= u0:1"), "{}", unit[0]);
        assert!(unit[1].contains("function u0:1") && unit[1].contains("= u0:2"), "{}", unit[1]);
        assert!(unit[2].contains("function u0:2") && !unit[2].contains("= u0:"), "{}", unit[2]);
    }
}
