//! A program with what it was granted: how it is linked and called.

use std::path::Path;

use tierup_interp::{Extern, Func, Instance, Linker, Module, Store};
use tierup_wasi::{Access, WasiCtx, WasiCtxBuilder};

use crate::error::CliError;
use crate::options::ProgramOptions;
use crate::values;

/// What the program may see: its arguments, what it was granted, and the process's standard streams.
///
/// # Errors
///
/// [`CliError::Grant`].
pub(crate) fn grants(options: &ProgramOptions) -> Result<WasiCtxBuilder, CliError> {
    let mut builder = WasiCtxBuilder::new().inherit_stdio()?.arg(program_name(options.module()))?;
    if options.invoke.is_none() {
        builder = builder.args(options.args())?;
    }
    for (key, value) in &options.env {
        builder = builder.env(key, value)?;
    }
    for grant in &options.dirs {
        builder = builder.preopened_dir(&grant.host, &grant.guest, Access::ReadWrite)?;
    }
    Ok(builder)
}

fn program_name(module: &Path) -> String {
    module.file_name().unwrap_or(module.as_os_str()).to_string_lossy().into_owned()
}

/// Links, instantiates and calls; `result` is given what the function that was named returns, value by value. Whatever the guest does,
/// exits included, is in [`CliError::Module`].
///
/// # Errors
///
/// As said, [`CliError::NoFunction`], [`CliError::Arguments`], and what `result` says.
pub(crate) fn execute(
    options: &ProgramOptions,
    module: &Module,
    store: &mut Store<WasiCtx>,
    mut result: impl FnMut(String) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let failed = |source| CliError::Module { path: options.module().to_owned(), source };
    let mut linker = Linker::new();
    tierup_wasi::add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx);
    let instance = linker.instantiate(store, module).map_err(failed)?;
    let Some(name) = &options.invoke else {
        return find(options, &instance, store, "_start")?.call(store, &[]).map(drop).map_err(failed);
    };
    // A library is set up before its functions are called.
    if let Ok(initialize) = instance.func(store, "_initialize") {
        initialize.call(store, &[]).map_err(failed)?;
    }
    let func = find(options, &instance, store, name)?;
    let ty = func.ty(store).map_err(failed)?;
    let args = values::parse_all(&ty, options.args()).map_err(|message| CliError::Arguments { name: name.clone(), message })?;
    let results = func.call(store, &args).map_err(failed)?;
    results.iter().try_for_each(|value| result(values::show(value).to_string()))
}

fn find(options: &ProgramOptions, instance: &Instance, store: &Store<WasiCtx>, name: &str) -> Result<Func, CliError> {
    instance.func(store, name).map_err(|_| CliError::NoFunction {
        path: options.module().to_owned(),
        name: name.to_owned(),
        functions: instance
            .exports(store)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, item)| matches!(item, Extern::Func(_)).then_some(name))
            .collect(),
    })
}
