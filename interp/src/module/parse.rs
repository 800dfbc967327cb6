//! Bytes → [`Sections`] → [`ModuleInner`]: one pass over the sections, each validated before it is kept.
//!
//! The validator goes first, so every count and index met afterwards is within its limits. Only when it refuses a
//! section is the section decoded once more, to tell bytes that do not decode from rules that are broken.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use wasmparser::{
    DataKind, ElementItems, ElementKind, Encoding, ExternalKind, FromReader, KnownCustom, Operator, Parser, Payload,
    SectionLimited, TypeRef, ValidPayload, Validator,
};

use super::closed::InitialTables;
use super::function::{FuncHandle, Function};
use super::reload::LaterBodies;
use super::{
    Body, ConstExpr, DataSegment, ElementSegment, Export, ExportKind, Import, ImportKind, ModuleInner, SegmentMode, TypeEntry,
    features,
};
use crate::engine::Engine;
use crate::error::Error;
use crate::types::{FuncType, GlobalType, Limits, MemoryType, TableType, ValType};
use crate::unwritten::AllUnwritten;

/// Everything the sections say, in their order.
#[derive(Default)]
pub(super) struct Sections {
    resources: Option<wasmparser::ValidatorResources>,
    pub(super) types: Vec<TypeEntry>,
    pub(super) imports: Vec<Import>,
    pub(super) function_types: Vec<u32>,
    pub(super) tables: Vec<TableType>,
    pub(super) memories: Vec<MemoryType>,
    pub(super) globals: Vec<GlobalType>,
    pub(super) global_inits: Vec<ConstExpr>,
    pub(super) exports: Vec<Export>,
    pub(super) elements: Vec<ElementSegment>,
    pub(super) data: Vec<DataSegment>,
    pub(super) bodies: Vec<Range<usize>>,
    pub(super) start: Option<u32>,
    imported_functions: u32,
    imported_tables: u32,
    imported_memories: u32,
    imported_globals: u32,
    name_section: Option<Range<usize>>,
}

/// A module of so many bytes takes longer to load than a worker takes to begin, which it then does meanwhile.
const TAKES_LONG: usize = 32 << 10;

/// Decodes and validates everything but function bodies, and makes a module of it.
pub(super) fn parse(engine: &Engine, bytes: Arc<[u8]>) -> Result<Arc<ModuleInner>, Error> {
    if bytes.len() >= TAKES_LONG {
        engine.broker().start();
    }
    read(engine, &bytes)?.finish(engine, bytes)
}

/// Decodes and validates everything but function bodies.
pub(super) fn read(engine: &Engine, bytes: &[u8]) -> Result<Sections, Error> {
    let mut sections = Sections::default();
    let mut validator = Validator::new_with_features(features());
    let mut parser = Parser::new(0);
    parser.set_features(features());
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|e| Error::malformed(&e))?;
        match validator.payload(&payload) {
            Ok(ValidPayload::Func(to_validate, body)) => {
                if sections.resources.is_none() {
                    sections.resources = Some(to_validate.resources);
                }
                sections.bodies.push(range(body.range()));
            }
            Ok(_) => sections.keep(engine, payload).map_err(|e| Error::malformed(&e))?,
            Err(refused) => {
                return Err(match undecodable(&payload) {
                    Some(e) => Error::malformed(&e),
                    None => Error::invalid(&refused),
                });
            }
        }
    }
    Ok(sections)
}

