//! DNS that the mesh captures: a lookup by the C library's own resolver waits for the gate, as a connection does.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use conngate_common::{ABI_VERSION, gate::GateState, reason::Reason};
use conngate_testbed::{
    kernel_version,
    lab::{Agent, Qos, client::Client, kubelet::Container, wait_until},
};
use nix::sys::signal::Signal;

use crate::{
    agent_world::{Kernel, PATIENCE, World, initializing},
    world::CAPTURED_V4,
};

/// What every name resolves to.
const ADDRESS: &str = "198.51.100.10";

/// Answers every question: an A record, and nothing else. It does so from the beginning, as a mesh's DNS proxy does; what
/// it says is that it was asked.
const PROXY: &str = r#"
import socket, threading
def answer(query):
    end = query.index(b"\0", 12) + 5
    is_a = query[end - 4:end - 2] == b"\0\1"
    head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([198, 51, 100, 10]) if is_a else b""
    print("asked", flush=True)
    return head + query[12:end] + record
def over_tcp():
    while True:
        with server_tcp.accept()[0] as connection, connection.makefile("rwb") as stream:
            while length := stream.read(2):
                reply = answer(stream.read(int.from_bytes(length, "big")))
                stream.write(len(reply).to_bytes(2, "big") + reply)
                stream.flush()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 15053))
server_tcp = socket.create_server(("127.0.0.1", 15053))
threading.Thread(target=over_tcp, daemon=True).start()
print("bound", flush=True)
while True:
    query, peer = server.recvfrom(512)
    server.sendto(answer(query), peer)
"#;

/// The mesh's DNS proxy in the pod, and the rule that captures queries.
pub(crate) struct Dns(Client);

impl Dns {
    pub(crate) fn start(world: &World<'_>) -> Result<Self> {
        for protocol in ["udp", "tcp"] {
            let rule = format!("-t nat -I OUTPUT -p {protocol} --dport 53 -j REDIRECT --to-ports 15053");
            world.netns.iptables(&rule)?;
        }
        let mut python = world.netns.command("python3");
        python.args(["-c", PROXY]);
        let mut proxy = Client::start(python)?;
        ensure!(proxy.line()? == "bound");
        Ok(Self(proxy))
    }

    /// Whether somebody has asked.
    fn was_asked(&mut self) -> Result<bool> {
        Ok(self.0.line()? == "asked")
    }
}

/// Looks a name up with the C library. Without a configuration the nameserver is 127.0.0.1:53, which the rule captures.
pub(crate) fn look_up(container: &Container<'_>) -> Result<Client> {
    container.run(Path::new("/usr/bin/getent"), &["ahosts", "web.example"])
}

#[test]
fn agent_lookup_waits_until_the_proxy_is_ready_and_is_answered_by_replay() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let mut dns = Dns::start(world)?;
        world.pod.annotate("dns-truncate", Some("off"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let mut lookup = look_up(&app)?;
        let held = agent.wait_for("connection held", 1)?;
        assert_eq!(held[0]["pod"], world.pod.path());
        let explained = agent.told_json(&["explain", &world.pod.path()])?;
        let connection = &explained["connections"][0];
        assert_eq!((&connection["destination"], &connection["container"]), (&"127.0.0.1:53".into(), &"app".into()));
        assert_eq!(connection["process"]["name"], "getent", "{explained:#}");
        let metrics = agent.metrics()?;
        let dropped: f64 = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("conngate_datagrams_dropped_total"))
            .map(|(_, value)| value)
            .sum();
        assert!(dropped >= 1.0, "{metrics:?}");
        // A resolver whose own retry came first would prove nothing: it is stopped until the answer is there.
        let getent = lookup.process().pid();
        nix::sys::signal::kill(getent, Signal::SIGSTOP)?;
        world.control_plane.release();
        assert!(dns.was_asked()?, "the query was sent again by the agent");
        nix::sys::signal::kill(getent, Signal::SIGCONT)?;
        assert!(lookup.line()?.starts_with(ADDRESS));
        wait_until(PATIENCE, "nothing waits", || {
            (agent.metric("conngate_connections_waiting").ok()? == 0.0).then_some(())
        })?;
        assert!(look_up(&app)?.line()?.starts_with(ADDRESS), "the gate is open");
        Ok(())
    })
}

