//! A server with a made-up leader, to try clients against: `cargo run -p wire --example fake`.
//!
//! Users `awsuser`, `md5user` and `digestuser`, password `Secret123`.

#[path = "../tests/support/fake.rs"]
mod fake;

use std::sync::Arc;

use wire::{Server, ServerOptions, Tls};

#[tokio::main]
async fn main() -> base::Result<()> {
    tracing_subscriber::fmt().with_env_filter("info,wire=debug").init();
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(20_200_u16);
    let dir = arguments.next().map_or(std::env::temp_dir().join("wire-fake"), Into::into);
    std::fs::create_dir_all(&dir).map_err(|error| base::Error::io("make a directory", error))?;
    let options = ServerOptions { tls: Tls::load_or_create(&dir)?, ..ServerOptions::default() };
    let shutdown = options.shutdown.clone();
    let leader = Arc::new(fake::FakeLeader::default());
    let server = Server::bind(([127, 0, 0, 1], port).into(), leader, options).await?;
    tracing::info!(address = %server.local_addr(), "ready");
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.cancel();
        }
    });
    server.serve().await;
    Ok(())
}
