//! The one binary: argument parsing and assembly of the floors below.

mod admin;
mod assembly;
mod demo;
mod processor;
mod roles;
mod shell;
mod sizes;
mod start;

use std::process::ExitCode;

use base::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An open, self-hosted MPP data warehouse that speaks Amazon Redshift.
#[derive(Parser)]
#[command(name = "blueshift", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this host: a leader and its compute nodes
    Start(start::StartArguments),
    /// Run only the leader; compute nodes are on other hosts
    Leader(roles::LeaderArguments),
    /// Run only one compute node
    Compute(roles::ComputeArguments),
    /// A psql-like shell
    Sql(shell::ShellOptions),
    /// TPC-H from nothing: data, cluster, COPY, the 22 queries
    Demo(demo::DemoOptions),
    /// Look into segments, make certificates and test data
    #[command(subcommand)]
    Admin(admin::AdminCommand),
}

fn main() -> ExitCode {
    match checked() {
        Ok(code) => code,
        Err(error) => {
            shell::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn checked() -> Result<ExitCode> {
    processor::check()?;
    let arguments = Arguments::parse();
    let runtime = assembly::runtime()?;
    let outcome = runtime.block_on(run(arguments.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn run(command: Command) -> Result<ExitCode> {
    base::telemetry::start("warn");
    if let Ok(faults) = std::env::var("BLUESHIFT_FAULTS") {
        base::fault::arm(&faults)?;
    }
    match command {
        Command::Start(arguments) => start::run(arguments).await?,
        Command::Leader(arguments) => roles::leader(arguments).await?,
        Command::Compute(arguments) => roles::compute(arguments).await?,
        Command::Demo(options) => demo::run(options).await?,
        Command::Admin(command) => admin::run(command).await?,
        Command::Sql(options) => {
            let failed = shell::run(options).await? != 0;
            return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    }
    Ok(ExitCode::SUCCESS)
}
