//! Silverfir-nano 0.6: the small compiler and the generated interpreter, chosen per engine.

use std::cell::RefCell;
use std::rc::Rc;

use sf_nano_core::{Config, Engine, Func, Import, Instance, Tier, Value, WasmError};

use super::{EngineId, Kernel};
use crate::error::EngineError;
use crate::wasi::{self, Wasi};

pub(super) struct Loaded {
    id: EngineId,
    instance: Instance,
    run: Func,
}

pub(super) fn load(id: EngineId, wasm: &[u8]) -> Result<Loaded, EngineError> {
    let error = EngineError::from(id);
    let engine = engine(id)?;
    let instance = Instance::new(&engine, wasm, &[]).map_err(error)?;
    let run = instance.get_func("run").ok_or_else(|| error(WasmError::unlinkable("the module exports no function `run`")))?;
    Ok(Loaded { id, instance, run })
}

impl Kernel for Loaded {
    fn run(&mut self, n: i32) -> Result<i32, EngineError> {
        let error = EngineError::from(self.id);
        let mut results = [Value::Unknown];
        self.instance.call(&self.run, &[Value::I32(n)], &mut results).map_err(error)?;
        match results {
            [Value::I32(result)] => Ok(result),
            _ => Err(error(WasmError::invalid("`run` returned no i32"))),
        }
    }
}

pub(super) fn run_program(id: EngineId, wasm: &[u8], wasi: Wasi) -> Result<i32, EngineError> {
    let error = EngineError::from(id);
    let engine = engine(id)?;
    let wasi = Rc::new(RefCell::new(wasi));
    let imports: Vec<Import> = wasi::FUNCTIONS
        .iter()
        .map(|function| {
            let wasi = Rc::clone(&wasi);
            Import::func(wasi::MODULE, function.name, move |caller, args, results| {
                let args: Vec<u64> = args.iter().map(raw).collect();
                let memory = caller.memory_mut().ok_or_else(|| WasmError::trap("the module has no memory"))?;
                let errno =
                    function.call(&mut wasi.borrow_mut(), memory, &args).map_err(|exit| WasmError::exit_with_code(exit.0))?;
                if let Some(result) = results.first_mut() {
                    *result = Value::I32(errno);
                }
                Ok(())
            })
        })
        .collect();
    let mut instance = Instance::new(&engine, wasm, &imports).map_err(error)?;
    let outcome = instance.invoke("_start", &[]);
    std::mem::forget((instance, imports));
    match outcome {
        Ok(_) => Ok(0),
        Err(failure) => failure.exit_code().ok_or_else(|| error(failure)),
    }
}

fn engine(id: EngineId) -> Result<Engine, EngineError> {
    let tier = match id {
        EngineId::SilverfirInterp => Tier::Interp,
        _ => Tier::Jit,
    };
    Engine::new(Config::new().tier(tier)).map_err(EngineError::from(id))
}

/// Preview 1 has integer parameters only; anything else becomes an argument no function accepts as an address.
fn raw(value: &Value) -> u64 {
    match *value {
        Value::I32(value) => u64::from(value.cast_unsigned()),
        Value::I64(value) => value.cast_unsigned(),
        _ => u64::MAX,
    }
}
