//! Cranelift for this host, with the flags `ABI.md` asks for; made by the first compile.
//!
//! Asking the processor what it can do costs about 0.1 ms, more than a short program runs. A worker can afford that, the
//! thread that starts an engine cannot.

use std::sync::OnceLock;

use cranelift_codegen::{
    isa::OwnedTargetIsa,
    settings::{self, Configurable},
};
use tierup_broker::{Bailout, BailoutReason};

use super::{BackendError, OptLevel};
use crate::abi::SUPPORTED;

/// The host's instruction set at one optimization level.
pub(crate) struct HostIsa {
    level: OptLevel,
    isa: OnceLock<Result<OwnedTargetIsa, String>>,
}

impl HostIsa {
    /// Makes nothing yet.
    ///
    /// # Errors
    ///
    /// [`BackendError::UnsupportedTarget`].
    pub(crate) fn new(level: OptLevel) -> Result<Self, BackendError> {
        if SUPPORTED { Ok(HostIsa { level, isa: OnceLock::new() }) } else { Err(BackendError::UnsupportedTarget) }
    }

    /// The instruction set. The first call makes it.
    ///
    /// # Errors
    ///
    /// Terminal, [`BailoutReason::Unsupported`], when Cranelift does not know this processor.
    pub(crate) fn get(&self) -> Result<&OwnedTargetIsa, Bailout> {
        let isa = self.isa.get_or_init(|| host_isa(self.level));
        isa.as_ref().map_err(|why| {
            let what = format!("this host: {why}");
            Bailout::terminal(BailoutReason::Unsupported { what })
        })
    }
}

fn host_isa(level: OptLevel) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let level = match level {
        OptLevel::None => "none",
        OptLevel::Quick | OptLevel::Speed => "speed",
    };
    for (name, value) in [
        ("opt_level", level),
        // The convention both compilers share; frame walks rely on the frame pointers.
        ("enable_llvm_abi_extensions", "true"),
        ("enable_multi_ret_implicit_sret", "false"),
        ("preserve_frame_pointers", "true"),
        // Frames larger than the red zone are refused, so none needs probing.
        ("enable_probestack", "false"),
        // Nothing unwinds through generated code.
        ("unwind_info", "false"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        // Verified once, before, where errors can be told from faults of Cranelift's own.
        ("enable_verifier", "false"),
    ] {
        flags.set(name, value).map_err(|error| error.to_string())?;
    }
    let isa = cranelift_native::builder()?;
    isa.finish(settings::Flags::new(flags)).map_err(|error| error.to_string())
}
