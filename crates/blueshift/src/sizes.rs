//! Sizes on the command line (`512MB`) and what this machine has.

use base::{Result, error};

/// Reads a size such as `64MB` or `2GB`; units are powers of 1024, none means bytes.
pub(crate) fn parse(text: &str) -> Result<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => 0,
    };
    let bytes = digits.trim().parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        error!(InvalidParameterValue, "\"{text}\" is not a size").hint("Write it as 512MB or 4GB.")
    })
}

/// Memory that this process may use, in bytes: the control group's limit, else the machine's.
pub(crate) fn memory_bytes() -> usize {
    const FALLBACK: usize = 4 << 30;
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kb| kb * 1024)
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok())
        .min();
    machine.unwrap_or(FALLBACK).min(group.unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse("64MB").unwrap(), 64 << 20);
        assert_eq!(parse("2g").unwrap(), 2 << 30);
        assert_eq!(parse("1000").unwrap(), 1000);
        for bad in ["", "MB", "-1", "0", "5XB", "99999999999TB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(memory_bytes() > 64 << 20);
    }
}
