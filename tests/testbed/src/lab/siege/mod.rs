//! A hostile pod beside victims: what it does, and what becomes of the victims' connections and of the agent.
//!
//! Knows nothing of how an attack works on the agent, and judges nothing: tests have the law, the benchmark the figures. A
//! victim is an ordinary pod in mode hold, with a connection that is held and a proxy that says 503 until it is told.

mod attack;
mod watch;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::watch::Watch;
pub use self::{attack::Attack, watch::Watched};
use super::{
    agent::Agent,
    client::Client,
    envoy::ADMIN_PORT,
    heartbeat::Heartbeat,
    kubelet::{Container, KubePod, Node, Qos},
    namespace::Namespace,
    pod::Pod,
    redirect::CAPTURE_PORT,
};
use crate::report::Connection;

const PROXY: &str = include_str!("proxy.py");
const HOSTILE: &str = include_str!("hostile.py");

/// Where an application connects to, which the mesh captures.
pub const DESTINATION: &str = "198.51.100.10:80";

/// How a held connection ended.
#[derive(Clone, Debug)]
pub struct Release {
    /// When the proxy said 200 for the first time.
    pub ready_mono_ns: u64,
    /// How many connections the proxy had by then.
    pub early: usize,
    /// The connection.
    pub connection: Connection,
}

impl Release {
    /// From the proxy's first 200 to the connection's end.
    #[must_use]
    pub fn after_ready(&self) -> Duration {
        Duration::from_nanos(self.connection.ended_mono_ns.saturating_sub(self.ready_mono_ns))
    }
}

/// An ordinary pod whose connection is held; both end with it.
#[derive(Debug)]
pub struct Victim<'node> {
    client: Client,
    proxy: Client,
    _containers: [Container<'node>; 2],
    _pod: KubePod<'node>,
}

impl<'node> Victim<'node> {
    /// Starts to connect, by `connect`, while the proxy is not ready.
    pub fn new(
        node: &'node Node,
        namespace: &'node Namespace,
        connect: impl FnOnce(&Container<'node>) -> Result<Client>,
    ) -> Result<Self> {
        let mut pod = KubePod::new(node, namespace, Qos::Burstable)?;
        pod.annotate("timeout", Some("10m"));
        pod.tell()?;
        let (sidecar, app) = (pod.container("istio-proxy")?, pod.container("app")?);
        let mut proxy = sidecar.python(PROXY, &[&ADMIN_PORT.to_string(), &CAPTURE_PORT.to_string()])?;
        ensure!(proxy.line()? == "listens");
        let client = connect(&app)?;
        Ok(Self { client, proxy, _containers: [sidecar, app], _pod: pod })
    }

    /// Lets the proxy be ready, and waits for the connection's end.
    pub fn release(mut self) -> Result<Release> {
        self.proxy.go()?;
        let said = self.proxy.line()?;
        let (ready, early) = said.split_once(' ').context("a time and a number")?;
        Ok(Release { ready_mono_ns: ready.parse()?, early: early.parse()?, connection: self.client.report()? })
    }
}

/// Victims whose connections are held, an agent that is watched, and a hostile pod.
#[derive(Debug)]
pub struct Siege<'node> {
    /// The agent.
    pub agent: Agent,
    /// Whose connections are held, to be released.
    pub victims: Vec<Victim<'node>>,
    watch: Watch,
    hostile: Option<Hostile<'node>>,
}

#[derive(Debug)]
struct Hostile<'node> {
    program: Client,
    _container: Container<'node>,
    _pod: KubePod<'node>,
}

impl Drop for Hostile<'_> {
    fn drop(&mut self) {
        // The attack's own namespace: packets that its queue keeps would keep their sockets, and these the namespace, for hours.
        let namespace = Namespace::open(format!("/proc/{}/ns/net", self.program.process().pid()));
        // It may have ended.
        let _ = namespace.and_then(|namespace| namespace.ip("link set lo down"));
    }
}

impl<'node> Siege<'node> {
    /// As many victims as there are `homes`, all held.
    pub fn quiet(node: &'node Node, homes: &'node [Pod]) -> Result<Self> {
        let agent = Agent::start(node, &[])?;
        let connect = |app: &Container<'node>| app.connect(DESTINATION, &["--no-greeting"]);
        let victims = homes.iter().map(|home| Victim::new(node, home, connect)).collect::<Result<Vec<_>>>()?;
        agent.wait_for("connection held", victims.len())?;
        let watch = Watch::start(Heartbeat::open(node)?, agent.address());
        Ok(Self { agent, victims, watch, hostile: None })
    }

    /// Begins an attack out of `home`; `Some`: what the machine lacks for it.
    pub fn attack(&mut self, node: &'node Node, home: &'node Pod, attack: Attack) -> Result<Option<String>> {
        let mut pod = KubePod::new(node, home, Qos::Burstable)?;
        for (key, value) in attack.annotations() {
            pod.annotate(key, Some(value));
        }
        pod.tell()?;
        let container = pod.container_of(attack.containers())?;
        let mut program = container.python(HOSTILE, &[attack.name()])?;
        let said = program.line()?;
        self.hostile = Some(Hostile { program, _container: container, _pod: pod });
        Ok((said != "begun").then_some(said))
    }

    /// Waits for the attack's own end.
    pub fn wait_ended(&mut self) -> Result<()> {
        let said = self.hostile.as_mut().context("an attack")?.program.line()?;
        ensure!(said == "ended", "{said}");
        Ok(())
    }

    /// What was seen of the agent, up to now.
    pub fn end(self) -> Result<Watched> {
        self.watch.end()
    }
}
