//! Tracing set-up. Levels: ERROR needs a human, WARN is unexpected but handled, INFO is a
//! change of state. SQL text and credentials never appear above DEBUG.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error: text at a terminal, JSON lines otherwise.
/// `BLUESHIFT_LOG` holds a filter such as `info,exec=debug`; the default is `warn`.
pub fn start(default_filter: &str) {
    let filter =
        EnvFilter::try_from_env("BLUESHIFT_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().try_init()
    };
    // A second call in one process (embedded tests) keeps the first subscriber.
    drop(result);
}
