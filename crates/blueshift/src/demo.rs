//! `blueshift demo`: TPC-H from nothing — data, cluster, tables, COPY over the wire, the 22
//! queries, a co-located join's plan, and how to connect.

mod data;
mod tpch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Error, Result, error};
use clap::Args;

use crate::shell::{Connection, Target};
use crate::start::{self, Running, StartOptions};

pub(crate) use data::generate;

/// Options of `blueshift demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    /// TPC-H scale factor: 1 is about 1 GB of text
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// Data directory; without it the demo uses a temporary one and removes it at the end
    #[arg(long)]
    data: Option<PathBuf>,
    /// Port of the server
    #[arg(long, default_value_t = 5439)]
    port: u16,
    /// Compute nodes
    #[arg(long, default_value_t = 2)]
    nodes: u16,
    /// Slices of each compute node
    #[arg(long, default_value_t = 2)]
    slices_per_node: u16,
    /// Run each compute node as a process of its own
    #[arg(long)]
    processes: bool,
    /// Keep serving at the end, also when this is not a terminal
    #[arg(long, conflicts_with = "exit")]
    serve: bool,
    /// Exit at the end, also at a terminal
    #[arg(long)]
    exit: bool,
    /// Write every query's rows as CSV files into this directory
    #[arg(long)]
    answers: Option<PathBuf>,
}

/// Runs the demo.
pub(crate) async fn run(options: DemoOptions) -> Result<()> {
    if !(options.scale > 0.0 && options.scale <= 1_000.0) {
        return Err(error!(
            InvalidParameterValue,
            "scale {} must be above 0 and at most 1000", options.scale
        ));
    }
    let temporary = options.data.is_none();
    let root = options.data.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("blueshift-demo-{}", std::process::id()))
    });
    let outcome = play(&options, &root).await;
    if temporary {
        drop(std::fs::remove_dir_all(&root));
    }
    outcome
}

async fn play(options: &DemoOptions, root: &Path) -> Result<()> {
    let files = root.join("tpch");
    say(&format!("TPC-H at scale {} in {}", options.scale, files.display()));
    let started = base::clock::instant();
    let (scale, directory) = (options.scale, files.clone());
    let bytes = base::task::blocking("tpch data", move || generate(&directory, scale)).await?;
    say(&format!("  {} MB of CSV made in {}", bytes / 1_000_000, seconds(started.elapsed())));

    let running = start::launch(StartOptions {
        port: options.port,
        nodes: Some(options.nodes),
        slices_per_node: Some(options.slices_per_node),
        processes: options.processes,
        load_dir: Some(files.clone()),
        ..StartOptions::at(root.join("cluster"))
    })
    .await?;
    let target = Target {
        host: running.address().ip().to_string(),
        port: running.address().port(),
        user: start::ADMIN_USER.to_owned(),
        database: start::DATABASE.to_owned(),
        password: Some(running.admin_password()?),
    };
    let outcome = tour(options, &files, &target).await;
    if outcome.is_err() {
        running.stop().await?;
        return outcome;
    }
    let serves = options.serve || (!options.exit && std::io::stdout().is_terminal());
    how_to_connect(&running, serves);
    if serves {
        let signal = start::signals()?;
        say("Serving until Ctrl-C.");
        signal.await;
    }
    running.stop().await
}

async fn tour(options: &DemoOptions, files: &Path, target: &Target) -> Result<()> {
    let connection = Connection::open(target).await?;
    load(&connection, files).await?;
    queries(&connection, options.answers.as_deref()).await?;
    say("\nA join on the DISTKEY of both tables stays on its slices:");
    let plan = connection.rows(&format!("EXPLAIN {}", tpch::COLOCATED_JOIN)).await?;
    for line in plan {
        say(&format!("  {}", line[0].as_deref().unwrap_or_default()));
    }
    Ok(())
}

async fn load(connection: &Connection, files: &Path) -> Result<()> {
    say("\nTables, loaded with COPY:");
    for table in tpch::TABLES {
        connection.rows(table.create).await?;
        let started = base::clock::instant();
        let path = files.join(table.name).join("part-");
        connection
            .rows(&format!(
                "COPY {} FROM {} FORMAT AS CSV IGNOREHEADER 1",
                table.name,
                base::ident::literal(&path.display().to_string())
            ))
            .await?;
        let rows: Option<u64> =
            connection.scalar(&format!("SELECT count(*) FROM {}", table.name)).await?;
        say(&format!(
            "  {:<10} {:>12} rows  {:>9}",
            table.name,
            rows.unwrap_or_default(),
            seconds(started.elapsed())
        ));
    }
    Ok(())
}

async fn queries(connection: &Connection, answers: Option<&Path>) -> Result<()> {
    say("\nThe 22 queries:");
    let mut total = Duration::ZERO;
    for (index, text) in tpch::QUERIES.iter().enumerate() {
        let started = base::clock::instant();
        let rows = connection.rows(text).await?;
        let elapsed = started.elapsed();
        total += elapsed;
        say(&format!("  Q{:<3} {:>7} rows  {:>9}", index + 1, rows.len(), seconds(elapsed)));
        if let Some(first) = rows.first() {
            let values: Vec<_> = first.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect();
            say(&format!("       {}", shorten(&values.join(" | "))));
        }
        if let Some(directory) = answers {
            write_answer(directory, index + 1, &rows)?;
        }
    }
    say(&format!("  all            {:>12}", seconds(total)));
    Ok(())
}

fn write_answer(directory: &Path, number: usize, rows: &[Vec<Option<String>>]) -> Result<()> {
    let path = directory.join(format!("q{number:02}.json"));
    let text = serde_json::to_string(rows)
        .map_err(|e| Error::internal(format!("answer of Q{number}: {e}")))?;
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|e| Error::io(format!("write {}", path.display()), e))
}

fn shorten(text: &str) -> String {
    const WIDTH_MAX: usize = 90;
    if text.chars().count() <= WIDTH_MAX {
        return text.to_owned();
    }
    text.chars().take(WIDTH_MAX - 1).chain(std::iter::once('…')).collect()
}

fn how_to_connect(running: &Running, serves: bool) {
    let (url, file) = (running.url(), running.password_file());
    say(if serves {
        "\nConnect from another terminal:"
    } else {
        "\nWith --serve it goes on, and another terminal connects with:"
    });
    match file {
        Some(file) => {
            let file = file.display();
            say(&format!("  blueshift sql {url} --password-file {file}"));
            say(&format!("  PGPASSWORD=$(cat {file}) psql {url}"));
        }
        None => say(&format!("  blueshift sql {url}")),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn say(text: &str) {
    crate::shell::print_line(text);
}
