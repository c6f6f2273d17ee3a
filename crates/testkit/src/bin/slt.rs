//! Runs the SQL corpus against the built server: `slt [--mode NAME] [--filter TEXT]
//! [--set NAME=VALUE]`.
//! Ends with `N passed, N failed`, counting files in modes.

use std::path::PathBuf;
use std::process::ExitCode;

use base::{Result, error};
use clap::Parser;
use testkit::server::{MODES, Mode, Server};

/// Lines that a server may log at WARN or ERROR without failing the run.
const EXPECTED_LOG: &[&str] = &[];

#[derive(Parser)]
struct Options {
    /// The built server
    #[arg(long)]
    program: PathBuf,
    /// The corpus
    #[arg(long, default_value = "tests/slt")]
    corpus: PathBuf,
    /// Files for COPY; $LOAD_DIR in the corpus
    #[arg(long, default_value = "tests/data")]
    load_dir: PathBuf,
    /// Only this mode
    #[arg(long)]
    mode: Option<String>,
    /// Only files whose path contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// A session setting, NAME=VALUE, for every connection
    #[arg(long)]
    set: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok((passed, failed)) => {
            say(&format!("{passed} passed, {failed} failed"));
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&format!("slt: {error:?}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(usize, usize)> {
    let modes = match &options.mode {
        None => MODES.to_vec(),
        Some(name) => vec![Mode::named(name).ok_or_else(|| {
            let names: Vec<_> = MODES.iter().map(|mode| mode.name).collect();
            error!(InvalidParameterValue, "there is no mode \"{name}\"")
                .hint(format!("Modes are {}.", names.join(", ")))
        })?],
    };
    let load_dir = options
        .load_dir
        .canonicalize()
        .map_err(|e| base::Error::io(format!("find {}", options.load_dir.display()), e))?;
    let (mut passed, mut failed) = (0, 0);
    for mode in modes {
        let server = Server::start(&options.program, mode, &load_dir)?;
        let mut records = 0;
        for file in testkit::corpus::files(&options.corpus)? {
            if !file.to_string_lossy().contains(&options.filter) {
                continue;
            }
            match testkit::corpus::run(&server, &file, &load_dir, &options.set).await {
                Ok(count) => {
                    records += count;
                    passed += 1;
                }
                Err(error) => {
                    failed += 1;
                    say(&format!("FAILED {} {}\n{}", mode.name, file.display(), error.message()));
                }
            }
        }
        for line in unexpected(&server.log_text()) {
            failed += 1;
            say(&format!("FAILED {} logged {line}", mode.name));
        }
        match server.stop() {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                say(&format!("FAILED {} {error:?}", mode.name));
            }
        }
        say(&format!("{}: {records} statements", mode.name));
    }
    Ok((passed, failed))
}

fn unexpected(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""))
        .filter(|line| !EXPECTED_LOG.iter().any(|known| line.contains(known)))
        .take(20)
        .map(str::to_owned)
        .collect()
}

#[expect(clippy::print_stdout, reason = "the runner's report")]
fn say(text: &str) {
    println!("{text}");
}
