//! The engines: their names, where each can run, and the two things asked of those that live in this process.

mod silverfir;
mod tierup;
mod wasmi;
mod wasmtime;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Error};
use crate::wasi::Wasi;

/// One engine in one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub(crate) enum EngineId {
    /// Tierup, interpreted only.
    TierupInterp,
    /// Tierup, each function compiled before its first call.
    TierupBaseline,
    /// Tierup, each function compiled by LLVM before its first call.
    TierupOpt,
    /// Tierup as it comes: interpreted, and compiled in the background once hot, by LLVM too where its helper is found.
    TierupAuto,
    /// Silverfir-nano's JIT: everything compiled at instantiation.
    Silverfir,
    /// Silverfir-nano's interpreter.
    SilverfirInterp,
    /// wasmi as it comes: validated at load, translated at a function's first call.
    Wasmi,
    /// wasmi, validated and translated at a function's first call.
    WasmiLazy,
    /// wasmi, translated at load.
    WasmiEager,
    /// Wasmtime with Cranelift, as it comes.
    Wasmtime,
    /// Wasmtime with Winch.
    WasmtimeWinch,
    /// Node as it comes: Liftoff, then TurboFan.
    Node,
    /// Node without Liftoff: TurboFan only.
    NodeTurbofan,
    /// The kernel's C source, compiled by clang for this machine: what the others are trying to reach.
    Native,
}

/// Where an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In this binary.
    Here,
    /// In `node`, with this extra flag.
    Node(Option<&'static str>),
    /// In a program of its own, made from C.
    Native,
}

impl EngineId {
    /// Every engine, in the order of the tables.
    pub(crate) const ALL: [Self; 14] = [
        Self::TierupInterp,
        Self::TierupBaseline,
        Self::TierupOpt,
        Self::TierupAuto,
        Self::Silverfir,
        Self::SilverfirInterp,
        Self::Wasmi,
        Self::WasmiLazy,
        Self::WasmiEager,
        Self::Wasmtime,
        Self::WasmtimeWinch,
        Self::Node,
        Self::NodeTurbofan,
        Self::Native,
    ];

    /// The name on the command line and in the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TierupInterp => "tierup-interp",
            Self::TierupBaseline => "tierup-baseline",
            Self::TierupOpt => "tierup-opt",
            Self::TierupAuto => "tierup-auto",
            Self::Silverfir => "silverfir",
            Self::SilverfirInterp => "silverfir-interp",
            Self::Wasmi => "wasmi",
            Self::WasmiLazy => "wasmi-lazy",
            Self::WasmiEager => "wasmi-eager",
            Self::Wasmtime => "wasmtime",
            Self::WasmtimeWinch => "wasmtime-winch",
            Self::Node => "node",
            Self::NodeTurbofan => "node-turbofan",
            Self::Native => "native",
        }
    }

    /// Whether it is Tierup.
    pub(crate) const fn is_ours(self) -> bool {
        self.tier().is_some()
    }

    /// The `--tier` of the `tierup` command, if it is Tierup.
    pub(crate) const fn tier(self) -> Option<&'static str> {
        match self {
            Self::TierupInterp => Some("interp"),
            Self::TierupBaseline => Some("baseline"),
            Self::TierupOpt => Some("opt"),
            Self::TierupAuto => Some("auto"),
            _ => None,
        }
    }

    /// Whether all it ever runs is interpreted.
    pub(crate) const fn interprets(self) -> bool {
        matches!(self, Self::TierupInterp | Self::SilverfirInterp | Self::Wasmi | Self::WasmiLazy | Self::WasmiEager)
    }

    pub(crate) const fn home(self) -> Home {
        match self {
            Self::Node => Home::Node(None),
            Self::NodeTurbofan => Home::Node(Some("--no-liftoff")),
            Self::Native => Home::Native,
            _ => Home::Here,
        }
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EngineId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|id| id.name() == name).ok_or_else(|| Error::Unknown {
            what: "engine",
            name: name.to_owned(),
            known: known(),
        })
    }
}

