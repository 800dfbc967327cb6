//! The documents stay true: every path they quote exists, every symbol `ARCHITECTURE.md` sends a reader to is defined,
//! and the map stays short enough to be read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "README.md",
    "backends/ABI.md",
    "osr/README.md",
    "deopt/README.md",
    "beadie/README.md",
    "service/README.md",
];

#[test]
fn every_quoted_path_exists() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        // Beside the document, or from the top.
        let beside = root().join(document).with_file_name("");
        let exists = |path: &str| root().join(path).exists() || beside.join(path).exists();
        for quoted in quoted_spans(&read(document)) {
            let looks_like_path = quoted.contains('/') && quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let starts_in_tree = quoted.split('/').next().is_some_and(exists);
            if looks_like_path && starts_in_tree && !exists(&quoted) {
                missing.push(format!("{document}: `{quoted}`"));
            }
        }
    }
    assert!(missing.is_empty(), "quoted but not there: {missing:#?}");
}

#[test]
fn every_quoted_type_is_defined() {
    let source = all_rust_source();
    let mut missing = BTreeSet::new();
    for quoted in quoted_spans(&read("ARCHITECTURE.md")) {
        let name = quoted.split(['<', ':', '(']).next().unwrap_or_default();
        let is_type = name.len() > 2
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric())
            && name.contains(|c: char| c.is_ascii_lowercase());
        let defined = ["struct", "enum", "trait", "type", "union"].iter().any(|kind| source.contains(&format!("{kind} {name}")))
            || source.contains(&format!("    {name},"))
            || source.contains(&format!("    {name} {{"));
        if is_type && !defined {
            missing.insert(quoted);
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names types that no longer exist: {missing:#?}");
}

#[test]
fn the_map_fits_on_a_few_pages() {
    assert!(read("ARCHITECTURE.md").lines().count() <= 250);
}

/// The text between single backticks, code blocks left out.
fn quoted_spans(text: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

fn all_rust_source() -> String {
    let mut source = String::new();
    for folder in
        ["src", "asm", "broker", "fake", "beadie", "osr", "deopt", "backends", "interp", "service", "plot", "lab", "cli"]
    {
        collect(&root().join(folder), &mut source);
    }
    source
}

fn collect(folder: &Path, source: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, source);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            source.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
