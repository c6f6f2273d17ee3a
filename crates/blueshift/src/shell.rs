//! `blueshift sql`: a psql-like shell over the server's own protocol.

mod commands;
mod connection;
mod progress;
mod render;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use base::{Error, Result, error};
use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

pub(crate) use connection::{Connection, Target};
pub(crate) use render::Format;
use render::Settings;
pub(crate) use render::line as print_line;

/// Options of `blueshift sql`.
#[derive(Args, Debug)]
pub(crate) struct ShellOptions {
    /// postgresql://USER[:PASSWORD]@HOST:PORT/DATABASE, as the server's ready line shows it
    url: Option<String>,
    /// Server host
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Server port
    #[arg(long, default_value_t = 5439)]
    port: u16,
    /// User name
    #[arg(long, short = 'U', default_value = "awsuser")]
    user: String,
    /// Database
    #[arg(long, short = 'd', default_value = "dev")]
    database: String,
    /// File with the password in its first line; PGPASSWORD works too
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Run this text and exit
    #[arg(long, short = 'c')]
    command: Option<String>,
    /// Run this file and exit
    #[arg(long, short = 'f')]
    file: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Runs the shell; the exit status is 1 when a statement of a script failed.
pub(crate) async fn run(options: ShellOptions) -> Result<i32> {
    let target = target(&options)?;
    let mut shell = Shell {
        connection: Connection::open(&target).await?,
        target,
        settings: Settings::new(options.format),
        failed: false,
    };
    if let Some(text) = &options.command {
        shell.script(text).await?;
    } else if let Some(file) = &options.file {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::io(format!("read {}", file.display()), e))?;
        shell.script(&text).await?;
    } else if std::io::stdin().is_terminal() {
        shell.interactive().await?;
        return Ok(0);
    } else {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| Error::io("read standard input", e))?;
        shell.script(&text).await?;
    }
    Ok(i32::from(shell.failed))
}

fn target(options: &ShellOptions) -> Result<Target> {
    let mut target = match &options.url {
        Some(url) => Target::parse(url)?,
        None => Target {
            host: options.host.clone(),
            port: options.port,
            user: options.user.clone(),
            database: options.database.clone(),
            password: None,
        },
    };
    if let Some(file) = &options.password_file {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::io(format!("read {}", file.display()), e))?;
        target.password = Some(base::Secret::new(text.lines().next().unwrap_or_default()));
    }
    if target.password.is_none() {
        target.password = std::env::var("PGPASSWORD").ok().map(base::Secret::new);
    }
    Ok(target)
}

struct Shell {
    connection: Connection,
    target: Target,
    settings: Settings,
    failed: bool,
}

/// What a line asked the shell to do next.
enum Flow {
    Continue,
    Quit,
}

impl Shell {
    /// Runs a text statement by statement, stopping at the first that fails.
    async fn script(&mut self, text: &str) -> Result<()> {
        let mut pending = String::new();
        for line in text.lines() {
            if pending.trim().is_empty() && line.trim_start().starts_with('\\') {
                if let Flow::Quit = self.command(line.trim()).await? {
                    return Ok(());
                }
                continue;
            }
            pending.push_str(line);
            pending.push('\n');
            if is_complete(&pending) {
                let statement = std::mem::take(&mut pending);
                self.statement(&statement).await?;
                if self.failed {
                    return Ok(());
                }
            }
        }
        if !pending.trim().is_empty() {
            self.statement(&pending).await?;
        }
        Ok(())
    }

    async fn interactive(&mut self) -> Result<()> {
        let mut editor = DefaultEditor::new()
            .map_err(|e| error!(SystemError, "could not start the line editor: {e}"))?;
        let history = history_file();
        if let Some(file) = &history {
            // A missing history is an empty one.
            drop(editor.load_history(file));
        }
        render::line(&format!(
            "blueshift sql {}. Type \\? for help, \\q to quit.",
            env!("CARGO_PKG_VERSION")
        ));
        let mut pending = String::new();
        loop {
            let prompt = self.prompt(pending.is_empty());
            let read = tokio::task::block_in_place(|| editor.readline(&prompt));
            let line = match read {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    pending.clear();
                    continue;
                }
                Err(ReadlineError::Eof) => break,
                Err(e) => return Err(error!(SystemError, "could not read the line: {e}")),
            };
            if pending.is_empty() && line.trim_start().starts_with('\\') {
                drop(editor.add_history_entry(line.as_str()));
                if let Flow::Quit = self.command(line.trim()).await? {
                    break;
                }
                continue;
            }
            pending.push_str(&line);
            pending.push('\n');
            if is_complete(&pending) {
                let statement = std::mem::take(&mut pending);
                drop(editor.add_history_entry(statement.trim()));
                self.statement(&statement).await?;
            }
        }
        if let Some(file) = &history
            && let Err(error) = editor.save_history(file)
        {
            render::error_line(&format!("history was not saved: {error}"));
        }
        Ok(())
    }

    fn prompt(&self, fresh: bool) -> String {
        let mark = if fresh { "=#" } else { "-#" };
        format!("{}{mark} ", self.target.database)
    }

    /// Sends a text and prints what comes back. A lost connection is opened again once.
    async fn statement(&mut self, text: &str) -> Result<()> {
        let watching = progress::Watch::start(text, &self.target, &self.connection);
        let started = base::clock::instant();
        let outcome = self.connection.run(text, &mut self.settings).await;
        watching.finish().await;
        match outcome {
            Ok(()) => {}
            Err(error) => {
                self.failed = true;
                render::error(&error, text);
                if self.connection.is_closed() {
                    render::error_line("The connection to the server was lost. Connecting again.");
                    self.connection = Connection::open(&self.target).await?;
                }
            }
        }
        if self.settings.timing {
            let ms = started.elapsed().as_secs_f64() * 1_000.0;
            render::line(&format!("Time: {ms:.3} ms"));
        }
        Ok(())
    }

    async fn command(&mut self, line: &str) -> Result<Flow> {
        match commands::parse(line, &mut self.settings) {
            commands::Action::Quit => return Ok(Flow::Quit),
            commands::Action::Say(text) => render::line(&text),
            commands::Action::Query(texts) => {
                for text in texts {
                    self.statement(&text).await?;
                }
            }
            commands::Action::Connect(database) => {
                self.target.database = database;
                self.connection = Connection::open(&self.target).await?;
            }
            commands::Action::Include(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Box::pin(self.script(&text)).await?,
                Err(e) => render::error_line(&format!("{path}: {e}")),
            },
        }
        Ok(Flow::Continue)
    }
}

/// Prints an error that is not about a statement.
pub(crate) fn print_error(error: &Error) {
    render::error(error, "");
}

/// True when the text ends with a semicolon outside of quotes and comments.
fn is_complete(text: &str) -> bool {
    text.trim_end().ends_with(';') && sql::split(text).is_ok()
}

fn history_file() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".blueshift_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_complete_at_a_semicolon_outside_quotes() {
        assert!(is_complete("select 1;\n"));
        assert!(!is_complete("select 1\n"));
        assert!(!is_complete("select 'a;\n"));
        assert!(!is_complete("/* ;\n"));
    }
}
