//! Structure that a compiler does not check: floors, sizes, names, words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floor of each crate; a crate depends only on lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("columnar", 1),
    ("joinorder", 1),
    ("jointable", 1),
    ("planner", 1),
    ("plpgsql", 1),
    ("catalog", 1),
    ("remote", 1),
    ("vector", 1),
    ("sql", 2),
    ("exec", 2),
    ("ingest", 3),
    ("session", 4),
    ("wire", 5),
    ("manage", 5),
    ("blueshift", 6),
    ("testkit", 7),
];

/// Crates that compile without DataFusion, so that most edits do not wait for it.
const WITHOUT_DATAFUSION: &[&str] = &[
    "base",
    "columnar",
    "catalog",
    "joinorder",
    "jointable",
    "plpgsql",
    "remote",
    "vector",
    "wire",
];

const FILE_LINES_MAX: usize = 1_000;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_WIDTH_MAX: usize = 100;

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager"];

/// Calls that end a task where an error belongs; tests may use them.
const BANNED_CALLS: &[&str] = &[".unwrap()", "todo!(", "unimplemented!("];

/// Prints what is wrong; true when nothing is.
pub(crate) fn report(root: &Path) -> Result<bool, String> {
    let faults = check(root)?;
    for fault in &faults {
        crate::say(fault);
    }
    crate::say(&format!("tidy: {} faults", faults.len()));
    Ok(faults.is_empty())
}

fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    floors(root, &mut faults)?;
    for file in sources(root)? {
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        source(&name, &text, &mut faults);
    }
    Ok(faults)
}

fn floors(root: &Path, faults: &mut Vec<String>) -> Result<(), String> {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let crates = root.join("crates");
    let entries = std::fs::read_dir(&crates).map_err(|e| format!("crates: {e}"))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(floor) = floors.get(name.as_str()) else {
            faults.push(format!("crates/{name}: it has no floor in xtask/src/tidy.rs"));
            continue;
        };
        let path = entry.path().join("Cargo.toml");
        let manifest =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for dependency in dependencies(&manifest) {
            if floors.get(dependency.as_str()).is_some_and(|below| below >= floor) {
                faults
                    .push(format!("crates/{name}: depends on {dependency}, which is not below it"));
            }
            if WITHOUT_DATAFUSION.contains(&name.as_str()) && dependency.starts_with("datafusion") {
                faults.push(format!("crates/{name}: must compile without {dependency}"));
            }
        }
    }
    Ok(())
}

/// The names under `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.starts_with('#') {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            if !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

fn sources(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut pending = vec![root.join("crates"), root.join("xtask"), root.join("tests/faulty-s3")];
    while let Some(directory) = pending.pop() {
        let entries =
            std::fs::read_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn source(name: &str, text: &str, faults: &mut Vec<String>) {
    let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned());
    if stem.is_some_and(|stem| BANNED_NAMES.contains(&stem.as_str())) {
        faults.push(format!("{name}: a file's name says what is inside"));
    }
    if name.ends_with("/mod.rs") {
        faults.push(format!("{name}: a module is foo.rs beside foo/"));
    }
    if !text.starts_with("//!") {
        faults.push(format!("{name}: the first line says what the file owns, with //!"));
    }
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        faults.push(format!("{name}: {} lines, above {FILE_LINES_MAX}", lines.len()));
    }
    let is_test = is_test(name);
    let code = lines.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(lines.len());
    for (number, line) in lines.iter().enumerate() {
        if !is_test && line.chars().count() > LINE_WIDTH_MAX {
            faults.push(format!("{name}:{}: longer than {LINE_WIDTH_MAX} columns", number + 1));
        }
        if !is_test && number < code && name != "xtask/src/tidy.rs" {
            let trimmed = line.trim_start();
            if !trimmed.starts_with("//") {
                for call in BANNED_CALLS.iter().filter(|call| line.contains(**call)) {
                    faults.push(format!("{name}:{}: {call} outside of tests", number + 1));
                }
            }
            if line.contains("#[allow(") || line.contains("#![allow(") {
                faults.push(format!("{name}:{}: use #[expect(.., reason)]", number + 1));
            }
        }
    }
    if !is_test {
        functions(name, &lines, faults);
    }
}

/// Files that only tests are built from. Their cases may be long tables of texts.
fn is_test(name: &str) -> bool {
    const PARTS: &[&str] = &[
        "/tests/",
        "/tests.rs",
        "/testing/",
        "/testing.rs",
        "/simulation/",
        "/simulation.rs",
        "/examples/",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// Functions longer than the limit. rustfmt closes a function at the indent it opened at.
fn functions(name: &str, lines: &[&str], faults: &mut Vec<String>) {
    let mut start: Option<(usize, usize)> = None;
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match start {
            None if is_function(line) && !line.trim_end().ends_with(['}', ';']) => {
                start = Some((number, indent));
            }
            // A signature without a body, over several lines.
            Some((first, depth))
                if indent == depth
                    && line.trim_end().ends_with(';')
                    && (line.trim_start().starts_with(')') || number == first) =>
            {
                start = None;
            }
            Some((first, depth)) if indent == depth && line.trim() == "}" => {
                let length = number - first + 1;
                if length > FUNCTION_LINES_MAX {
                    faults.push(format!(
                        "{name}:{}: a function of {length} lines, above {FUNCTION_LINES_MAX}",
                        first + 1
                    ));
                }
                start = None;
            }
            _ => {}
        }
    }
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut words = words.skip_while(|word| {
        matches!(*word, "async" | "const" | "unsafe" | "extern" | "pub") || word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let faults = check(&crate::root()).unwrap();
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }

    #[test]
    fn faults_are_found() {
        let mut faults = Vec::new();
        let long = format!("fn f() {{\n{}}}\n", "    x;\n".repeat(80));
        source("crates/a/src/utils.rs", &long, &mut faults);
        assert!(faults.iter().any(|f| f.contains("says what is inside")));
        assert!(faults.iter().any(|f| f.contains("function of 82 lines")));
        faults.clear();
        source("crates/a/src/b.rs", "//! x\nfn f() { g().unwrap() }\n", &mut faults);
        assert_eq!(faults.len(), 1);
        let manifest = "[dependencies]\nbase.workspace = true\n[dev-dependencies]\nx = \"1\"\n";
        assert_eq!(dependencies(manifest), ["base"]);
    }
}
