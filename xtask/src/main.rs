//! The project's own commands: `cargo xtask test | torture | tidy | bench | install`.
//!
//! Standard library only, so that it builds in a second.

mod bench;
mod install;
mod suite;
mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--only STEP]   install what the tests need and run all of them
                       steps: unit, clippy, slt, slt-plain, e2e, isolation, stress, crash
  torture --minutes N  the randomised tests again and again, longer, with their figures
  tidy                 check floors, sizes and names
  bench [ARGUMENTS]    TPC-H beside DuckDB and DataFusion (bench/tpch)
  bench dml [ARGUMENTS]
                       UPDATE, DELETE, MERGE and single rows beside DuckDB (bench/dml)
  bench events [ARGUMENTS]
                       43 queries over a wide table beside DuckDB (bench/events)
  bench plans [ARGUMENTS]
                       chosen join orders against drawn ones (bench/plan_quality)
  bench tpcds [ARGUMENTS]
                       TPC-DS beside DuckDB (bench/tpcds)
  install              install what the tests need";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let outcome = match words.as_slice() {
        ["test"] => suite::run(&root, None),
        ["test", "--only", step] => suite::run(&root, Some(step)),
        ["torture", "--minutes", minutes] => torture::run(&root, minutes),
        ["tidy"] => tidy::report(&root),
        ["bench", rest @ ..] => bench::run(&root, rest),
        ["install"] => install::run(&root).map(|_| true),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            say(&message);
            ExitCode::FAILURE
        }
    }
}

/// The checkout, whatever directory the command was called in. `cargo run` names it, also where
/// checkouts share their built files; what was known when this was built counts without cargo.
fn root() -> PathBuf {
    let named = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = named.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_path_buf()
}

#[expect(clippy::print_stdout, reason = "these commands report to standard output")]
fn say(text: &str) {
    println!("{text}");
}
