//! What the tests need beyond the workspace: clients and PostgreSQL from Debian, drivers from
//! PyPI, the isolation checker from crates.io.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file that a Debian package brings, and the package.
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/bin/psql", "postgresql-client"),
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("/usr/bin/java", "default-jdk-headless"),
    ("/usr/share/java/postgresql.jar", "libpostgresql-jdbc-java"),
    ("/usr/bin/odbcinst", "odbcinst"),
    ("/usr/lib/x86_64-linux-gnu/libodbc.so.2", "libodbc2"),
    ("/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so", "odbc-postgresql"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/cc", "gcc"),
];

/// The checker of isolation levels: the crate and its version. It did not grow with this server,
/// and finds Adya's anomalies in histories in Elle's format.
const CHECKER: (&str, &str) = ("adya", "0.1.0");

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
    install_checker(root)?;
    python(root)
}

/// Where the isolation checker is.
pub(crate) fn checker() -> PathBuf {
    checker_home().join("bin").join(CHECKER.0)
}

fn checker_home() -> PathBuf {
    cache().join(format!("{}-{}", CHECKER.0, CHECKER.1))
}

/// Builds the isolation checker in a directory of its own, without its database drivers.
fn install_checker(root: &Path) -> Result<(), String> {
    if checker().exists() {
        return Ok(());
    }
    crate::say(&format!("installing {} {}", CHECKER.0, CHECKER.1));
    let home = checker_home();
    let version = format!("={}", CHECKER.1);
    let status = crate::suite::cargo(root, &["install", "--quiet", "--locked", CHECKER.0])
        .args(["--version", &version, "--no-default-features", "--root"])
        .arg(&home)
        .env("CARGO_TARGET_DIR", home.join("target"))
        .status()
        .map_err(|e| format!("cargo install {}: {e}", CHECKER.0))?;
    if status.success() { Ok(()) } else { Err(format!("cargo install {}: {status}", CHECKER.0)) }
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
