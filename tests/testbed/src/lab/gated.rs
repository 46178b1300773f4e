//! The client behind a gate: `conngate run OPTIONS -o json -- conngate-test-client connect DESTINATION FLAGS`.
//!
//! Knows nothing of how conngate works: it starts the binary as a user would and reads what it prints. All of it lives in
//! a cgroup of the laboratory, so that nothing outlives a failed test, a killed conngate's client and keeper included.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    cgroup::Cgroup,
    client::{self, Client},
    namespace::Namespace,
    tool,
    wait::wait_until,
};

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The conngate binary.
pub fn binary() -> Result<PathBuf> {
    tool::built("conngate", "conngate")
}

/// A gated client. Killed with all that it started when dropped.
#[derive(Debug)]
pub struct Gated {
    client: Client,
    events: Arc<Mutex<Vec<Value>>>,
    cgroup: Cgroup,
}

impl Gated {
    /// Starts it inside `namespace`.
    pub fn start(namespace: &Namespace, options: &[&str], destination: &str, flags: &[&str]) -> Result<Self> {
        let client = client::binary()?;
        let mut arguments = vec![client.to_str().context("a path in UTF-8")?, "connect", destination];
        arguments.extend(flags);
        Self::start_command(namespace, options, &arguments)
    }

    /// As [`Gated::start`], with any command.
    pub fn start_command(namespace: &Namespace, options: &[&str], command: &[&str]) -> Result<Self> {
        Self::start_in(Cgroup::new()?, namespace, options, command)
    }

    /// As [`Gated::start_command`], with conngate itself in `cgroup`.
    pub fn start_in(cgroup: Cgroup, namespace: &Namespace, options: &[&str], command: &[&str]) -> Result<Self> {
        Self::start_prepared(cgroup, namespace, options, command, |_| {})
    }

    /// As [`Gated::start_in`], with conngate's own command changed by `prepare`.
    pub fn start_prepared(
        cgroup: Cgroup,
        namespace: &Namespace,
        options: &[&str],
        command: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut conngate = namespace.command(binary()?);
        conngate.args(["run", "-o", "json"]).args(options).arg("--").args(command).stderr(Stdio::piped());
        cgroup.join(&mut conngate)?;
        prepare(&mut conngate);
        let mut client = Client::start(conngate)?;
        let stderr = client.process().child().stderr.take().context("stderr is a pipe")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // What is not JSON is CMD's own word, or a warning: shown when the test fails.
                match serde_json::from_str(&line) {
                    Ok(event) => sink.lock().unwrap_or_else(PoisonError::into_inner).push(event),
                    Err(_) => eprintln!("{line}"),
                }
            }
        });
        Ok(Self { client, events, cgroup })
    }

    /// The client and its reports.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The cgroup in which conngate made its own.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The events of one kind so far.
    #[must_use]
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    /// Waits for at least `count` events of one kind.
    pub fn wait_for(&self, kind: &str, count: usize) -> Result<Vec<Value>> {
        let events = wait_until(PATIENCE, &format!("{count} times {kind}"), || {
            let events = self.events(kind);
            (events.len() >= count || !self.events("error").is_empty()).then_some(events)
        })?;
        anyhow::ensure!(events.len() >= count, "conngate failed: {:?}", self.events("error"));
        Ok(events)
    }

    /// Kills conngate alone; the client goes on.
    pub fn kill_conngate(&mut self) -> Result<()> {
        let status = self.client.process().kill().context("cannot kill conngate")?;
        anyhow::ensure!(status.signal() == Some(9), "conngate had ended before: {status}");
        Ok(())
    }

    /// Lets a client with `--stay` end, and waits for conngate's end and all that it says.
    pub fn finish(&mut self) -> Result<ExitStatus> {
        drop(self.client.process().child().stdin.take());
        let status = self.client.process().child().wait().context("cannot wait for conngate")?;
        wait_until(PATIENCE, "conngate's last word", || {
            (!self.events("summary").is_empty() || !self.events("error").is_empty()).then_some(())
        })?;
        Ok(status)
    }
}