/// The pods at whose cgroup the setsockopt program hangs.
fn waiting_pods(world: &World<'_>) -> Result<Vec<String>> {
    let pins = world.node.bpffs().join(format!("conngate/v{ABI_VERSION}/datagrams"));
    let names = fs::read_dir(pins)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[test]
fn agent_absent_for_a_moment_a_lookup_waits_and_the_successor_replays_it() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let mut dns = Dns::start(world)?;
        world.pod.annotate("dns-truncate", Some("off"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("gated", 1)?;
        let app = world.pod.container("app")?;
        let pod = world.pod.cgroup().id()?.to_string();
        assert_eq!(waiting_pods(world)?, [pod.as_str()]);
        agent.stop()?;
        // glibc asks for errors and gives up at the first: that option is swallowed also while no agent runs.
        let mut lookup = look_up(&app)?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("connection held", 1)?;
        assert_eq!(waiting_pods(world)?, [pod.as_str()]);
        let getent = lookup.process().pid();
        nix::sys::signal::kill(getent, Signal::SIGSTOP)?;
        world.control_plane.release();
        assert!(dns.was_asked()?, "the query was sent again by the successor");
        nix::sys::signal::kill(getent, Signal::SIGCONT)?;
        assert!(lookup.line()?.starts_with(ADDRESS));
        // The answer may be there before the agent has come to that.
        wait_until(PATIENCE, "nothing hangs on a pod whose gate is open", || {
            waiting_pods(world).ok().filter(Vec::is_empty).map(drop)
        })
    })
}

#[test]
fn agent_sockets_that_are_never_held_keep_their_wish_for_errors() -> Result<()> {
    // What IP_RECVERR reads back, on a TCP and a UDP socket of this user.
    let program = "import os, socket, sys\n\
        os.setuid(int(sys.argv[1]))\n\
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n\
        \ts = socket.socket(socket.AF_INET, kind)\n\
        \ts.setsockopt(0, 11, 1)\n\
        \tprint(s.getsockopt(0, 11), end='', flush=True)\n\
        print(flush=True)\n";
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("gated", 1)?;
        let [app, proxy] = ["app", "istio-proxy"].map(|name| world.pod.container(name));
        let wish = |container: &Container<'_>, uid| -> Result<String> {
            container.run(Path::new("/usr/bin/python3"), &["-c", program, uid])?.line()
        };
        assert_eq!(wish(&app?, "0")?, "10", "a resolver's is swallowed, and no TCP socket's");
        // Whose the caller is no program can ask before.
        let expected = if kernel_version()? >= (6, 1) { "11" } else { "10" };
        assert_eq!(wish(&proxy?, "1337")?, expected);
        Ok(())
    })
}

#[test]
fn agent_lookup_that_nobody_waits_for_any_longer_is_let_go() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let _dns = Dns::start(world)?;
        world.pod.annotate("dns-truncate", Some("off"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let lookup = look_up(&app)?;
        agent.wait_for("connection held", 1)?;
        drop(lookup);
        let ended = agent.wait_for("connection ended", 1)?;
        assert_eq!(ended[0]["outcome"], "abandoned", "{ended:?}");
        wait_until(PATIENCE, "nothing waits", || {
            (agent.metric("conngate_connections_waiting").ok()? == 0.0).then_some(())
        })
    })
}

#[test]
fn agent_lookup_of_a_pod_without_a_gate_is_answered_at_once() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let _dns = Dns::start(world)?;
        world.pod.annotate("mode", None);
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        assert!(look_up(&app)?.line()?.starts_with(ADDRESS));
        assert!(agent.logged("connection held").is_empty());
        // So is everything else that is no captured port: a connection of that pod is refused as ever.
        let outcome = app.connect(CAPTURED_V4, &[])?.report::<conngate_testbed::report::Connection>()?.outcome;
        assert_eq!(outcome, crate::world::REFUSED);
        assert_eq!(Kernel(world.node).counted(conngate_common::counter::Counter::LostRecords)?, 0);
        Ok(())
    })
}

#[test]
fn agent_socket_that_a_resolver_keeps_is_held_anew_each_time_the_gate_closes() -> Result<()> {
    // One socket, and a query at each word.
    const ASK: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.connect(('127.0.0.1', 53))\n\
        for number in range(2):\n\
        \ts.send(bytes([0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b'\\3web\\7example\\0\\0\\1\\0\\1')\n\
        \tprint(s.recv(512)[1], flush=True)\n\
        \tsys.stdin.readline()\n";
    initializing(Qos::Burstable, |world| {
        let _dns = Dns::start(world)?;
        // The kernel's own cap is a second more: the socket's first hold lies further back than that in the second.
        for key in ["timeout", "regate"] {
            world.pod.annotate(key, Some("5s"));
        }
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let mut asking = app.python(ASK, &[])?;
        agent.wait_for("connection held", 1)?;
        let held = Instant::now();
        world.control_plane.release();
        assert_eq!(asking.line()?, "0");
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        wait_until(PATIENCE, "the first hold lies back", || (held.elapsed() > Duration::from_secs(7)).then_some(()))?;
        world.envoy.kill()?;
        let kernel = Kernel(world.node);
        let holding = |(state, _): &(GateState, Reason)| *state == GateState::Holding;
        wait_until(PATIENCE, "the gate closes", || kernel.gate(&world.pod).ok()?.filter(holding))?;
        asking.go()?;
        agent.wait_for("connection held", 2)?;
        world.envoy.restart()?;
        assert_eq!(asking.line()?, "1");
        Ok(())
    })
}
