//! A bar for a COPY that runs for more than a second, fed by a second connection.

use std::io::IsTerminal;
use std::time::Duration;

use base::CancellationToken;
use indicatif::{ProgressBar, ProgressStyle};

use super::connection::{Connection, Target};

const FIRST_LOOK: Duration = Duration::from_secs(1);
const REFRESH: Duration = Duration::from_millis(250);

/// Watches one statement until it finishes.
pub(crate) struct Watch {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Watch {
    /// Watches when the text is a COPY and somebody looks at a terminal.
    pub(crate) fn start(text: &str, target: &Target, connection: &Connection) -> Self {
        let stop = CancellationToken::new();
        let is_copy = text.trim_start().get(..4).is_some_and(|w| w.eq_ignore_ascii_case("copy"));
        let task = match connection.process_id() {
            Some(process_id) if is_copy && std::io::stderr().is_terminal() => {
                Some(base::task::spawn(
                    "copy progress",
                    follow(target.clone(), process_id, stop.clone()),
                ))
            }
            _ => None,
        };
        Self { stop, task }
    }

    pub(crate) async fn finish(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            drop(task.await);
        }
    }
}

async fn follow(target: Target, process_id: i32, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = tokio::time::sleep(FIRST_LOOK) => {}
    }
    // Progress is a courtesy: without a second connection the COPY goes on unwatched.
    let Ok(connection) = Connection::open(&target).await else { return };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:40} {bytes}/{total_bytes} {percent}% {binary_bytes_per_sec} eta {eta}",
    ) {
        bar.set_style(style);
    }
    let query = format!(
        "SELECT bytes_processed, bytes_total FROM pg_stat_progress_copy WHERE pid = {process_id}"
    );
    while !stop.is_cancelled() {
        if let Ok(rows) = connection.rows(&query).await {
            let number = |i: usize| rows.first()?.get(i)?.as_deref()?.parse::<u64>().ok();
            if let (Some(done), Some(total)) = (number(0), number(1)) {
                bar.set_length(total);
                bar.set_position(done);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
    bar.finish_and_clear();
}
