//! A built server as a child process on a data directory of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::{Error, Result, error};

/// The password of the administrator in tests.
pub const PASSWORD: &str = "Test-password-1";

/// A cluster shape under which the whole corpus must give the same answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub name: &'static str,
    pub arguments: &'static [&'static str],
}

/// Every mode that the corpus runs in.
pub const MODES: &[Mode] = &[
    Mode { name: "embedded-1x1", arguments: &["--nodes", "1", "--slices-per-node", "1"] },
    Mode { name: "embedded-2x2", arguments: &["--nodes", "2", "--slices-per-node", "2"] },
    Mode {
        name: "processes-3x2",
        arguments: &["--nodes", "3", "--slices-per-node", "2", "--processes"],
    },
    Mode {
        name: "tiny-memory",
        arguments: &[
            "--nodes",
            "2",
            "--slices-per-node",
            "2",
            "--memory-limit",
            "128MB",
            "--query-memory-limit",
            "32MB",
        ],
    },
];

impl Mode {
    pub fn named(name: &str) -> Option<Mode> {
        MODES.iter().copied().find(|mode| mode.name == name)
    }
}

/// A running server; it is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    data: tempfile::TempDir,
    log: PathBuf,
}

impl Server {
    /// Starts `program` in `mode` on a new directory with files for COPY below `load_dir`.
    ///
    /// # Errors
    /// 58000 with the end of the server's log when it is not ready within 30 seconds.
    pub fn start(program: &Path, mode: Mode, load_dir: &Path) -> Result<Server> {
        let data = tempfile::tempdir().map_err(|e| Error::io("make a data directory", e))?;
        let log = data.path().join("server.log");
        let errors =
            std::fs::File::create(&log).map_err(|e| Error::io("create the server's log", e))?;
        let child = Command::new(program)
            .arg("start")
            .args(["--port", "0", "--admin-password", PASSWORD])
            .arg("--data")
            .arg(data.path().join("cluster"))
            .arg("--load-dir")
            .arg(load_dir)
            .args(mode.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|e| Error::io(format!("start {}", program.display()), e))?;
        let mut server = Server { child, address: String::new(), data, log };
        server.address = server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<String> {
        let output = base::proven(self.child.stdout.take(), "standard output is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|e| Error::io("read the ready line", e))?;
        line.strip_prefix("blueshift ready: postgresql://awsuser@")
            .and_then(|rest| rest.split('/').next())
            .map(str::to_owned)
            .ok_or_else(|| {
                error!(SystemError, "the server is not ready: {line:?}").detail(self.log_text())
            })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// What the server and its nodes logged.
    pub fn log_text(&self) -> String {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut f| f.read_to_string(&mut text));
        if let Err(e) = read { format!("the log cannot be read: {e}") } else { text }
    }

    /// Connects as the administrator.
    pub async fn connect(&self) -> Result<tokio_postgres::Client> {
        let url = format!("postgresql://awsuser:{PASSWORD}@{}/dev", self.address);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .map_err(|e| error!(ConnectionFailure, "could not connect to {}: {e}", self.address))?;
        base::task::spawn("test connection", async move {
            // The end of the connection shows in the client's next call.
            drop(connection.await);
        });
        Ok(client)
    }

    /// Asks the server to drain with SIGTERM.
    ///
    /// # Errors
    /// 58000 when it does not exit with status 0 within 30 seconds.
    pub fn stop(mut self) -> Result<()> {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .map_err(|e| Error::io("send SIGTERM", e))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while status.success() && Instant::now() < deadline {
            match self.child.try_wait().map_err(|e| Error::io("wait for the server", e))? {
                Some(exit) if exit.success() => return Ok(()),
                Some(exit) => {
                    return Err(
                        error!(SystemError, "the server ended with {exit}").detail(self.log_text())
                    );
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(error!(SystemError, "the server did not stop on SIGTERM").detail(self.log_text()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
