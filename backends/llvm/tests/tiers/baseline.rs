//! Functions through Cranelift, with the flags of `backends/ABI.md`.

use std::{collections::HashMap, mem::ManuallyDrop, sync::Arc};

use cranelift_codegen::{
    Context,
    ir::{ExternalName, Function, UserExternalName, UserFuncName},
    isa::OwnedTargetIsa,
    settings::{self, Configurable},
};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};

use super::{Symbols, name};

/// The host's instruction set. `wide_results` lets functions return more than the registers hold, which the ABI forbids.
pub(crate) fn isa(wide_results: bool) -> OwnedTargetIsa {
    let mut flags = settings::builder();
    for flag in ["enable_llvm_abi_extensions", "preserve_frame_pointers"] {
        flags.set(flag, "true").unwrap();
    }
    flags.set("opt_level", "speed").unwrap();
    if wide_results {
        flags.set("enable_multi_ret_implicit_sret", "true").unwrap();
    }
    cranelift_native::builder().unwrap().finish(settings::Flags::new(flags)).unwrap()
}

/// Compiled functions by name. Dropping it frees the code.
pub(crate) struct Baseline {
    module: ManuallyDrop<JITModule>,
    functions: HashMap<String, FuncId>,
}

impl Baseline {
    /// Compiles functions that call each other, or `imports`, by name.
    pub(crate) fn new(isa: &OwnedTargetIsa, functions: &[Function], imports: &Symbols) -> Result<Self, String> {
        let mut builder = JITBuilder::with_isa(Arc::clone(isa), default_libcall_names());
        builder.symbols(imports.iter().map(|(name, &address)| (name.clone(), address as *const u8)));
        let mut module = JITModule::new(builder);
        let mut ids = HashMap::new();
        for func in functions {
            let id = module.declare_function(&name(func), Linkage::Export, &func.signature);
            ids.insert(name(func), id.map_err(|error| error.to_string())?);
        }
        for func in functions {
            let id = ids[&name(func)];
            let mut context = Context::for_function(resolved(func, &mut module)?);
            context.func.name = UserFuncName::user(0, id.as_u32());
            module.define_function(id, &mut context).map_err(|error| format!("%{}: {error:?}", name(func)))?;
        }
        module.finalize_definitions().map_err(|error| error.to_string())?;
        Ok(Baseline { module: ManuallyDrop::new(module), functions: ids })
    }

    pub(crate) fn address(&self, name: &str) -> usize {
        self.module.get_finalized_function(self.functions[name]) as usize
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // SAFETY: taken once; the test runs nothing of it any more.
        unsafe { ManuallyDrop::take(&mut self.module).free_memory() };
    }
}

/// The function with `%name`s as the module's function numbers.
fn resolved(func: &Function, module: &mut JITModule) -> Result<Function, String> {
    let mut func = func.clone();
    for at in func.dfg.ext_funcs.keys().collect::<Vec<_>>() {
        let ExternalName::TestCase(name) = &func.dfg.ext_funcs[at].name else { continue };
        let name = String::from_utf8_lossy(name.raw()).into_owned();
        let signature = &func.dfg.signatures[func.dfg.ext_funcs[at].signature];
        let id = match module.get_name(&name) {
            Some(cranelift_module::FuncOrDataId::Func(id)) => id,
            _ => module.declare_function(&name, Linkage::Import, signature).map_err(|error| error.to_string())?,
        };
        let user = func.declare_imported_user_function(UserExternalName::new(0, id.as_u32()));
        func.dfg.ext_funcs[at].name = ExternalName::user(user);
    }
    Ok(func)
}
