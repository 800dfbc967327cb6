//! Where calls come from, so that a backtrace can name what was inlined.
//!
//! A return address stands for a place in each of the functions that are under way there. LLVM carries that in debug
//! locations: every call has one, its line the CLIF source location, and inlining chains them. When all is inlined, the chains
//! are numbered and replaced by their numbers, as lines again. The object's line table then maps code to numbers, which is all
//! the debug information there needs to be. What is not in a backtrace has no location: it costs the passes nothing.

use std::{collections::HashMap, ptr};

use cranelift_codegen::ir::{Inst, SourceLoc};
use inkwell::{
    context::Context,
    debug_info::{
        AsDIScope, DICompileUnit, DIFlags, DIFlagsConstants, DILocation, DISubprogram, DWARFEmissionKind, DWARFSourceLanguage,
        DebugInfoBuilder,
    },
    llvm_sys::{
        debuginfo::{
            LLVMDIBuilderCreateDebugLocation, LLVMDILocationGetInlinedAt, LLVMDILocationGetLine, LLVMDILocationGetScope,
            LLVMInstructionGetDebugLoc, LLVMInstructionSetDebugLoc,
        },
        prelude::LLVMMetadataRef,
    },
    module::{FlagBehavior, Module},
    values::{AsValueRef, CallSiteValue, FunctionValue, InstructionOpcode, InstructionValue},
};
use tierup_backends::llvm::LocationFrame;

use super::Translator;
use crate::lines;

/// The version of debug information that LLVM 19 reads; other versions it drops.
const DEBUG_INFO_VERSION: u64 = 3;

/// Declares a unit's functions to LLVM's debug information.
pub(super) struct Scoper<'ctx> {
    context: &'ctx Context,
    builder: DebugInfoBuilder<'ctx>,
    unit: DICompileUnit<'ctx>,
}

impl<'ctx> Scoper<'ctx> {
    pub(super) fn new(context: &'ctx Context, module: &Module<'ctx>) -> Self {
        let number = |number| context.i32_type().const_int(number, false);
        module.add_basic_value_flag("Debug Info Version", FlagBehavior::Warning, number(DEBUG_INFO_VERSION));
        module.add_basic_value_flag("Dwarf Version", FlagBehavior::Warning, number(lines::DWARF_VERSION.into()));
        let (language, kind) = (DWARFSourceLanguage::C, DWARFEmissionKind::LineTablesOnly);
        let (builder, unit) =
            module.create_debug_info_builder(true, language, "unit", "", "", true, "", 0, "", kind, 0, false, false, "", "");
        Scoper { context, builder, unit }
    }

    /// Gives a function its scope.
    pub(super) fn declare(&self, function: FunctionValue<'ctx>, symbol: &str) -> DISubprogram<'ctx> {
        let (unit, file) = (self.unit.as_debug_info_scope(), self.unit.get_file());
        let ty = self.builder.create_subroutine_type(file, None, &[], DIFlags::ZERO);
        let scope = self.builder.create_function(unit, symbol, None, file, 0, ty, true, true, 0, DIFlags::ZERO, true);
        function.set_subprogram(scope);
        scope
    }

    fn location(&self, scope: DISubprogram<'ctx>, at: SourceLoc) -> DILocation<'ctx> {
        // LLVM's line 0 is nowhere.
        let line = if at.is_default() { 0 } else { at.bits() + 1 };
        self.builder.create_debug_location(self.context, line, 0, scope.as_debug_info_scope(), None)
    }
}

impl Translator<'_, '_> {
    /// What is built from now on comes from `inst`.
    pub(super) fn locate(&self, inst: Inst) {
        let opcode = self.func.dfg.insts[inst].opcode();
        if opcode.is_call() || opcode.can_trap() || opcode.can_load() || opcode.can_store() {
            let location = self.members.scoper.location(self.scope, self.func.srcloc(inst));
            self.builder.set_current_debug_location(location);
        } else {
            self.builder.unset_current_debug_location();
        }
    }
}

/// The scopes of a unit's functions, with their symbols.
pub(crate) type Scopes<'ctx> = Vec<(String, DISubprogram<'ctx>)>;

/// What is under way at numbered places, innermost first. Frames refer to functions by index into [`Scopes`].
pub(crate) type Chains = Vec<Vec<LocationFrame>>;

/// Numbers the chains of what may be in a backtrace: the line of each becomes its chain's index + 1. Other locations go. To be
/// run when all is inlined.
pub(crate) fn number<'ctx>(context: &'ctx Context, module: &Module<'ctx>, scopes: &Scopes<'ctx>) -> Chains {
    let known = scopes.iter().zip(0..).map(|((_, scope), index)| (scope.as_mut_ptr(), index));
    let mut numbering = Numbering { known: known.collect(), numbers: HashMap::new(), chains: Vec::new() };
    for function in module.get_functions() {
        let Some(scope) = function.get_subprogram() else { continue };
        for inst in function.get_basic_blocks().into_iter().flat_map(|block| block.get_instructions()) {
            // SAFETY: an instruction of a module that is alive.
            let location = unsafe { LLVMInstructionGetDebugLoc(inst.as_value_ref()) };
            if location.is_null() {
                continue;
            }
            let numbered = if may_be_in_backtrace(inst) {
                let line = numbering.number(location) + 1;
                // SAFETY: the scope is a subprogram of this context.
                unsafe { LLVMDIBuilderCreateDebugLocation(context.raw(), line, 0, scope.as_mut_ptr(), ptr::null_mut()) }
            } else {
                ptr::null_mut()
            };
            // SAFETY: an instruction of a module that is alive; a location in the function's own scope, or none.
            unsafe { LLVMInstructionSetDebugLoc(inst.as_value_ref(), numbered) };
        }
    }
    numbering.chains
}

/// Calls of what is no intrinsic, and accesses that may fault.
fn may_be_in_backtrace(inst: InstructionValue<'_>) -> bool {
    match inst.get_opcode() {
        InstructionOpcode::Call => {
            let callee = CallSiteValue::try_from(inst).ok().and_then(|call| call.get_called_fn_value());
            callee.is_none_or(|callee| !callee.get_name().to_bytes().starts_with(b"llvm."))
        }
        InstructionOpcode::Load | InstructionOpcode::Store => inst.get_volatile().unwrap_or(true),
        _ => false,
    }
}

/// Chains as they are found.
struct Numbering {
    known: HashMap<LLVMMetadataRef, u32>,
    numbers: HashMap<Vec<LocationFrame>, u32>,
    chains: Chains,
}

impl Numbering {
    /// The number of a location's chain.
    fn number(&mut self, mut location: LLVMMetadataRef) -> u32 {
        let mut chain = Vec::new();
        while !location.is_null() {
            // SAFETY: a location of a module that is alive; what it was inlined at is another, or null.
            let (line, scope, outer) = unsafe {
                (LLVMDILocationGetLine(location), LLVMDILocationGetScope(location), LLVMDILocationGetInlinedAt(location))
            };
            // A scope is a function's: there are no blocks within.
            chain.extend(self.known.get(&scope).map(|&function| LocationFrame { function, offset: line.checked_sub(1) }));
            location = outer;
        }
        *self.numbers.entry(chain).or_insert_with_key(|chain| {
            self.chains.push(chain.clone());
            self.chains.len() as u32 - 1
        })
    }
}
