//! `cargo xtask bench`: the built server beside its peers.

use std::path::Path;
use std::process::Command;

use crate::{install, suite};

/// Builds and runs a benchmark with the given arguments: `bench/dml.py` after the word `dml`,
/// `bench/events.py` after `events`, `bench/memory.py` after `memory`, `bench/plan_quality.py`
/// after `plans`, `bench/tpcds.py` after `tpcds`, else `bench/tpch.py`.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool, String> {
    let (script, arguments) = match arguments {
        ["dml", rest @ ..] => ("bench/dml.py", rest),
        ["events", rest @ ..] => ("bench/events.py", rest),
        ["memory", rest @ ..] => ("bench/memory.py", rest),
        ["plans", rest @ ..] => ("bench/plan_quality.py", rest),
        ["tpcds", rest @ ..] => ("bench/tpcds.py", rest),
        rest => ("bench/tpch.py", rest),
    };
    let python = install::run(root)?;
    if !suite::build(root)? {
        return Ok(false);
    }
    Command::new(python.program())
        .arg(script)
        .args(arguments)
        .env("BLUESHIFT_PROGRAM", suite::target(root).join("release/blueshift"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root)
        .status()
        .map(|status| status.success())
        .map_err(|e| format!("{script}: {e}"))
}
