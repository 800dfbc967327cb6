//! `tierup run --serve`: the program's broker behind a socket.

use std::path::Path;

use tierup_interp::{Engine, FuncHandle};
use tierup_service::Service;

use crate::error::CliError;

/// Serves at `socket` until what is returned is dropped.
///
/// # Errors
///
/// [`CliError::Serve`] when nobody can connect there.
pub(crate) fn serve(engine: &Engine, socket: &Path) -> Result<Service<FuncHandle>, CliError> {
    Ok(Service::builder(engine.broker())
        .alias(|function: &FuncHandle| alias(function.index()))
        // The same body from scratch: the command has no other.
        .on_reload(|_, function: &FuncHandle| Ok(function.clone()))
        .serve(socket)?)
}

/// What a function is called besides its name.
pub(crate) fn alias(index: u32) -> String {
    format!("function {index}")
}
