//! A linker: what guests may import, by name. Nothing is granted that was not put here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::func::{Extern, Val};
use crate::host::{self, Caller, HostClosure, HostError, HostFunc};
use crate::instance::{self, Import, Instance, compatible};
use crate::module::Module;
use crate::store::sealed::Sealed;
use crate::store::{AsStore, Store};
use crate::types::{ExternType, FuncType};

/// Definitions for imports, for stores whose data is a `T`.
///
/// Host functions work with any such store; what was taken from a store works with that store only.
pub struct Linker<T> {
    definitions: BTreeMap<Box<str>, BTreeMap<Box<str>, Definition>>,
    data: std::marker::PhantomData<fn(T)>,
}

#[derive(Clone)]
enum Definition {
    Host(Arc<HostFunc>),
    Extern(Extern),
}

impl<T: 'static> Linker<T> {
    /// A linker that grants nothing.
    pub fn new() -> Self {
        Self { definitions: BTreeMap::new(), data: std::marker::PhantomData }
    }

    /// Defines `module.name` as a typed closure: `Fn(Caller<'_, T>, A...) -> R`. The last definition of a name counts.
    pub fn func_wrap<Args>(&mut self, module: &str, name: &str, closure: impl HostClosure<T, Args>) -> &mut Self {
        self.insert(module, name, Definition::Host(Arc::new(host::typed(closure))))
    }

    /// Defines `module.name` as a closure over values, which are as many and of the types as `ty` says.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        closure: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), HostError> + Send + Sync + 'static,
    ) -> &mut Self {
        self.insert(module, name, Definition::Host(Arc::new(HostFunc::dynamic(ty, closure))))
    }

    /// Defines `module.name` as something of a store.
    pub fn define(&mut self, module: &str, name: &str, item: Extern) -> &mut Self {
        self.insert(module, name, Definition::Extern(item))
    }

    /// Defines each export of an instance as `module.<its name>`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn instance(&mut self, store: &impl AsStore, module: &str, instance: &Instance) -> Result<&mut Self, Error> {
        for (name, item) in instance.exports(store)? {
            self.define(module, &name, item);
        }
        Ok(self)
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition) -> &mut Self {
        self.definitions.entry(module.into()).or_default().insert(name.into(), definition);
        self
    }

    /// Makes an instance of `module` and runs its start function.
    ///
    /// # Errors
    ///
    /// [`Error::Link`] for an import that is missing or of another type; [`Error::WrongStore`] for one of another
    /// store; [`Error::Engine`] for a module of another engine; [`Error::Limit`] and [`Error::Memory`]; and as the
    /// segments and the start function end, [`Error::Trap`], [`Error::Exit`] or [`Error::Host`].
    pub fn instantiate(&self, store: &mut Store<T>, module: &Module) -> Result<Instance, Error> {
        if !module.engine().is(store.engine()) {
            return Err(Error::Engine("the module belongs to another engine".into()));
        }
        let mut imports = Vec::with_capacity(module.imports().len());
        for (from, name, want) in module.imports() {
            imports.push(self.resolve(store, from, name, &want)?);
        }
        // SAFETY: the store is borrowed mutably, the engines are one, each import was checked against its declaration.
        unsafe { instance::instantiate(store.store_ptr(), &module.0, imports) }
    }

    fn resolve(&self, store: &Store<T>, module: &str, name: &str, want: &ExternType) -> Result<Import, Error> {
        let refuse = |why: String| Error::Link { module: module.into(), name: name.into(), why };
        let Some(definition) = self.definitions.get(module).and_then(|names| names.get(name)) else {
            return Err(refuse(format!("nothing of this name is defined; the module imports a {want}")));
        };
        let (import, have, current) = match definition {
            Definition::Host(host) => (Import::Host(host.clone()), ExternType::Func(host.ty.clone()), 0),
            Definition::Extern(item) => {
                let current = match item {
                    Extern::Memory(memory) => memory.pages(store)?,
                    Extern::Table(table) => table.size(store)?,
                    Extern::Func(_) | Extern::Global(_) => 0,
                };
                (Import::Extern(item.clone()), item.ty(store)?, current)
            }
        };
        if compatible(&have, current, want) {
            Ok(import)
        } else {
            Err(refuse(format!("incompatible import type: the module imports a {want}, defined is a {have}")))
        }
    }
}

impl<T: 'static> Default for Linker<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Self { definitions: self.definitions.clone(), data: self.data }
    }
}

impl<T> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = f.debug_set();
        for (module, items) in &self.definitions {
            for name in items.keys() {
                names.entry(&format_args!("{module}.{name}"));
            }
        }
        names.finish()
    }
}
