//! What CLIF says about accesses and branches, as LLVM metadata.

use cranelift_codegen::ir::AliasRegion;
use inkwell::values::{InstructionValue, MetadataValue};

use super::Translator;
use crate::refusal::Refusal;

/// How much likelier the branch that is not cold is.
const HOT_WEIGHT: u64 = 2000;

impl<'ctx> Translator<'ctx, '_> {
    /// Says which sides of a conditional branch lead to cold code.
    pub(super) fn weigh(&self, branch: InstructionValue<'ctx>, then_cold: bool, else_cold: bool) -> Result<(), Refusal> {
        if then_cold == else_cold {
            return Ok(());
        }
        let i32_type = self.context.i32_type();
        let weight = |cold: bool| i32_type.const_int(if cold { 1 } else { HOT_WEIGHT }, false).into();
        let name = self.context.metadata_string("branch_weights").into();
        let node = self.context.metadata_node(&[name, weight(then_cold), weight(else_cold)]);
        self.annotate(branch, "prof", node)
    }

    /// Says that what the access reads does not change.
    pub(super) fn invariant(&self, load: InstructionValue<'ctx>) -> Result<(), Refusal> {
        self.annotate(load, "invariant.load", self.context.metadata_node(&[]))
    }

    /// Puts the access into its alias region: a scalar type of its own in type-based alias analysis. Siblings do not alias, and
    /// accesses without a region alias everything, which is what CLIF means.
    pub(super) fn region(&self, access: InstructionValue<'ctx>, region: AliasRegion) -> Result<(), Refusal> {
        let id = self.func.dfg.alias_regions[region].user_id;
        let root = self.context.metadata_node(&[self.context.metadata_string("CLIF").into()]);
        let zero = self.context.i64_type().const_zero();
        let name = self.context.metadata_string(&format!("region {id}"));
        let ty = self.context.metadata_node(&[name.into(), root.into(), zero.into()]);
        self.annotate(access, "tbaa", self.context.metadata_node(&[ty.into(), ty.into(), zero.into()]))
    }

    fn annotate(&self, inst: InstructionValue<'ctx>, kind: &str, node: MetadataValue<'ctx>) -> Result<(), Refusal> {
        inst.set_metadata(node, self.context.get_kind_id(kind)).map_err(Refusal::from)
    }
}
