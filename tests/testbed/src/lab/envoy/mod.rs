//! A real Envoy, as a sidecar is: in the pod's namespace, as uid and gid 1337, its listeners from a control plane.
//!
//! Knows nothing of redirects or of who connects. Before the control plane's answer it listens only on its admin port,
//! where /ready says 503 INITIALIZING.

mod binary;
mod config;

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub use self::{
    binary::{binary, binary_for},
    config::{ADMIN_PORT, dns, echo_outbound, virtual_outbound},
};
use super::{
    cgroup::Cgroup,
    control_plane::ControlPlane,
    http,
    namespace::Namespace,
    process::{self, Running},
    redirect::{CAPTURE_PORT, PROXY_ID},
    wait::wait_until,
};
use crate::clock::mono_ns;

/// Far beyond what Envoy needs on a busy machine, software emulation included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Envoy; killed and waited for when dropped.
#[derive(Debug)]
pub struct Envoy<'lab> {
    namespace: &'lab Namespace,
    cgroup: Option<&'lab Cgroup>,
    control_plane: SocketAddr,
    log: TempDir,
    process: Running,
}

impl<'lab> Envoy<'lab> {
    /// Starts Envoy inside `namespace`; returns at once, before it does anything. The thread that starts it must live
    /// as long as it is wanted.
    pub fn start(namespace: &'lab Namespace, control_plane: &ControlPlane) -> Result<Self> {
        Self::start_in(namespace, control_plane, None)
    }

    /// As [`Envoy::start`], in a cgroup.
    pub fn start_in(
        namespace: &'lab Namespace,
        control_plane: &ControlPlane,
        cgroup: Option<&'lab Cgroup>,
    ) -> Result<Self> {
        let log = tempfile::tempdir().context("cannot make a directory for Envoy's log")?;
        let control_plane = control_plane.address();
        let process = spawn(namespace, cgroup, control_plane, &log)?;
        Ok(Self { namespace, cgroup, control_plane, log, process })
    }

    /// Kills Envoy, if it still runs, and starts it anew. It asks the control plane again.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(self.namespace, self.cgroup, self.control_plane, &self.log)?;
        Ok(())
    }

    /// Ends Envoy at once, its listeners with it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().context("cannot kill Envoy").map(drop)
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> nix::unistd::Pid {
        self.process.pid()
    }

    /// Status and body of /ready; none while the admin port does not answer.
    #[must_use]
    pub fn ready(&self) -> Option<(u16, String)> {
        http::ask(self.namespace, ADMIN_PORT, "GET", "/ready").ok()
    }

    /// Waits until Envoy runs and lacks only its listeners: /ready is 503 INITIALIZING.
    pub fn wait_initializing(&self) -> Result<()> {
        self.wait("Envoy initialises", |status, body| status == 503 && body.trim() == "INITIALIZING").map(drop)
    }

    /// Waits until /ready is 200; the time of that answer, CLOCK_MONOTONIC nanoseconds.
    pub fn wait_ready(&self) -> Result<u64> {
        self.wait("Envoy is ready", |status, _| status == 200)
    }

    /// Whether somebody listens on the port that the mesh redirects to.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.namespace.listens_on(CAPTURE_PORT)
    }

    /// Lets /ready be 503 although Envoy goes on listening.
    pub fn fail_healthcheck(&self) -> Result<()> {
        self.command("/healthcheck/fail")
    }

    /// Undoes [`Envoy::fail_healthcheck`].
    pub fn pass_healthcheck(&self) -> Result<()> {
        self.command("/healthcheck/ok")
    }

    /// What Envoy has said since it was first started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path().join("envoy.log")).unwrap_or_default()
    }

    fn command(&self, path: &str) -> Result<()> {
        let (status, body) = http::ask(self.namespace, ADMIN_PORT, "POST", path)?;
        if status != 200 {
            bail!("Envoy answered {status} to {path}: {body}");
        }
        Ok(())
    }

    fn wait(&self, what: &str, is_it: impl Fn(u16, &str) -> bool) -> Result<u64> {
        wait_until(PATIENCE, what, || {
            let (status, body) = self.ready()?;
            is_it(status, &body).then(mono_ns)
        })
        .with_context(|| format!("Envoy's log ends:\n{}", last_lines(&self.log())))
    }
}

/// The start of the log is a list of all that Envoy was built with.
fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn spawn(namespace: &Namespace, cgroup: Option<&Cgroup>, control_plane: SocketAddr, log: &TempDir) -> Result<Running> {
    let binary = binary()?;
    let directory = binary.parent().context("the binary has a directory")?;
    let log = File::options().create(true).append(true).open(log.path().join("envoy.log"))?;
    // From its own directory, entered as root: the path to a checkout is often closed to other users.
    let mut envoy = namespace.command("./envoy");
    envoy
        .current_dir(directory)
        .args(["--config-yaml", &config::bootstrap(control_plane).to_string()])
        .args(["--concurrency", "2", "--disable-hot-restart", "--log-level", "info"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if let Some(cgroup) = cgroup {
        cgroup.join(&mut envoy)?;
    }
    process::run_as(&mut envoy, PROXY_ID);
    Running::start(envoy)
}
