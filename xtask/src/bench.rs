//! `cargo xtask bench`: the built server beside its peers.

use std::path::Path;
use std::process::Command;

use crate::{install, suite};

/// Builds and runs `bench/tpch.py` with the given arguments.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool, String> {
    let python = install::run(root)?;
    let built = suite::cargo(root, &["build", "--release", "--workspace", "--bins"])
        .status()
        .map_err(|e| format!("cargo build: {e}"))?;
    if !built.success() {
        return Ok(false);
    }
    Command::new(python.program())
        .arg("bench/tpch.py")
        .args(arguments)
        .env("BLUESHIFT_PROGRAM", suite::target(root).join("release/blueshift"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root)
        .status()
        .map(|status| status.success())
        .map_err(|e| format!("bench/tpch.py: {e}"))
}
