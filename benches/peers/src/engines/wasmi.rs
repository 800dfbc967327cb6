//! wasmi 2: the interpreter of reference.

use wasmi::{CompilationMode, Config, Engine, Error, Extern, FuncType, Instance, Linker, Module, Store, TypedFunc, Val, ValType};

use super::{EngineId, Kernel};
use crate::error::EngineError;
use crate::wasi::{self, Type, Wasi};

pub(super) struct Loaded {
    id: EngineId,
    store: Store<()>,
    run: TypedFunc<i32, i32>,
}

pub(super) fn load(id: EngineId, wasm: &[u8]) -> Result<Loaded, EngineError> {
    let error = EngineError::from(id);
    let engine = engine(id);
    let module = Module::new(&engine, wasm).map_err(error)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).map_err(error)?;
    let run = instance.get_typed_func(&store, "run").map_err(error)?;
    Ok(Loaded { id, store, run })
}

impl Kernel for Loaded {
    fn run(&mut self, n: i32) -> Result<i32, EngineError> {
        self.run.call(&mut self.store, n).map_err(EngineError::from(self.id))
    }
}

pub(super) fn run_program(id: EngineId, wasm: &[u8], wasi: Wasi) -> Result<i32, EngineError> {
    let error = EngineError::from(id);
    let engine = engine(id);
    let module = Module::new(&engine, wasm).map_err(error)?;
    let mut linker = <Linker<Wasi>>::new(&engine);
    for function in wasi::FUNCTIONS {
        let params = function.params.iter().map(|ty| match ty {
            Type::I32 => ValType::I32,
            Type::I64 => ValType::I64,
        });
        let results = function.returns_errno().then_some(ValType::I32);
        let ty = FuncType::new(params.collect::<Vec<_>>(), results);
        linker
            .func_new(wasi::MODULE, function.name, ty, |mut caller, args, results| {
                let args: Vec<u64> = args.iter().map(raw).collect();
                let Some(memory) = caller.get_export("memory").and_then(Extern::into_memory) else {
                    return Err(Error::new("the module exports no memory"));
                };
                let (memory, wasi) = memory.data_and_store_mut(&mut caller);
                let errno = function.call(wasi, memory, &args).map_err(|exit| Error::i32_exit(exit.0))?;
                if let Some(result) = results.first_mut() {
                    *result = Val::I32(errno);
                }
                Ok(())
            })
            .map_err(EngineError::from(id))?;
    }
    let mut store = Store::new(&engine, wasi);
    let instance = linker.instantiate_and_start(&mut store, &module).map_err(error)?;
    let start = instance.get_typed_func::<(), ()>(&store, "_start").map_err(error)?;
    let outcome = start.call(&mut store, ());
    std::mem::forget((store, linker, module));
    match outcome {
        Ok(()) => Ok(0),
        Err(failure) => failure.i32_exit_status().ok_or_else(|| error(failure)),
    }
}

fn engine(id: EngineId) -> Engine {
    let mut config = Config::default();
    config.compilation_mode(match id {
        EngineId::WasmiEager => CompilationMode::Eager,
        EngineId::WasmiLazy => CompilationMode::Lazy,
        _ => CompilationMode::LazyTranslation,
    });
    Engine::new(&config)
}

/// Preview 1 has integer parameters only.
fn raw(value: &Val) -> u64 {
    match *value {
        Val::I32(value) => u64::from(value.cast_unsigned()),
        Val::I64(value) => value.cast_unsigned(),
        _ => unreachable!("the linker checked the signature"),
    }
}
