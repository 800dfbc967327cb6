//! Whether a binary is another edition of a module: the same in all but its functions' bodies and its custom sections.

use std::fmt;

use super::parse::Sections;
use super::reload::ReloadError;
use super::{ModuleInner, TypeEntry};

/// A part of a module that functions' bodies and instances rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The types, by index.
    Types,
    /// The imports, in order: module, name and type.
    Imports,
    /// The functions' types, by function index, imports counted.
    Functions,
    /// The tables' types, by index, imports counted.
    Tables,
    /// The memories' types, by index, imports counted.
    Memories,
    /// The globals' types, by index, imports counted.
    Globals,
    /// The initial values of the globals, in order, imports not counted.
    GlobalValues,
    /// The exports, in order: name, kind and index.
    Exports,
    /// The start function.
    Start,
    /// The element segments, by index.
    Elements,
    /// The data segments, by index.
    Data,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Types => "types",
            Self::Imports => "imports",
            Self::Functions => "functions",
            Self::Tables => "tables",
            Self::Memories => "memories",
            Self::Globals => "globals",
            Self::GlobalValues => "values of globals",
            Self::Exports => "exports",
            Self::Start => "start function",
            Self::Elements => "element segments",
            Self::Data => "data segments",
        })
    }
}

/// Compares a binary with what it is to be an edition of.
///
/// # Errors
///
/// [`ReloadError::Differs`]: where the first difference is.
pub(super) fn same(module: &ModuleInner, new: &Sections, bytes: &[u8]) -> Result<(), ReloadError> {
    let type_of = |entry: &TypeEntry| entry.canonical;
    let data = |at: usize| module.data_bytes(at as u32) == &bytes[new.data[at].bytes.clone()];
    let differences = [
        (Part::Types, first(&module.types, &new.types, |_, a, b| type_of(a) == type_of(b))),
        (
            Part::Imports,
            first(&module.imports, &new.imports, |_, a, b| (&a.module, &a.name, a.kind) == (&b.module, &b.name, b.kind)),
        ),
        (Part::Functions, first(&module.function_types, &new.function_types, |_, a, b| a == b)),
        (Part::Tables, first(&module.tables, &new.tables, |_, a, b| a == b)),
        (Part::Memories, first(&module.memories, &new.memories, |_, a, b| a == b)),
        (Part::Globals, first(&module.globals, &new.globals, |_, a, b| a == b)),
        (Part::GlobalValues, first(&module.global_inits, &new.global_inits, |_, a, b| a == b)),
        (Part::Exports, first(&module.exports, &new.exports, |_, a, b| (&a.name, a.kind, a.index) == (&b.name, b.kind, b.index))),
        (Part::Start, (module.start != new.start).then_some(0)),
        (Part::Elements, first(&module.elements, &new.elements, |_, a, b| a.mode == b.mode && a.items == b.items)),
        (Part::Data, first(&module.data, &new.data, |at, a, b| a.mode == b.mode && data(at))),
    ];
    let found = differences.into_iter().find_map(|(part, at)| Some((part, at?)));
    found.map_or(Ok(()), |(part, at)| Err(ReloadError::Differs { part, index: at as u32 }))
}

/// Where two lists are first not alike.
fn first<T>(old: &[T], new: &[T], alike: impl Fn(usize, &T, &T) -> bool) -> Option<usize> {
    let pairs = old.iter().zip(new).enumerate();
    let shorter = old.len().min(new.len());
    pairs.into_iter().find(|&(at, (a, b))| !alike(at, a, b)).map(|(at, _)| at).or((old.len() != new.len()).then_some(shorter))
}