impl TryFrom<String> for EngineId {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<EngineId> for &'static str {
    fn from(id: EngineId) -> Self {
        id.name()
    }
}

/// A loaded kernel: an engine with one instance, ready to be called.
pub(crate) trait Kernel {
    /// Calls the export `run`.
    fn run(&mut self, n: i32) -> Result<i32, EngineError>;

    /// What its machine code cost so far, where the engine can tell.
    fn cost(&self) -> Option<Cost> {
        None
    }
}

/// What machine code cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds spent compiling, on whatever threads.
    pub(crate) compile: f64,
    /// Bytes of the code that can be entered.
    pub(crate) code: u64,
}

/// Makes a fresh engine and instantiates the module in it.
pub(crate) fn load(id: EngineId, wasm: &[u8]) -> Result<Box<dyn Kernel>, EngineError> {
    Ok(match id {
        EngineId::TierupInterp | EngineId::TierupBaseline | EngineId::TierupOpt | EngineId::TierupAuto => {
            Box::new(tierup::load(id, wasm)?)
        }
        EngineId::Silverfir | EngineId::SilverfirInterp => Box::new(silverfir::load(id, wasm)?),
        EngineId::Wasmi | EngineId::WasmiLazy | EngineId::WasmiEager => Box::new(wasmi::load(id, wasm)?),
        EngineId::Wasmtime | EngineId::WasmtimeWinch => Box::new(wasmtime::load(id, wasm)?),
        EngineId::Node | EngineId::NodeTurbofan | EngineId::Native => return Err(elsewhere(id)),
    })
}

/// Runs the module's `_start` and returns the guest's exit code.
///
/// The caller is about to end the process: what the engine built is leaked, so that no peer is charged for tidying up.
pub(crate) fn run_program(id: EngineId, wasm: &[u8], wasi: Wasi) -> Result<i32, EngineError> {
    match id {
        EngineId::Silverfir | EngineId::SilverfirInterp => silverfir::run_program(id, wasm, wasi),
        EngineId::Wasmi | EngineId::WasmiLazy | EngineId::WasmiEager => wasmi::run_program(id, wasm, wasi),
        EngineId::Wasmtime | EngineId::WasmtimeWinch => wasmtime::run_program(id, wasm, wasi),
        EngineId::TierupInterp
        | EngineId::TierupBaseline
        | EngineId::TierupOpt
        | EngineId::TierupAuto
        | EngineId::Node
        | EngineId::NodeTurbofan
        | EngineId::Native => Err(elsewhere(id)),
    }
}

fn elsewhere(engine: EngineId) -> EngineError {
    EngineError { engine, message: "does not run in this process".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(func (export "run") (param i32) (result i32) local.get 0 i32.const 7 i32.add)`
    const ADD_SEVEN: &[u8] = b"\0asm\x01\0\0\0\x01\x06\x01\x60\x01\x7f\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a\x09\x01\x07\0\x20\0\x41\x07\x6a\x0b";

    #[test]
    fn every_engine_here_runs_a_kernel() {
        for id in EngineId::ALL {
            if id.home() == Home::Here {
                let mut kernel = load(id, ADD_SEVEN).expect("loads");
                assert_eq!(kernel.run(35).expect("runs"), 42, "{id}");
            }
        }
    }

    #[test]
    fn every_engine_here_refuses_garbage() {
        for id in EngineId::ALL {
            if id.home() == Home::Here {
                assert!(load(id, b"\0asm\x01\0\0\0garbage").is_err(), "{id}");
            }
        }
    }

    #[test]
    fn names_are_unique_and_parse() {
        for id in EngineId::ALL {
            assert_eq!(id.name().parse::<EngineId>().expect("known"), id);
        }
        assert!("wasm3".parse::<EngineId>().is_err());
    }
}
