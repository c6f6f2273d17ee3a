//! What the tests need beyond the workspace: clients from Debian, drivers from PyPI.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file that a Debian package brings, and the package.
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/bin/psql", "postgresql-client"),
    ("/usr/bin/java", "default-jdk-headless"),
    ("/usr/share/java/postgresql.jar", "libpostgresql-jdbc-java"),
    ("/usr/bin/odbcinst", "odbcinst"),
    ("/usr/lib/x86_64-linux-gnu/libodbc.so.2", "libodbc2"),
    ("/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so", "odbc-postgresql"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/cc", "gcc"),
];

/// The Python environment of the tests.
pub(crate) struct Python {
    home: PathBuf,
}

impl Python {
    pub(crate) fn program(&self) -> PathBuf {
        self.home.join("bin/python")
    }
}

/// Installs what is missing; what is there is left alone.
pub(crate) fn run(root: &Path) -> Result<Python, String> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        crate::say(&format!("installing {}", missing.join(", ")));
        let sudo = if Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n") {
            &[][..]
        } else {
            &["sudo"][..]
        };
        must(sudo, &["apt-get", "update", "-qq"])?;
        let install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
        must(sudo, &[&install[..], &missing[..]].concat())?;
    }
    python(root)
}

fn python(root: &Path) -> Result<Python, String> {
    let home = cache().join("venv");
    let wanted = std::fs::read_to_string(root.join("tests/requirements.txt"))
        .map_err(|e| format!("tests/requirements.txt: {e}"))?;
    let stamp = home.join("requirements.txt");
    let python = Python { home };
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let home = python.home.display().to_string();
    must(&[], &["python3", "-m", "venv", &home])?;
    let program = python.program().display().to_string();
    let file = root.join("tests/requirements.txt").display().to_string();
    must(
        &[],
        &[&program, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", &file],
    )?;
    std::fs::write(&stamp, wanted).map_err(|e| format!("{}: {e}", stamp.display()))?;
    Ok(python)
}

/// Where things are kept between runs, outside of the checkout.
pub(crate) fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/blueshift")
}

fn must(prefix: &[&str], words: &[&str]) -> Result<(), String> {
    let all = [prefix, words].concat();
    let status = Command::new(all[0])
        .args(&all[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("{}: {e}", all[0]))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", all.join(" "))) }
}
