//! Faults of a cluster: components that are stopped, or that do not answer.
//!
//! Knows nothing of what a fault does.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{components, lifetime::Cluster};
use crate::lab::wait_until;

/// How long a component may take to leave by itself: the API server drains for a minute, which no test waits for.
const GRACE: Duration = Duration::from_secs(1);
/// How long the kernel may take to end a killed process.
const PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    /// Starts the component `name`, one of [`super::NAMES`].
    pub fn start_component(&self, name: &str) -> Result<()> {
        self.inside().leave(&components::command(name)?, &self.log(name))
    }

    /// Ends the component `name` and waits for its end. What it started goes on: containerd's shims, the pods.
    pub fn stop_component(&self, name: &str) -> Result<()> {
        components::command(name)?;
        let ended = |patience| {
            wait_until(patience, &format!("{name} ends"), || self.inside().processes(name).is_empty().then_some(()))
        };
        self.inside().signal(name, "TERM")?;
        if ended(GRACE).is_err() {
            self.inside().signal(name, "KILL")?;
            ended(PATIENCE)?;
        }
        Ok(())
    }

    /// Whether the component `name` has a process.
    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        !self.inside().processes(program(name)).is_empty()
    }

    /// Stops the component `name`, or `istiod`, from running on (SIGSTOP): its connections stay, and are not answered.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.signal(name, "STOP")
    }

    /// Undoes [`Cluster::pause`].
    pub fn resume(&self, name: &str) -> Result<()> {
        self.signal(name, "CONT")
    }

    fn signal(&self, name: &str, signal: &str) -> Result<()> {
        ensure!(self.inside().signal(program(name), signal)? > 0, "no process of {name} runs");
        Ok(())
    }
}

/// The program of a component.
fn program(name: &str) -> &str {
    if name == "istiod" { "pilot-discovery" } else { name }
}
