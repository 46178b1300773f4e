//! `conngate agent` on a made-up node, in the machine's own namespaces as a DaemonSet's is.
//!
//! Knows nothing of how it works: it starts the binary as an operator would, reads its log (JSON, at level debug) and asks
//! its endpoints.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    gated, http,
    kubelet::Node,
    process::{Running, limit_descriptors, mark},
    wait::wait_until,
};

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a container begins with since containerd 2.0.
const DESCRIPTORS: u64 = 1_024;

/// A running agent. Killed when dropped: what it has pinned stays with the node.
#[derive(Debug)]
pub struct Agent {
    process: Running,
    log: Arc<Mutex<Vec<Value>>>,
    address: SocketAddr,
    socket: PathBuf,
}

impl Agent {
    /// Starts it and waits until it is ready.
    pub fn start(node: &Node, options: &[&str]) -> Result<Self> {
        let agent = Self::begin(node, options)?;
        agent.wait_readyz("ok", |status, _| status == 200)?;
        Ok(agent)
    }

    /// Starts it and waits until it serves its endpoints. Pods are looked for below the node's own cgroup.
    pub fn begin(node: &Node, options: &[&str]) -> Result<Self> {
        Self::begin_prepared(node, options, |_| {})
    }

    /// As [`Agent::begin`], with something done to its command before.
    pub fn begin_prepared(node: &Node, options: &[&str], prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut agent = Self::begin_at(node, ([127, 0, 0, 1], 0).into(), options, prepare)?;
        let serving = agent.wait_for("serving /healthz, /readyz and /metrics", 1)?;
        agent.address = serving[0]["address"].as_str().context("an address")?.parse()?;
        Ok(agent)
    }

    /// As [`Agent::begin_prepared`], at an address that need not be to be had: nobody waits until it serves.
    pub fn begin_at(
        node: &Node,
        address: SocketAddr,
        options: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = command(node)?;
        command.args(["--pod-source", "file", "--log-format", "json", "--listen", &address.to_string()]);
        command.arg("--pod-manifests").arg(node.manifests()).arg("--cgroup-root").arg(node.cgroup().path());
        command.arg("--socket").arg(node.socket());
        command.args(options).env("CONNGATE_LOG", "conngate=debug").stdin(Stdio::null()).stderr(Stdio::piped());
        limit_descriptors(&mut command, DESCRIPTORS);
        prepare(&mut command);
        let mut process = Running::start(command)?;
        let stderr = process.child().stderr.take().context("stderr is a pipe")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        Ok(Self { process, log, address, socket: node.socket() })
    }

    /// Does `work` while nobody reads the log, whose pipe is soon full.
    pub fn unread<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.log.lock();
        work()
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Where it serves /healthz, /readyz and /metrics.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far with this message.
    #[must_use]
    pub fn logged(&self, message: &str) -> Vec<Value> {
        self.logged_as(|event| event["message"] == message)
    }

    /// What it has logged so far that is as `wanted`.
    #[must_use]
    pub fn logged_as(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|event| wanted(event)).cloned().collect()
    }

    /// Waits until it has logged this message at least `count` times.
    pub fn wait_for(&self, message: &str, count: usize) -> Result<Vec<Value>> {
        wait_until(PATIENCE, &format!("the agent logs {count} times: {message}"), || {
            Some(self.logged(message)).filter(|events| events.len() >= count)
        })
        .with_context(|| self.last_words())
    }

    /// Waits for an answer of /readyz, and returns its text.
    pub fn wait_readyz(&self, what: &str, is_it: impl Fn(u16, &str) -> bool) -> Result<String> {
        wait_until(PATIENCE, &format!("/readyz: {what}"), || {
            let (status, text) = http::fetch(self.address, "/readyz").ok()?;
            is_it(status, &text).then_some(text)
        })
        .with_context(|| self.last_words())
    }

    /// All its metrics: each sample's name with its labels, as the text has them, and its value.
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let (status, text) = http::fetch(self.address, "/metrics")?;
        ensure!(status == 200, "/metrics: {status} {text}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("no value: {line}"))?))
        });
        samples.collect()
    }

    /// The sample of this name and these labels, as the text has them; 0: there is none.
    pub fn metric(&self, sample: &str) -> Result<f64> {
        Ok(self.metrics()?.get(sample).copied().unwrap_or_default())
    }

    /// `conngate ARGUMENTS`, to ask this agent.
    pub fn ask(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(gated::binary()?);
        mark(&mut command);
        command.args(arguments).env("CONNGATE_SOCKET", &self.socket).stdin(Stdio::null());
        Ok(command)
    }

    /// What `conngate ARGUMENTS` prints of this agent; it must succeed.
    pub fn told(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ask(arguments)?.output().context("conngate cannot be started")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "conngate {arguments:?}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).context("not UTF-8")
    }

    /// As [`Agent::told`] with `-o json`.
    pub fn told_json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.told(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.process.pid(), signal).with_context(|| format!("cannot send {signal} to the agent"))
    }

    /// Waits until it has ended by itself.
    pub fn wait_ended(&mut self) -> Result<ExitStatus> {
        let ended = wait_until(PATIENCE, "the agent ends", || self.process.child().try_wait().transpose());
        Ok(ended.with_context(|| self.last_words())??)
    }

    /// Ends it by SIGTERM; its status must be 0.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait_ended()?;
        if !status.success() {
            bail!("the agent ended with {status}\n{}", self.last_words());
        }
        Ok(())
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.process.kill().context("cannot kill the agent")
    }

    fn last_words(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = log.iter().map(Value::to_string).collect();
        format!("the agent's log ends:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

/// What `conngate agent --uninstall` prints on the node.
pub fn uninstall(node: &Node) -> Result<String> {
    let output = command(node)?.arg("--uninstall").output().context("conngate cannot be started")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `conngate check`, of this node and of none else on the machine.
pub fn check(node: &Node) -> Result<Command> {
    let mut command = Command::new(gated::binary()?);
    mark(&mut command);
    command.arg("check").arg("--cgroup-root").arg(node.cgroup().path()).arg("--bpffs").arg(node.bpffs());
    command.arg("--socket").arg(node.socket()).stdin(Stdio::null());
    Ok(command)
}

/// What `check` prints, whether it finds that connections can be held, and a finding or a hint a line, however long.
pub fn checked(mut check: Command) -> Result<(bool, String)> {
    let output = check.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_begun = |line: &str| !line.starts_with(' ') || line.trim_start().starts_with("-> ");
    let join = |said: String, line: &str| said + if is_begun(line) { "\n" } else { " " } + line.trim_start();
    Ok((output.status.success(), said.lines().fold(String::new(), join)))
}

/// `conngate agent` with this node's pins, to be given its options.
pub fn command(node: &Node) -> Result<Command> {
    let mut command = Command::new(gated::binary()?);
    command.arg("agent").arg("--bpffs").arg(node.bpffs());
    for variable in ["KUBECONFIG", "NODE_NAME", "HOST_IP", "KUBELET_URL", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(variable);
    }
    // Nor does it find the cluster of whoever runs the tests, to write Events there.
    command.env("HOME", node.home());
    Ok(command)
}
