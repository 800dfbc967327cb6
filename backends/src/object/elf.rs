//! ELF bytes in, a list of what has to be placed and patched out. Everything is checked here; what comes out refers only to
//! itself.

use std::collections::HashMap;

use object::{
    LittleEndian,
    elf::{self, FileHeader64},
    read::{
        SectionIndex, SymbolIndex,
        elf::{FileHeader, Rela, SectionHeader, Sym},
    },
};

use super::{LoadError, RelocationKind};
use crate::trap;

type Elf = FileHeader64<LittleEndian>;
type Sections<'a> = object::read::elf::SectionTable<'a, Elf>;
type Symbols<'a> = object::read::elf::SymbolTable<'a, Elf>;

/// What an object asks for.
#[derive(Debug, Default)]
pub(super) struct Input<'a> {
    pub(super) sections: Vec<Section<'a>>,
    /// Names of undefined symbols that relocations refer to.
    pub(super) imports: Vec<&'a str>,
    pub(super) functions: Vec<Function<'a>>,
    /// The largest entry of `.stack_sizes`.
    pub(super) largest_frame: Option<u64>,
}

/// A section to be placed.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) name: String,
    pub(super) is_code: bool,
    pub(super) bytes: &'a [u8],
    /// A power of two, at most a page.
    pub(super) align: usize,
    pub(super) relocations: Vec<Relocation>,
}

/// A patch of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relocation {
    pub(super) kind: RelocationKind,
    /// Inside the section, width included.
    pub(super) offset: usize,
    pub(super) target: Target,
    pub(super) addend: i64,
}

/// What a relocation refers to, by index into [`Input`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A place in a section, at most its end.
    Place { section: usize, offset: usize },
    /// An undefined symbol.
    Import(usize),
}

/// A function the object defines.
#[derive(Debug)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) section: usize,
    pub(super) offset: usize,
    /// Not beyond the section's end.
    pub(super) size: usize,
}

const LE: LittleEndian = LittleEndian;

/// Reads an object.
pub(super) fn read(data: &[u8]) -> Result<Input<'_>, LoadError> {
    let header = Elf::parse(data)?;
    if !header.is_little_endian() || header.e_type(LE) != elf::ET_REL || header.e_machine(LE) != elf::EM_X86_64 {
        return Err(LoadError::WrongKind);
    }
    let sections = header.sections(LE, data)?;
    let mut reader = Reader { data, symbols: sections.symbols(LE, data, elf::SHT_SYMTAB)?, sections, ..Reader::default() };
    reader.choose()?;
    reader.relocations()?;
    reader.functions()?;
    Ok(reader.input)
}

#[derive(Default)]
struct Reader<'a> {
    data: &'a [u8],
    sections: Sections<'a>,
    symbols: Symbols<'a>,
    /// Section number in the file → index into `input.sections`.
    placed: Vec<Option<usize>>,
    /// Symbol number → index into `input.imports`.
    imported: HashMap<usize, usize>,
    input: Input<'a>,
}

impl<'a> Reader<'a> {
    /// Decides which sections are placed.
    fn choose(&mut self) -> Result<(), LoadError> {
        self.placed = vec![None; self.sections.len()];
        for (index, header) in self.sections.enumerate() {
            let name = String::from_utf8_lossy(self.sections.section_name(LE, header)?).into_owned();
            let refuse = |why| Err(LoadError::Section { name: name.clone(), why });
            let (kind, flags, size) = (header.sh_type(LE), header.sh_flags(LE), header.sh_size(LE));
            let has = |flag: u32| flags & u64::from(flag) != 0;
            if name == ".stack_sizes" {
                self.input.largest_frame = self.input.largest_frame.max(largest_frame(header.data(LE, self.data)?)?);
            }
            let ignored = matches!(kind, elf::SHT_NULL | elf::SHT_NOTE | elf::SHT_X86_64_UNWIND) || name == ".eh_frame";
            if ignored || !has(elf::SHF_ALLOC) || size == 0 {
                continue;
            }
            if kind == elf::SHT_NOBITS {
                return refuse("zero-initialized data");
            } else if has(elf::SHF_TLS) {
                return refuse("thread-local data");
            } else if has(elf::SHF_WRITE) && !name.starts_with(".data.rel.ro") {
                // `.data.rel.ro` is constant once relocated, and here that is before anybody sees it.
                return refuse("writable data");
            } else if kind != elf::SHT_PROGBITS || has(elf::SHF_COMPRESSED) {
                return refuse("neither code nor constants");
            }
            let align = usize::try_from(header.sh_addralign(LE)).unwrap_or(usize::MAX).max(1);
            if !align.is_power_of_two() || align > trap::page_size() {
                return refuse("impossible alignment");
            }
            self.placed[index.0] = Some(self.input.sections.len());
            self.input.sections.push(Section {
                is_code: has(elf::SHF_EXECINSTR),
                bytes: header.data(LE, self.data)?,
                align,
                relocations: Vec::new(),
                name,
            });
        }
        Ok(())
    }

