//! Components that are started and stopped, that answer and that do not.
//!
//! Knows nothing of what a fault does. Nobody starts a component again that ends by itself.

use std::{process::Stdio, time::Duration};

use anyhow::{Result, ensure};

use super::{cgroups, components, keys::API_SERVICE, lifetime::Cluster};
use crate::lab::{http, wait_until};

/// How long a component may take to leave by itself: the API server drains for a minute, which no test waits for.
const GRACE: Duration = Duration::from_secs(1);
/// How long the kernel may take to end a killed process.
const PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    /// Starts the component `name`, one of [`super::NAMES`], and waits until it answers; the API server to pods, too.
    pub fn start_component(&self, name: &str) -> Result<()> {
        self.launch(name)?;
        self.wait_for(name)?;
        if name == "kube-apiserver" { self.wait_for_service() } else { Ok(()) }
    }

    /// Waits until the API server answers at its Service. One that leaves takes its endpoint with it, and one that is
    /// ready writes it only in its next turn: until then kube-proxy refuses whom pods are told to ask.
    pub(super) fn wait_for_service(&self) -> Result<()> {
        let server = format!("--server=https://{API_SERVICE}");
        let at_service = [&server, "--request-timeout=5s", "get", "--raw", "/readyz"];
        self.wait("the API server answers at its Service", || {
            let endpoints = self.json(&["get", "endpointslice/kubernetes"]).ok()?;
            endpoints["endpoints"].as_array().is_some_and(|all| !all.is_empty()).then_some(())?;
            self.kubectl(&at_service).ok().map(drop)
        })
    }

    /// Starts the component `name`.
    pub(super) fn launch(&self, name: &str) -> Result<()> {
        self.inside().leave(&components::command(name)?, &self.log(name))
    }

    /// Waits until the component `name` answers.
    pub(super) fn wait_for(&self, name: &str) -> Result<()> {
        self.wait(&format!("{name} answers"), || self.answers(name).ok()?.then_some(()))
    }

    /// Whether the component `name` answers, by what it offers for that.
    fn answers(&self, name: &str) -> Result<bool> {
        let (port, path) = match name {
            "etcd" => (2379, "/health"),
            "kube-proxy" => (10256, "/healthz"),
            "kubelet" => (10248, "/healthz"),
            "coredns" => (8181, "/ready"),
            "kube-apiserver" => return Ok(self.kubectl(&["get", "--raw", "/readyz"]).is_ok()),
            "containerd" => {
                let mut ctr = self.exec_in_node("ctr")?;
                return Ok(ctr.arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success());
            }
            // They are asked nothing; what they do is waited for.
            _ => return Ok(self.is_running(name)),
        };
        Ok(http::ask(&self.network()?, port, "GET", path)?.0 == 200)
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

    /// Ends every pod as the machine's end does: its processes, containerd's for it, its cgroups. Neither the kubelet nor containerd runs.
    pub fn end_pods(&self) -> Result<()> {
        self.inside().signal("containerd-shim-runc-v2", "KILL")?;
        cgroups::remove(&format!("{}/kubepods", self.place().cgroup()))
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

    /// Kills every process of the program `name` (SIGKILL); nobody is waited for.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.signal(name, "KILL")
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
