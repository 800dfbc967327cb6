//! Tierup itself, through its public API as any embedder would use it.
//!
//! Kernels only: WASI programs are measured with the `tierup` command.

use tierup_interp::{Config, Engine, Error, Func, Linker, Llvm, Module, Store, TierMode, Val};

use super::{Cost, EngineId, Kernel};
use crate::error::EngineError;

pub(super) struct Loaded {
    id: EngineId,
    engine: Engine,
    store: Store<()>,
    run: Func,
}

pub(super) fn load(id: EngineId, wasm: &[u8]) -> Result<Loaded, EngineError> {
    try_load(id, wasm).map_err(EngineError::from(id))
}

fn try_load(id: EngineId, wasm: &[u8]) -> Result<Loaded, Error> {
    let tier = match id {
        EngineId::TierupInterp => TierMode::Interp,
        EngineId::TierupBaseline => TierMode::Baseline,
        EngineId::TierupOpt => TierMode::Opt,
        _ => TierMode::Auto,
    };
    let engine = Engine::new(Config { tier, llvm: Some(Llvm::default()), ..Config::default() })?;
    let module = Module::new(&engine, wasm)?;
    let mut store = Store::new(&engine, ())?;
    let instance = Linker::new().instantiate(&mut store, &module)?;
    let run = instance.func(&store, "run")?;
    Ok(Loaded { id, engine, store, run })
}

impl Kernel for Loaded {
    fn run(&mut self, n: i32) -> Result<i32, EngineError> {
        let results = self.run.call(&mut self.store, &[Val::I32(n)]).map_err(EngineError::from(self.id))?;
        match results[..] {
            [Val::I32(result)] => Ok(result),
            _ => Err(EngineError::from(self.id)("`run` returned no i32")),
        }
    }

    fn cost(&self) -> Option<Cost> {
        let stats = self.engine.broker().stats();
        let compile = stats.tiers.iter().map(|tier| tier.compile_total.as_secs_f64()).sum();
        Some(Cost { compile, code: stats.code_live })
    }
}
