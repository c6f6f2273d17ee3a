//! `cargo xtask torture`: what the tests do at random, for as long as asked, with figures.
//!
//! The first round does what CI does and is timed; the second does as many times more as the
//! remaining minutes hold. A failure ends its own part only.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::install;
use crate::suite::{self, Count, Reads, Step};

/// Minutes that may be asked for: at most a week.
const MINUTES_MAX: u64 = 7 * 24 * 60;

/// Seeds of each simulation in CI.
const SEEDS: f64 = 100_000.0;

/// The least that a second round is worth.
const SCALE_MIN: f64 = 0.2;

/// The parts: a name and the tests of it. The numbers are those of the design's list.
const PARTS: &[(&str, &str)] = &[
    ("T3 leader killed", "tests/crash/test_mixed.py::test_the_leader_is_killed"),
    ("T4 fault points", "tests/crash/test_faults.py"),
    ("T5 compute node killed", "tests/crash/test_mixed.py::test_a_compute_node_is_killed"),
    ("T6 isolation", "tests/isolation/test_histories.py::test_isolation_level"),
    (
        "T7 isolation, leader killed",
        "tests/isolation/test_histories.py::test_isolation_level_while_the_leader_is_killed",
    ),
    ("T8 bank", "tests/stress/test_bank.py::test_the_books_balance_in_every_snapshot"),
    ("T9 random statements", "tests/stress/test_random.py::test_random_statements"),
    ("vectors", "tests/stress/test_vectors.py"),
    ("T10 damaged data", "tests/crash/test_damage.py::test_damaged_data_files"),
    ("T10 damaged catalog", "tests/crash/test_damage.py::test_damaged_catalog_files"),
    ("T3, T10 on S3", "tests/crash/test_over_s3.py"),
    ("fifty sessions", "tests/stress/test_sessions.py::test_fifty_sessions"),
    ("full disk", "tests/crash/test_full_disk.py"),
    ("many segments", "tests/crash/test_many_segments.py"),
];

/// Runs for about `minutes`; true when nothing failed.
pub(crate) fn run(root: &Path, minutes: &str) -> Result<bool, String> {
    let minutes: u64 =
        minutes
            .parse()
            .ok()
            .filter(|minutes| (1..=MINUTES_MAX).contains(minutes))
            .ok_or_else(|| format!("--minutes takes a number from 1 to {MINUTES_MAX}"))?;
    let python = install::run(root)?;
    if !suite::build(root)? {
        return Ok(false);
    }
    let torture = Torture { root, python, figures: figures_file() };
    let deadline = Instant::now() + Duration::from_secs(60 * minutes);
    let started = Instant::now();
    let mut total = torture.round(1.0)?;
    let first = started.elapsed().as_secs_f64();
    let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
    let scale = left / first.max(1.0);
    if scale >= SCALE_MIN {
        total += torture.round(scale)?;
    }
    let figures = std::fs::read_to_string(&torture.figures).unwrap_or_default();
    crate::say(&format!("\nfigures, {} minutes:\n{figures}", started.elapsed().as_secs() / 60));
    crate::say(&format!("{} passed, {} failed", total.passed, total.failed));
    let _ = std::fs::remove_file(&torture.figures);
    Ok(total.failed == 0 && total.passed > 0)
}

fn figures_file() -> PathBuf {
    std::env::temp_dir().join(format!("blueshift-figures-{}", std::process::id()))
}

struct Torture<'a> {
    root: &'a Path,
    python: install::Python,
    /// Where tests append what they did.
    figures: PathBuf,
}

impl Torture<'_> {
    /// Every part once, at `scale` times the work that it does in CI.
    fn round(&self, scale: f64) -> Result<Count, String> {
        crate::say(&format!("round at {scale:.1} times the default work"));
        let mut total = self.simulations(scale)?;
        for &(name, tests) in PARTS {
            let mut command = suite::pytest(self.root, &self.python, &[tests]);
            command
                .env("BLUESHIFT_SCALE", format!("{scale:.3}"))
                .env("BLUESHIFT_FIGURES", &self.figures);
            total += self.part(Step { name, command, reads: Reads::Pytest })?;
        }
        Ok(total)
    }

    /// T1 and T2 are among the unit tests: the commit protocol simulated.
    fn simulations(&self, scale: f64) -> Result<Count, String> {
        let words = ["test", "--release", "--workspace", "--no-fail-fast", "simulation"];
        let mut command = suite::cargo(self.root, &words);
        command.env("BLUESHIFT_SEEDS", format!("{:.0}", SEEDS * scale));
        let name = "T1, T2 simulations";
        self.part(Step { name, command, reads: Reads::Cargo })
    }

    fn part(&self, step: Step) -> Result<Count, String> {
        let (name, started) = (step.name, Instant::now());
        let count = suite::execute(step)?;
        let seconds = started.elapsed().as_secs();
        crate::say(&format!("part {name}: {} ok, {} bad, {seconds} s", count.passed, count.failed));
        Ok(count)
    }
}
