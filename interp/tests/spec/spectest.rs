//! The `spectest` module that the specification tests import.

use tierup_interp::{Error, Extern, GlobalType, Limits, Linker, MemoryType, Store, TableType, Val, ValType};

/// Defines it in `linker`, with memory, table and globals of `store`.
pub(crate) fn define(linker: &mut Linker<()>, store: &mut Store<()>) -> Result<(), Error> {
    linker
        .func_wrap("spectest", "print", |_: tierup_interp::Caller<'_, ()>| ())
        .func_wrap("spectest", "print_i32", |_: tierup_interp::Caller<'_, ()>, _: i32| ())
        .func_wrap("spectest", "print_i64", |_: tierup_interp::Caller<'_, ()>, _: i64| ())
        .func_wrap("spectest", "print_f32", |_: tierup_interp::Caller<'_, ()>, _: f32| ())
        .func_wrap("spectest", "print_f64", |_: tierup_interp::Caller<'_, ()>, _: f64| ())
        .func_wrap("spectest", "print_i32_f32", |_: tierup_interp::Caller<'_, ()>, _: i32, _: f32| ())
        .func_wrap("spectest", "print_f64_f64", |_: tierup_interp::Caller<'_, ()>, _: f64, _: f64| ());
    let globals = [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::F32(666.6_f32.to_bits())),
        ("global_f64", ValType::F64, Val::F64(666.6_f64.to_bits())),
    ];
    for (name, content, value) in globals {
        let global = store.new_global(GlobalType { content, mutable: false }, &value)?;
        linker.define("spectest", name, Extern::Global(global));
    }
    let memory = store.new_memory(MemoryType { limits: Limits { minimum: 1, maximum: Some(2) } })?;
    linker.define("spectest", "memory", Extern::Memory(memory));
    let limits = Limits { minimum: 10, maximum: Some(20) };
    let table = store.new_table(TableType { element: ValType::FuncRef, limits })?;
    linker.define("spectest", "table", Extern::Table(table));
    Ok(())
}
