//! `cargo xtask test`: every test, one count at the end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::install;

#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// How a step's output tells its count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// `test result: ok. 3 passed; 0 failed; …`, once a binary.
    Cargo,
    /// `3 passed, 0 failed` as the last line.
    Plain,
    /// `2 failed, 3 passed in 0.1s` as the last line.
    Pytest,
    /// The exit status alone.
    Status,
}

pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    pub(crate) reads: Reads,
}

/// Runs all steps, or the one named; true when nothing failed.
pub(crate) fn run(root: &Path, only: Option<&str>) -> Result<bool, String> {
    let python = install::run(root)?;
    if !build(root)? {
        crate::say("0 passed, 1 failed");
        return Ok(false);
    }
    let steps: Vec<Step> = steps(root, &python)
        .into_iter()
        .filter(|step| only.is_none_or(|name| name == step.name))
        .collect();
    if steps.is_empty() {
        return Err(format!("there is no step \"{}\"\n{}", only.unwrap_or(""), crate::USAGE));
    }
    let mut total = Count::default();
    for step in steps {
        let name = step.name;
        let started = std::time::Instant::now();
        let count = execute(step)?;
        let seconds = started.elapsed().as_secs();
        crate::say(&format!("step {name}: {} ok, {} bad, {seconds} s", count.passed, count.failed));
        total += count;
    }
    crate::say(&format!("{} passed, {} failed", total.passed, total.failed));
    Ok(total.failed == 0 && total.passed > 0)
}

/// Builds the programs; false when that fails.
pub(crate) fn build(root: &Path) -> Result<bool, String> {
    let workspace = cargo(root, &["build", "--release", "--workspace", "--bins"]);
    for mut command in [workspace, faulty_s3(root, &["build", "--release"])] {
        let status = command.status().map_err(|e| format!("cargo build: {e}"))?;
        if !status.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A cargo command on the S3 server of the tests, which is a workspace of its own.
fn faulty_s3(root: &Path, words: &[&str]) -> Command {
    let mut command = cargo(root, words);
    command.args(["--manifest-path", "tests/faulty-s3/Cargo.toml"]);
    command.env("CARGO_TARGET_DIR", target(root));
    command
}

/// pytest over files, directories or single tests, against the built program. It ends with the
/// fifth failure.
pub(crate) fn pytest(root: &Path, python: &install::Python, tests: &[&str]) -> Command {
    let mut command = Command::new(python.program());
    command
        .args(["-m", "pytest", "-q", "--maxfail=5", "-p", "no:cacheprovider"])
        .args(tests)
        .env("BLUESHIFT_PROGRAM", target(root).join("release/blueshift"))
        .env("BLUESHIFT_FAULTY_S3", target(root).join("release/faulty-s3"))
        .env("BLUESHIFT_ADYA", install::checker())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root);
    command
}

fn steps(root: &Path, python: &install::Python) -> Vec<Step> {
    let release = target(root).join("release");
    let program = release.join("blueshift");
    let corpus = |more: &[&str]| {
        let mut slt = Command::new(release.join("slt"));
        slt.arg("--program").arg(&program).args(more).current_dir(root);
        slt
    };
    let without_vectors = [
        "--mode",
        "embedded-2x2",
        "--set",
        "enable_vector_pipelines=off",
        "--set",
        "enable_vector_joins=off",
    ];
    let python_step = |name: &'static str, directory: &'static str| Step {
        name,
        command: pytest(root, python, &[directory]),
        reads: Reads::Pytest,
    };
    let mut clippy = faulty_s3(root, &["clippy", "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    vec![
        Step {
            name: "unit",
            command: cargo(root, &["test", "--release", "--workspace", "--no-fail-fast"]),
            reads: Reads::Cargo,
        },
        Step {
            name: "unit",
            command: faulty_s3(root, &["test", "--release"]),
            reads: Reads::Cargo,
        },
        Step {
            name: "clippy",
            command: cargo(
                root,
                &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
            ),
            reads: Reads::Status,
        },
        Step { name: "clippy", command: clippy, reads: Reads::Status },
        Step { name: "slt", command: corpus(&[]), reads: Reads::Plain },
        Step { name: "slt-plain", command: corpus(&without_vectors), reads: Reads::Plain },
        python_step("e2e", "tests/e2e"),
        python_step("isolation", "tests/isolation"),
        python_step("differential", "tests/differential"),
        python_step("stress", "tests/stress"),
        python_step("crash", "tests/crash"),
    ]
}

/// A cargo command of its own, not one of the package that runs it.
pub(crate) fn cargo(root: &Path, words: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(words).current_dir(root);
    // What the outer cargo tells about this package would look like a changed environment to
    // build scripts that watch it (ring's does), and all that depends on them would compile again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if OF_THIS_PACKAGE.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// The beginnings of the variables that cargo sets for a program that it runs.
const OF_THIS_PACKAGE: &[&str] =
    &["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"];

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into)
}

/// Runs a step, passes its output on, and counts. A step that fails without saying how often
/// counts as one failure.
pub(crate) fn execute(mut step: Step) -> Result<Count, String> {
    let mut child = step
        .command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", step.name))?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(part) = read(step.reads, &line) {
                count += part;
            }
            crate::say(&line);
        }
    }
    let status = child.wait().map_err(|e| format!("{}: {e}", step.name))?;
    if step.reads == Reads::Status && status.success() {
        count.passed += 1;
    }
    if !status.success() && count.failed == 0 {
        count.failed += 1;
    }
    Ok(count)
}

fn read(reads: Reads, line: &str) -> Option<Count> {
    let applies = match reads {
        Reads::Cargo => line.starts_with("test result: "),
        Reads::Plain => line.ends_with(" failed") && line.contains(" passed, "),
        Reads::Pytest => line.contains(" in ") && line.ends_with(['s', ')']),
        Reads::Status => false,
    };
    let (passed, failed) = (number_before(line, "passed"), number_before(line, "failed"));
    let errors =
        number_before(line, "error").unwrap_or(0) + number_before(line, "errors").unwrap_or(0);
    (applies && (passed.is_some() || failed.is_some() || errors > 0))
        .then(|| Count { passed: passed.unwrap_or(0), failed: failed.unwrap_or(0) + errors })
}

fn number_before(line: &str, word: &str) -> Option<usize> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .windows(2)
        .find(|pair| pair[1].trim_end_matches([',', ';']) == word)
        .and_then(|pair| pair[0].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runners_count_is_read() {
        let count = |reads, line| read(reads, line).map(|c| (c.passed, c.failed));
        let cargo = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured";
        assert_eq!(count(Reads::Cargo, cargo), Some((3, 1)));
        assert_eq!(count(Reads::Plain, "7 passed, 0 failed"), Some((7, 0)));
        assert_eq!(count(Reads::Pytest, "2 failed, 3 passed in 0.10s"), Some((3, 2)));
        assert_eq!(count(Reads::Pytest, "1 passed, 1 error in 2.00s"), Some((1, 1)));
        assert_eq!(count(Reads::Pytest, "4 passed in 118.80s (0:01:58)"), Some((4, 0)));
        assert_eq!(count(Reads::Pytest, "test_a.py ..."), None);
        assert_eq!(count(Reads::Status, "3 passed"), None);
    }
}
