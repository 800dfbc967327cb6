//! `sync.rs` is the only file that may name the standard library's atomics, locks and threads, or loom: whatever else did would
//! be invisible to the model checker. (Clippy's `disallowed-types` cannot say this: it sees through re-exports.)

use std::{fs, path::Path};

const FORBIDDEN: &[&str] = &["std::sync", "core::sync", "std::thread", "std::cell::UnsafeCell", "loom::", "sync::atomic"];

#[test]
fn only_the_shim_names_what_loom_replaces() {
    let mut found = Vec::new();
    let mut files = 0;
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path, text| {
        files += 1;
        let is_shim = path.ends_with("src/sync.rs");
        let is_test = path.ends_with("tests.rs");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if !is_shim && !is_test && FORBIDDEN.iter().any(|name| line.contains(name)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    });
    assert!(files > 20, "the sources are where they were");
    assert!(found.is_empty(), "import these from crate::sync: {found:#?}");
}

fn visit(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("the source folder exists") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &fs::read_to_string(&path).expect("sources are UTF-8"));
        }
    }
}
