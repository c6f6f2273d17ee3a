//! `blueshift admin`: what an operator does beside a running cluster.

use std::path::PathBuf;

use base::{Error, Result};
use clap::Subcommand;

use crate::shell::print_line;

/// Commands of `blueshift admin`.
#[derive(Subcommand)]
pub(crate) enum AdminCommand {
    /// Show what is in a segment file: columns, encodings, sizes, zone maps
    Segment { file: PathBuf },
    /// Make the certificates with which the nodes of a cluster trust one another
    Certificates {
        /// Where to write them; copy authority.crt and the files of a host's role to that host
        directory: PathBuf,
    },
    /// Write TPC-H data as CSV files, a directory for each table
    Tpch {
        directory: PathBuf,
        #[arg(long, default_value_t = 0.1)]
        scale: f64,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: AdminCommand) -> Result<()> {
    match command {
        AdminCommand::Segment { file } => {
            let bytes = std::fs::read(&file)
                .map_err(|e| Error::io(format!("read {}", file.display()), e))?;
            let path = file.display().to_string();
            print_line(&columnar::inspect::describe(&bytes.into(), &path)?);
        }
        AdminCommand::Certificates { directory } => {
            manage::create_certificates(&directory, "cluster")?;
            print_line(&format!("certificates in {}", directory.display()));
        }
        AdminCommand::Tpch { directory, scale } => {
            let target = directory.clone();
            let make = move || crate::demo::generate(&target, scale);
            let bytes = base::task::blocking("tpch data", make).await?;
            print_line(&format!("{bytes} bytes in {}", directory.display()));
        }
    }
    Ok(())
}
