//! ipsetd alone in a namespace, as it is measured: started, ready, and gone with the value.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fwn_testkit::{Netns, Sandbox};

use crate::BenchError;
use crate::launch::SEARCH_PATH;

/// Where peers find the container of a connected [`Sandbox`], and where they come from.
pub const CONTAINER: &str = "10.9.0.2";
const PEER: &str = "10.9.0.1";
/// The daemon's port.
pub const PORT: u16 = 9999;
/// How long it may take to open its port.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that serves.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts `program` in the container of a connected sandbox, open for its host.
    ///
    /// # Errors
    /// It cannot be started, or does not open its port.
    pub fn start(program: &Path, container: &Netns) -> Result<Self, BenchError> {
        let mut command = container.command(program);
        command.env_clear().env("PATH", SEARCH_PATH).env("IPSET", "1").env("IPSET_ALLOW_FROM", PEER);
        let child = spawn(command, program)?;
        let mut daemon = Self { child };
        daemon.wait_for("listening")?;
        Ok(daemon)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its log; what it logs later is thrown away.
    fn wait_for(&mut self, word: &'static str) -> Result<(), BenchError> {
        let Some(stderr) = self.child.stderr.take() else { return Ok(()) };
        let (found, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                match line {
                    Ok(line) if line.contains(word) => drop(found.send(())),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        });
        ready.recv_timeout(PATIENCE).map_err(|_| BenchError::Failed {
            command: "ipsetd".to_owned(),
            output: format!("it did not log `{word}` within {} s", PATIENCE.as_secs()),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(mut command: Command, program: &Path) -> Result<Child, BenchError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map_err(|source| BenchError::Start { program: program.to_owned(), source })
}

/// A connection from the host of a sandbox to a port of its container, without delay for small packets.
///
/// # Errors
/// There is none.
pub fn connect(sandbox: &Sandbox, port: u16) -> Result<TcpStream, BenchError> {
    let connected = sandbox.host.run(|| {
        let stream = TcpStream::connect((CONTAINER, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    connected.map_err(BenchError::Connection)
}
