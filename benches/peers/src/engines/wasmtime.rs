//! Wasmtime 48, Cranelift and Winch: the compilers of reference, without a compilation cache.

use std::time::Instant;

use wasmtime::{
    Config, Engine, Error, Extern, FuncType, Instance, Linker, Module, Store, Strategy, TypedFunc, Val, ValType, bail,
};

use super::{Cost, EngineId, Kernel};
use crate::error::EngineError;
use crate::wasi::{self, Exit, Type, Wasi};

pub(super) struct Loaded {
    id: EngineId,
    store: Store<()>,
    run: TypedFunc<i32, i32>,
    cost: Cost,
}

pub(super) fn load(id: EngineId, wasm: &[u8]) -> Result<Loaded, EngineError> {
    let error = failed(id);
    let engine = engine(id)?;
    let start = Instant::now();
    let module = Module::from_binary(&engine, wasm).map_err(error)?;
    let cost = Cost { compile: start.elapsed().as_secs_f64(), code: module.text().len() as u64 };
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).map_err(error)?;
    let run = instance.get_typed_func(&mut store, "run").map_err(error)?;
    Ok(Loaded { id, store, run, cost })
}

impl Kernel for Loaded {
    fn run(&mut self, n: i32) -> Result<i32, EngineError> {
        self.run.call(&mut self.store, n).map_err(failed(self.id))
    }

    fn cost(&self) -> Option<Cost> {
        Some(self.cost)
    }
}

pub(super) fn run_program(id: EngineId, wasm: &[u8], wasi: Wasi) -> Result<i32, EngineError> {
    let error = failed(id);
    let engine = engine(id)?;
    let module = Module::from_binary(&engine, wasm).map_err(error)?;
    let mut linker = <Linker<Wasi>>::new(&engine);
    for function in wasi::FUNCTIONS {
        let params = function.params.iter().map(|ty| match ty {
            Type::I32 => ValType::I32,
            Type::I64 => ValType::I64,
        });
        let results = function.returns_errno().then_some(ValType::I32);
        let ty = FuncType::new(&engine, params, results);
        linker
            .func_new(wasi::MODULE, function.name, ty, |mut caller, args, results| {
                let args: Vec<u64> = args.iter().map(raw).collect();
                let Some(memory) = caller.get_export("memory").and_then(Extern::into_memory) else {
                    bail!("the module exports no memory");
                };
                let (memory, wasi) = memory.data_and_store_mut(&mut caller);
                let errno = function.call(wasi, memory, &args).map_err(Error::new)?;
                if let Some(result) = results.first_mut() {
                    *result = Val::I32(errno);
                }
                Ok(())
            })
            .map_err(error)?;
    }
    let mut store = Store::new(&engine, wasi);
    let instance = linker.instantiate(&mut store, &module).map_err(error)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(error)?;
    let outcome = start.call(&mut store, ());
    std::mem::forget((store, linker, module));
    match outcome {
        Ok(()) => Ok(0),
        Err(failure) => match failure.downcast_ref::<Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(error(failure)),
        },
    }
}

fn engine(id: EngineId) -> Result<Engine, EngineError> {
    let mut config = Config::new();
    config.strategy(match id {
        EngineId::WasmtimeWinch => Strategy::Winch,
        _ => Strategy::Cranelift,
    });
    Engine::new(&config).map_err(failed(id))
}

/// Preview 1 has integer parameters only.
fn raw(value: &Val) -> u64 {
    match *value {
        Val::I32(value) => u64::from(value.cast_unsigned()),
        Val::I64(value) => value.cast_unsigned(),
        _ => unreachable!("the linker checked the signature"),
    }
}

/// Wasmtime's errors carry their causes only in the alternate form.
fn failed(engine: EngineId) -> impl Fn(Error) -> EngineError + Copy {
    move |error| EngineError { engine, message: format!("{error:#}") }
}
