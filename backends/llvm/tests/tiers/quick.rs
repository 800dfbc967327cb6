//! Functions through the quick compiler. What it declines is Cranelift's, and calls cross.

use cranelift_codegen::{ir::Function, isa::OwnedTargetIsa};
use tierup_backends::{CompiledFunction, CraneliftBackend, LowerCx, OptLevel};
use tierup_broker::{Bailout, Tier};

use super::{Baseline, Thunks, name, rename_callees, trampoline};

/// Code of both compilers by name, and trampolines into it.
pub(crate) struct Quick {
    baseline: Baseline,
    /// In the order of the functions; `None` is declined.
    units: Vec<Option<CompiledFunction>>,
    _thunks: Thunks,
}

impl Quick {
    /// Compiles functions that call each other by name.
    pub(crate) fn new(isa: &OwnedTargetIsa, functions: &[Function]) -> Result<Self, String> {
        let mut thunks = Thunks::new(functions.iter().map(|func| theirs(&name(func))));
        let mut builder = CraneliftBackend::builder().opt_level(OptLevel::Quick);
        for func in functions {
            let name = theirs(&name(func));
            // SAFETY: a thunk to a function of that signature, kept as long as the code.
            builder = unsafe { builder.symbol(&name, thunks.symbols()[&name] as *const u8, func.signature.clone()) };
        }
        let lower = |cx: &mut LowerCx<'_, Function>| -> Result<(), Bailout> {
            cx.provide(cx.guest().clone());
            Ok(())
        };
        let backend = builder.build(lower).map_err(|error| error.to_string())?;
        let renamed: Vec<Function> = functions.iter().map(|func| rename_callees(func, theirs)).collect();
        let units = renamed.iter().map(|func| {
            let before = backend.totals().quick_units;
            let code = backend.compile_direct(func, Tier::new(1));
            code.ok().filter(|_| backend.totals().quick_units > before)
        });
        let units: Vec<Option<CompiledFunction>> = units.collect();
        let trampolines = functions.iter().map(|func| trampoline(&entry(&name(func)), &theirs(&name(func)), &func.signature));
        let all: Vec<Function> = renamed.iter().cloned().chain(trampolines).collect();
        let baseline = Baseline::new(isa, &all, thunks.symbols())?;
        for (func, unit) in functions.iter().zip(&units) {
            let name = name(func);
            let code = unit.as_ref().map_or_else(|| baseline.address(&name), |unit| unit.entry() as usize);
            thunks.bind(&theirs(&name), code);
        }
        Ok(Quick { baseline, units, _thunks: thunks })
    }

    /// Whether it compiled the function of that number.
    pub(crate) fn compiled(&self, at: usize) -> bool {
        self.units[at].is_some()
    }

    /// A trampoline into a function.
    pub(crate) fn entry(&self, name: &str) -> usize {
        self.baseline.address(&entry(name))
    }
}

fn theirs(name: &str) -> String {
    format!("{name}.quick")
}

fn entry(name: &str) -> String {
    format!("{name}.into-quick")
}
