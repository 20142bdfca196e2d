// All kernels as one unit, for both compilers: included by the build scripts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One source that includes each of `sources` in a namespace of its own, and the kernels' names with the number of
/// theirs.
pub(crate) fn unit(sources: &[PathBuf]) -> (String, Vec<(usize, String)>) {
    let mut unit = String::from("#include \"gpu/blocks.h\"\n");
    let mut kernels = Vec::new();
    for (n, source) in sources.iter().enumerate() {
        let text = std::fs::read_to_string(source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        let _ = writeln!(unit, "namespace unit{n} {{\n#include \"{}\"\n}}", source.display());
        kernels.extend(names(&text).into_iter().map(|name| (n, name)));
    }
    (unit, kernels)
}

/// Every `.cu` in `folder` and below, sorted.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(folder, &mut found);
    assert!(!found.is_empty(), "no kernels in {}", folder.display());
    found.sort();
    found
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.filter_map(|entry| entry.ok().map(|e| e.path())) {
        match path.extension() {
            _ if path.is_dir() => collect(&path, into),
            Some(e) if e == "cu" => into.push(path),
            _ => {}
        }
    }
}

/// The kernels of a source: `KERNEL void name(`, and `INSTANCE(name, ...)` at the beginning of a line where a macro of that
/// name makes one of a template.
fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for rest in text.split("KERNEL void ").skip(1) {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        // In a macro its parameter stands there.
        if name != "NAME" {
            names.push(name);
        }
    }
    let instances = text.lines().filter_map(|line| line.strip_prefix("INSTANCE(")?.split([',', ')']).next());
    names.extend(instances.map(str::to_string));
    names
}