    /// Reads the relocations of the placed sections.
    fn relocations(&mut self) -> Result<(), LoadError> {
        let headers = self.sections;
        for header in headers.iter() {
            let Some(placed) = self.placed.get(header.sh_info(LE) as usize).copied().flatten() else { continue };
            match header.sh_type(LE) {
                elf::SHT_RELA => {}
                elf::SHT_REL | elf::SHT_CREL => {
                    let name = self.input.sections[placed].name.clone();
                    return Err(LoadError::Section { name, why: "relocations without explicit addends" });
                }
                _ => continue,
            }
            let Some((entries, symbols)) = header.rela(LE, self.data)? else { continue };
            if symbols != self.symbols.section() {
                return Err(LoadError::malformed("relocations refer to another symbol table"));
            }
            for entry in entries {
                if let Some(relocation) = self.relocation(placed, entry)? {
                    self.input.sections[placed].relocations.push(relocation);
                }
            }
        }
        Ok(())
    }

    fn relocation(&mut self, placed: usize, entry: &elf::Rela64<LittleEndian>) -> Result<Option<Relocation>, LoadError> {
        let section = &self.input.sections[placed];
        let number = entry.r_type(LE, false);
        if number == elf::R_X86_64_NONE {
            return Ok(None);
        }
        let Some(kind) = RelocationKind::from_elf(number) else {
            return Err(LoadError::Relocation { kind: number, section: section.name.clone() });
        };
        let offset = usize::try_from(entry.r_offset(LE)).unwrap_or(usize::MAX);
        if offset.checked_add(kind.width()).is_none_or(|end| end > section.bytes.len()) {
            return Err(LoadError::malformed("a relocation lies outside its section"));
        }
        let target = self.target(SymbolIndex(entry.r_sym(LE, false) as usize))?;
        Ok(Some(Relocation { kind, offset, target, addend: entry.r_addend(LE) }))
    }

    fn target(&mut self, index: SymbolIndex) -> Result<Target, LoadError> {
        let symbol = self.symbols.symbol(index)?;
        match self.section_of(index, symbol)? {
            Some((section, offset)) => Ok(Target::Place { section, offset }),
            None => {
                let name = self.name(symbol)?;
                let input = &mut self.input;
                let import = self.imported.entry(index.0).or_insert_with(|| {
                    input.imports.push(name);
                    input.imports.len() - 1
                });
                Ok(Target::Import(*import))
            }
        }
    }

    /// Where a symbol is defined; `None` for an undefined one.
    fn section_of(&self, index: SymbolIndex, symbol: &elf::Sym64<LittleEndian>) -> Result<Option<(usize, usize)>, LoadError> {
        let refuse = |why| {
            let name = String::from_utf8_lossy(self.symbols.symbol_name(LE, symbol).unwrap_or_default()).into_owned();
            Err(LoadError::Symbol { name, why })
        };
        if matches!(symbol.st_type(), elf::STT_TLS | elf::STT_GNU_IFUNC) {
            return refuse("resolved at run time");
        }
        if symbol.st_shndx(LE) == elf::SHN_UNDEF {
            return Ok(None);
        }
        let Some(SectionIndex(number)) = self.symbols.symbol_section(LE, symbol, index)? else {
            return refuse("absolute or common");
        };
        let Some(section) = self.placed.get(number).copied().flatten() else {
            return refuse("in a section that is not loaded");
        };
        match usize::try_from(symbol.st_value(LE)) {
            Ok(offset) if offset <= self.input.sections[section].bytes.len() => Ok(Some((section, offset))),
            _ => refuse("outside its section"),
        }
    }

    fn name(&self, symbol: &elf::Sym64<LittleEndian>) -> Result<&'a str, LoadError> {
        let name = self.symbols.symbol_name(LE, symbol)?;
        match str::from_utf8(name) {
            Ok(name) if !name.is_empty() => Ok(name),
            _ => Err(LoadError::malformed("a symbol without a readable name")),
        }
    }

    fn functions(&mut self) -> Result<(), LoadError> {
        for (index, symbol) in self.symbols.enumerate() {
            if symbol.st_type() != elf::STT_FUNC {
                continue;
            }
            let Some((section, offset)) = self.section_of(index, symbol)? else { continue };
            let name = self.name(symbol)?;
            let size = usize::try_from(symbol.st_size(LE)).unwrap_or(usize::MAX);
            let placed = &self.input.sections[section];
            if !placed.is_code || offset.checked_add(size).is_none_or(|end| end > placed.bytes.len()) {
                return Err(LoadError::Symbol { name: name.to_owned(), why: "a function outside the code" });
            }
            self.input.functions.push(Function { name, section, offset, size });
        }
        Ok(())
    }
}

/// `.stack_sizes`: for each function its address, 8 bytes, and the size of its frame in LEB128.
fn largest_frame(mut bytes: &[u8]) -> Result<Option<u64>, LoadError> {
    let mut largest = None;
    while let Some((_, rest)) = bytes.split_at_checked(8) {
        let (mut size, mut shift, mut at) = (0u64, 0, 0);
        loop {
            let &byte = rest.get(at).ok_or(LoadError::malformed(".stack_sizes is cut short"))?;
            if shift > 56 {
                return Err(LoadError::malformed(".stack_sizes has an endless number"));
            }
            size |= u64::from(byte & 0x7f) << shift;
            (shift, at) = (shift + 7, at + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        largest = largest.max(Some(size));
        bytes = &rest[at..];
    }
    if bytes.is_empty() { Ok(largest) } else { Err(LoadError::malformed(".stack_sizes is cut short")) }
}
