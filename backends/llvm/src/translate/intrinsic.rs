//! LLVM's intrinsics, by name.

use inkwell::{
    intrinsics::Intrinsic,
    types::BasicTypeEnum,
    values::{BasicMetadataValueEnum, BasicValueEnum, FunctionValue},
};

use super::Translator;
use crate::refusal::Refusal;

impl<'ctx> Translator<'ctx, '_> {
    /// Calls an intrinsic overloaded on `types` for its value.
    pub(super) fn intrinsic(
        &self,
        name: &str,
        types: &[BasicTypeEnum<'ctx>],
        args: &[BasicMetadataValueEnum<'ctx>],
    ) -> Result<BasicValueEnum<'ctx>, Refusal> {
        let call = self.builder.build_direct_call(self.declare_intrinsic(name, types)?, args, "")?;
        call.try_as_basic_value().basic().ok_or_else(|| Refusal::Llvm(format!("{name} has no value")))
    }

    /// Calls an intrinsic without a value.
    pub(super) fn effect(&self, name: &str, args: &[BasicMetadataValueEnum<'ctx>]) -> Result<(), Refusal> {
        self.builder.build_direct_call(self.declare_intrinsic(name, &[])?, args, "")?;
        Ok(())
    }

    fn declare_intrinsic(&self, name: &str, types: &[BasicTypeEnum<'ctx>]) -> Result<FunctionValue<'ctx>, Refusal> {
        let intrinsic = Intrinsic::find(name);
        let function = intrinsic.and_then(|intrinsic| intrinsic.get_declaration(self.module, types));
        function.ok_or_else(|| Refusal::Llvm(format!("no intrinsic {name}")))
    }
}
