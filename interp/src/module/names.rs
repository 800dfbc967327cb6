//! Function names from the name section, read when somebody asks for one.
//!
//! The section is advisory: whatever cannot be read is left out. Names are shown to people, on terminals too, so control
//! characters are kept as their escapes.

use wasmparser::{BinaryReader, Name, NameSectionReader};

/// Function names, sorted by index.
pub(super) struct Names(Vec<(u32, Box<str>)>);

impl Names {
    /// Reads the contents of a name section.
    pub(super) fn parse(section: &[u8]) -> Self {
        let mut names = Vec::new();
        for subsection in NameSectionReader::new(BinaryReader::new(section, 0)) {
            match subsection {
                Ok(Name::Function(map)) => {
                    names.extend(map.into_iter().map_while(Result::ok).map(|n| (n.index, printable(n.name))));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        names.sort_by_key(|&(index, _)| index);
        Self(names)
    }

    pub(super) fn function(&self, index: u32) -> Option<&str> {
        let at = self.0.binary_search_by_key(&index, |&(i, _)| i).ok()?;
        Some(&self.0[at].1)
    }
}

fn printable(name: &str) -> Box<str> {
    if name.contains(char::is_control) { name.escape_debug().to_string().into() } else { name.into() }
}