impl Sections {
    /// Keeps a section the validator has accepted.
    fn keep(&mut self, engine: &Engine, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    let ty = ty?;
                    // The validator has refused every other type.
                    let known = |types: &[wasmparser::ValType]| -> Vec<ValType> {
                        types.iter().filter_map(|&t| ValType::from_wasm(t)).collect()
                    };
                    let (canonical, ty) = engine.intern(FuncType::new(known(ty.params()), known(ty.results())));
                    self.types.push(TypeEntry { ty, canonical });
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.keep_import(import?);
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.function_types.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.tables.push(table_type(table?.ty));
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memories.push(memory_type(memory?));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    self.globals.push(global_type(global.ty));
                    self.global_inits.push(const_expr(global.init_expr)?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let kind = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                        ExternalKind::Table => ExportKind::Table,
                        ExternalKind::Memory => ExportKind::Memory,
                        ExternalKind::Global => ExportKind::Global,
                        ExternalKind::Tag => unreachable!("the validator refuses tags"),
                    };
                    self.exports.push(Export { name: export.name.into(), kind, index: export.index });
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => {
                for element in section {
                    self.elements.push(element_segment(element?)?);
                }
            }
            Payload::DataSection(section) => {
                for data in section {
                    self.data.push(data_segment(data?)?);
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(_) = section.as_known() {
                    let start = section.data_offset() as usize;
                    self.name_section = Some(start..start + section.data().len());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_import(&mut self, import: wasmparser::Import<'_>) {
        let kind = match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.function_types.push(ty);
                self.imported_functions += 1;
                ImportKind::Func(ty)
            }
            TypeRef::Table(ty) => {
                let ty = table_type(ty);
                self.tables.push(ty);
                self.imported_tables += 1;
                ImportKind::Table(ty)
            }
            TypeRef::Memory(ty) => {
                let ty = memory_type(ty);
                self.memories.push(ty);
                self.imported_memories += 1;
                ImportKind::Memory(ty)
            }
            TypeRef::Global(ty) => {
                let ty = global_type(ty);
                self.globals.push(ty);
                self.imported_globals += 1;
                ImportKind::Global(ty)
            }
            TypeRef::Tag(_) => unreachable!("the validator refuses tags"),
        };
        self.imports.push(Import { module: import.module.into(), name: import.name.into(), kind });
    }

    /// Registers the functions and closes the module over its own weak reference.
    fn finish(self, engine: &Engine, bytes: Arc<[u8]>) -> Result<Arc<ModuleInner>, Error> {
        let mut failure = None;
        let module = Arc::new_cyclic(|weak| {
            let mut functions = Vec::with_capacity(self.bodies.len());
            for (index, body) in (self.imported_functions..).zip(self.bodies) {
                let entry = &self.types[self.function_types[index as usize] as usize];
                let handle = FuncHandle { module: weak.clone(), index, body: None };
                match engine.register(handle, body.len() as u32) {
                    Ok(bead) => functions.push(Function::new(entry, Body::loaded(weak.clone(), index, body), bead)),
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            let unwritten = AllUnwritten::new(
                engine,
                (&self.tables, self.imported_tables),
                (&self.globals, self.imported_globals),
                &self.global_inits,
            );
            ModuleInner {
                unwritten,
                engine: engine.clone(),
                bytes,
                resources: self.resources,
                types: self.types.into(),
                imports: self.imports.into(),
                function_types: self.function_types.into(),
                tables: self.tables.into(),
                memories: self.memories.into(),
                globals: self.globals.into(),
                global_inits: self.global_inits.into(),
                exports: self.exports.into(),
                elements: self.elements.into(),
                data: self.data.into(),
                start: self.start,
                imported_functions: self.imported_functions,
                imported_tables: self.imported_tables,
                imported_memories: self.imported_memories,
                imported_globals: self.imported_globals,
                functions: functions.into(),
                name_section: self.name_section,
                names: OnceLock::new(),
                initial_tables: InitialTables::default(),
                later: LaterBodies::default(),
            }
        });
        match failure {
            Some(error) => Err(error),
            None => {
                // Functions have names only now.
                for function in &module.functions {
                    engine.broker().apply_rules(function.bead.as_ref());
                }
                Ok(module)
            }
        }
    }
}

/// The decoding error of a section the validator refused, if it has one.
fn undecodable(payload: &Payload<'_>) -> Option<wasmparser::Error> {
    fn first<'a, T: FromReader<'a>>(section: &SectionLimited<'a, T>) -> Option<wasmparser::Error> {
        section.clone().into_iter().find_map(Result::err)
    }
    match payload {
        Payload::Version { encoding: Encoding::Module, .. } => None,
        Payload::TypeSection(s) => first(s),
        Payload::ImportSection(s) => first(s),
        Payload::FunctionSection(s) => first(s),
        Payload::TableSection(s) => first(s),
        Payload::MemorySection(s) => first(s),
        Payload::GlobalSection(s) => first(s),
        Payload::ExportSection(s) => first(s),
        Payload::ElementSection(s) => first(s),
        Payload::DataSection(s) => first(s),
        _ => None,
    }
}

fn range(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

fn table_type(ty: wasmparser::TableType) -> TableType {
    TableType {
        element: ValType::from_ref(ty.element_type).expect("the validator refuses other reference types"),
        limits: Limits { minimum: ty.initial, maximum: ty.maximum },
    }
}

fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    MemoryType { limits: Limits { minimum: ty.initial, maximum: ty.maximum } }
}

fn global_type(ty: wasmparser::GlobalType) -> GlobalType {
    GlobalType {
        content: ValType::from_wasm(ty.content_type).expect("the validator refuses other value types"),
        mutable: ty.mutable,
    }
}

fn element_segment(element: wasmparser::Element<'_>) -> wasmparser::Result<ElementSegment> {
    let items = match element.items {
        ElementItems::Functions(items) => {
            items.into_iter().map(|index| index.map(ConstExpr::Func)).collect::<wasmparser::Result<_>>()?
        }
        ElementItems::Expressions(_, items) => {
            items.into_iter().map(|item| const_expr(item?)).collect::<wasmparser::Result<_>>()?
        }
    };
    let mode = match element.kind {
        ElementKind::Passive => SegmentMode::Passive,
        ElementKind::Declared => SegmentMode::Declared,
        ElementKind::Active { table_index, offset_expr } => {
            SegmentMode::Active { index: table_index.unwrap_or(0), offset: const_expr(offset_expr)? }
        }
    };
    Ok(ElementSegment { items, mode })
}

fn data_segment(data: wasmparser::Data<'_>) -> wasmparser::Result<DataSegment> {
    let mode = match data.kind {
        DataKind::Passive => SegmentMode::Passive,
        DataKind::Active { memory_index, offset_expr } => {
            SegmentMode::Active { index: memory_index, offset: const_expr(offset_expr)? }
        }
    };
    // The contents end the segment.
    let end = data.range.end as usize;
    Ok(DataSegment { bytes: end - data.data.len()..end, mode })
}

/// Decodes a constant expression the validator has accepted: one instruction and `end`.
fn const_expr(expr: wasmparser::ConstExpr<'_>) -> wasmparser::Result<ConstExpr> {
    Ok(match expr.get_operators_reader().read()? {
        Operator::I32Const { value } => ConstExpr::Value(u64::from(value as u32)),
        Operator::I64Const { value } => ConstExpr::Value(value as u64),
        Operator::F32Const { value } => ConstExpr::Value(u64::from(value.bits())),
        Operator::F64Const { value } => ConstExpr::Value(value.bits()),
        Operator::RefNull { .. } => ConstExpr::Value(0),
        Operator::RefFunc { function_index } => ConstExpr::Func(function_index),
        Operator::GlobalGet { global_index } => ConstExpr::Global(global_index),
        other => unreachable!("the validator refuses {other:?} in a constant expression"),
    })
}
