//! Running the client program `conngate-test-client` and reading what it reports.
//!
//! Knows nothing of how it connects: the flavour is a list of its flags.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::{namespace::Namespace, process::Running, tool, wait::patience};
use crate::report::Connection;

/// Beyond every hold and every timeout here: a client that says nothing for so long never will.
const PATIENCE: Duration = Duration::from_secs(180);

/// The client's program.
pub fn binary() -> Result<PathBuf> {
    tool::built("conngate-test-client", "conngate-testbed")
}

/// The command `conngate-test-client connect DESTINATION FLAGS…` inside `namespace`, to be changed and started.
///
/// For many connections give more destinations among the flags: application and proxy share the pod's address, so to
/// one destination they share 28,000 source ports, and past half of them the kernel's search takes milliseconds each.
pub fn command(namespace: &Namespace, destination: &str, flags: &[&str]) -> Result<Command> {
    let binary = binary()?;
    // From its own directory, entered as root: the path to a checkout is often closed to other users.
    let mut command = namespace.command("./conngate-test-client");
    command.current_dir(binary.parent().context("the client has a directory")?);
    command.arg("connect").arg(destination).args(flags);
    Ok(command)
}

/// Connects once and waits for the end of it.
pub fn connect(namespace: &Namespace, destination: &str, flags: &[&str]) -> Result<Connection> {
    Client::start(command(namespace, destination, flags)?)?.report()
}

/// A client that runs. Its stdin stays open, which is what `--stay` waits for, until the drop kills it.
#[derive(Debug)]
pub struct Client {
    process: Running,
    lines: Receiver<io::Result<String>>,
}

impl Client {
    /// Starts `command`, whose stdin and stdout become ours.
    pub fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Running::start(command)?;
        let stdout = process.child().stdout.take().context("stdout is a pipe")?;
        let (say, lines) = channel();
        // A thread, because a pipe cannot be read with a deadline; it ends with the client, or with its listener.
        thread::spawn(move || BufReader::new(stdout).lines().try_for_each(|line| say.send(line)));
        Ok(Self { process, lines })
    }

    /// The next line that the client prints, which is when its connections have ended: a [`Connection`], or a
    /// [`crate::report::Summary`] with `--count`.
    pub fn report<R: DeserializeOwned>(&mut self) -> Result<R> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("not a report: {line}"))
    }

    /// The next line, whatever it says.
    pub fn line(&mut self) -> Result<String> {
        let patience = patience(PATIENCE);
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line?),
            Err(RecvTimeoutError::Disconnected) => bail!("the client ended without a report"),
            Err(RecvTimeoutError::Timeout) => bail!("the client says nothing for {patience:?}"),
        }
    }

    /// Says the word that `--on-word` waits for.
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.process.child().stdin.as_mut().context("stdin is a pipe")?;
        stdin.write_all(b"\n").context("the client does not listen")
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }
}
