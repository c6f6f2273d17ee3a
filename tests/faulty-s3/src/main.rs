//! A small S3 server for tests: strongly consistent, with atomic conditional writes, and with
//! faults on demand.
//!
//! `PUT /_control/faults` takes rules (see `faults.rs`) as JSON and replaces those before;
//! `GET` gives how often each matched and fired. Every request becomes a line in `--log`.

mod faults;
mod list;
mod log;
mod operations;
mod request;
mod server;
mod socket;
mod store;
mod upload;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

use crate::faults::Faults;
use crate::log::Log;
use crate::operations::Operations;
use crate::server::{Broken, Server};
use crate::socket::Socket;
use crate::store::Store;

#[derive(Parser)]
struct Options {
    /// Where the objects are kept
    #[arg(long)]
    data: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The byte log
    #[arg(long)]
    log: Option<PathBuf>,
    /// Rules from the start on, as PUT /_control/faults takes them
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Buckets that are made unless they exist
    #[arg(long)]
    bucket: Vec<String>,
    #[arg(long, default_value = "test")]
    access_key: String,
    #[arg(long, default_value = "test")]
    secret_key: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "faulty-s3: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(&options.data)?;
    for bucket in &options.bucket {
        store.create_bucket(bucket)?;
    }
    let faults = Faults::default();
    if let Some(path) = &options.faults {
        faults.set(&std::fs::read(path)?)?;
    }
    let mut builder = S3ServiceBuilder::new(Operations::new(store));
    builder.set_auth(SimpleAuth::from_single(options.access_key, options.secret_key));
    let log = Log::open(options.log.as_deref())?;
    let server = Arc::new(Server { s3: builder.build(), faults, log });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    let mut out = std::io::stdout();
    writeln!(out, "faulty-s3 ready: http://{}", listener.local_addr()?)?;
    out.flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = server.clone();
        tokio::spawn(async move {
            let reset = Arc::new(AtomicBool::new(false));
            let socket = TokioIo::new(Socket::new(stream, reset.clone()));
            let service = service_fn(|request| {
                // A task of its own: what a client began is done and logged though it goes away.
                let task = tokio::spawn(server.clone().serve(request, reset.clone()));
                async move { task.await.unwrap_or(Err(Broken)) }
            });
            // An error here is a connection that was broken off, by us or by the client.
            let _ = http1::Builder::new().serve_connection(socket, service).await;
        });
    }
}
