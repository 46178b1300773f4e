//! Real resolvers behind a mesh that captures DNS: which of them are answered, by when its proxy is ready, is what the table in
//! docs/annotations.md says.

use std::{collections::HashMap, fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use conngate_common::counter::Counter;
use conngate_testbed::lab::{
    self, Agent, Gated, KubePod, Node, Pod, Qos,
    client::Client,
    dns_proxy,
    kubelet::Container,
    resolver::{ANSWERED, Resolver, STARTED},
};

use crate::agent_world::Kernel;

/// What the mesh knows.
const NAME: &str = "web.example";

/// Nameservers that are not there: what asks them is captured.
const NAMESERVER_V4: &str = "nameserver 10.96.0.10\n";
const NAMESERVER_V6: &str = "nameserver 2001:db8:53::10\n";

/// A pod with a mesh that captures DNS.
struct Mesh<'lab> {
    pod: KubePod<'lab>,
    proxy: Client,
    app: Container<'lab>,
}

impl<'lab> Mesh<'lab> {
    /// The proxy is ready so many seconds after [`Mesh::go`], its DNS server bound over UDP so many later.
    fn new(node: &'lab Node, netns: &'lab Pod, ready: f64, bound: f64, resolv_conf: &str) -> Result<Self> {
        Self::knowing(&[NAME], node, netns, ready, bound, resolv_conf)
    }

    fn knowing(
        names: &[&str],
        node: &'lab Node,
        netns: &'lab Pod,
        ready: f64,
        bound: f64,
        resolv_conf: &str,
    ) -> Result<Self> {
        let mut pod = KubePod::new(node, netns, Qos::Burstable)?;
        pod.annotate("ready-url", None);
        let proxy = dns_proxy::start(netns, &[&[ready.to_string().as_str(), &bound.to_string()], names].concat())?;
        let app = pod.container("app")?.resolving_by(resolv_conf);
        Ok(Self { pod, proxy, app })
    }

    /// The clock starts.
    fn go(&mut self) -> Result<()> {
        self.proxy.go()
    }

    /// The next question that the mesh is asked, and how.
    fn asked(&mut self) -> Result<String> {
        loop {
            let line = self.proxy.line()?;
            if !["ready", "bound"].contains(&line.as_str()) {
                return Ok(line);
            }
        }
    }
}

/// A namespace whose DNS is captured.
fn captured() -> Result<Pod> {
    let netns = Pod::alone()?;
    netns.ip("addr add 2001:db8:1::2/64 dev eth0 nodad\nroute add ::/0 dev eth0")?;
    netns.redirect_dns()?;
    Ok(netns)
}

/// Looks the name up with each of them at the same time, and lets the mesh's clock start.
fn look_up(mesh: &mut Mesh<'_>, resolvers: &[Resolver]) -> Result<Vec<String>> {
    let mut clients = start(mesh, resolvers)?;
    go(mesh, &mut clients)
}

/// Makes each of them ready to look the name up.
fn start(mesh: &Mesh<'_>, resolvers: &[Resolver]) -> Result<Vec<Client>> {
    resolvers.iter().map(|resolver| resolver.start(&mesh.app, NAME)).collect()
}

/// The mesh's clock and all lookups begin; what they say.
fn go(mesh: &mut Mesh<'_>, clients: &mut [Client]) -> Result<Vec<String>> {
    mesh.go()?;
    clients.iter_mut().try_for_each(Client::go)?;
    clients.iter_mut().map(Client::line).collect()
}

/// The table of docs/annotations.md.
struct Table {
    /// After how many the proxy is ready.
    seconds: Vec<f64>,
    /// Of each resolver whether it is answered then.
    rows: HashMap<String, Vec<bool>>,
}

fn table() -> Result<Table> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/annotations.md");
    let text = fs::read_to_string(path)?;
    let (_, table) = text.split_once("<!-- resolvers:begin -->").context("the table begins")?;
    let (table, _) = table.split_once("<!-- resolvers:end -->").context("the table ends")?;
    let mut rows = table.lines().filter(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        (cells.next().unwrap_or_default().to_owned(), cells.map(str::to_owned).collect::<Vec<_>>())
    });
    let (_, head) = rows.next().context("a head")?;
    let seconds = head.iter().map(|cell| Ok(cell.trim_end_matches(" s").parse()?)).collect::<Result<_>>()?;
    let rows = rows.skip(1).map(|(name, cells)| {
        let answered = cells.iter().map(|cell| match cell.as_str() {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => bail!("a cell of {name} says {other:?}"),
        });
        let answered = answered.collect::<Result<_>>()?;
        Ok((name, answered))
    });
    Ok(Table { seconds, rows: rows.collect::<Result<_>>()? })
}

/// What each resolver says where the mesh is ready after so many `seconds`: a column for each of these.
fn columns(seconds: &[f64], resolvers: &[Resolver]) -> Result<Vec<Vec<String>>> {
    let node = Node::new()?;
    let namespaces = seconds.iter().map(|_| captured()).collect::<Result<Vec<_>>>()?;
    let meshes = seconds.iter().zip(&namespaces);
    let meshes = meshes.map(|(ready, netns)| Mesh::new(&node, netns, *ready, 0.0, NAMESERVER_V4));
    let mut meshes = meshes.collect::<Result<Vec<_>>>()?;
    meshes.iter().try_for_each(|mesh| mesh.pod.tell())?;
    let agent = Agent::start(&node, &[])?;
    agent.wait_for("gated", seconds.len())?;
    let mut clients = meshes.iter().map(|mesh| start(mesh, resolvers)).collect::<Result<Vec<_>>>()?;
    ensure!(agent.logged("connection held").is_empty(), "nobody asks before the word");
    let columns = thread::scope(|scope| {
        let columns = meshes.iter_mut().zip(&mut clients).map(|(mesh, clients)| scope.spawn(|| go(mesh, clients)));
        let columns: Vec<_> = columns.collect();
        columns.into_iter().map(|column| column.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    // Those that waited for longer than their patience asked again over TCP.
    assert!(agent.metric("conngate_dns_queries_truncated_total")? >= 1.0);
    assert_eq!(Kernel(&node).counted(Counter::LostRecords)?, 0);
    Ok(columns)
}

#[test]
fn agent_resolvers_are_answered_as_the_table_in_the_documentation_says() -> Result<()> {
    lab::run(|| {
        let Table { seconds, rows } = table()?;
        let resolvers = Resolver::ALL;
        let mut wrong = Vec::new();
        // Seconds are real ones here: a machine that was busy at the wrong moment has a second try.
        for _ in 0..2 {
            let columns = columns(&seconds, &resolvers)?;
            wrong.clear();
            for (number, resolver) in resolvers.iter().enumerate() {
                let said: Vec<_> = columns.iter().map(|column| column[number].as_str()).collect();
                let answered: Vec<_> = said.iter().map(|said| *said == ANSWERED).collect();
                if rows.get(resolver.word()).context("a row of each")? != &answered {
                    wrong.push(format!("{}: ready after {seconds:?} s: {said:?}", resolver.word()));
                }
            }
            if wrong.is_empty() {
                return Ok(());
            }
        }
        bail!("not as the table says:\n{}", wrong.join("\n"))
    })
}

#[test]
fn agent_resolvers_with_an_ipv6_nameserver_are_answered_and_glibc_over_tcp_if_need_be() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        let namespaces = [captured()?, captured()?];
        // Within everybody's patience over UDP, and beyond that of glibc.
        let mut meshes = [(3.0, &namespaces[0]), (12.0, &namespaces[1])]
            .map(|(ready, netns)| Mesh::new(&node, netns, ready, 0.0, NAMESERVER_V6));
        for mesh in &mut meshes {
            mesh.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?.pod.tell()?;
        }
        let agent = Agent::start(&node, &[])?;
        agent.wait_for("gated", 2)?;
        let [soon, late] = meshes;
        let (mut soon, mut late) = (soon?, late?);
        let all = Resolver::ALL;
        assert_eq!(look_up(&mut soon, &all)?, all.map(|_| ANSWERED), "{all:?}");
        assert_eq!(look_up(&mut late, &[Resolver::Glibc])?, [ANSWERED]);
        assert_eq!(late.asked()?, format!("tcp {NAME}"));
        let explained = agent.told_json(&["explain", &late.pod.path()])?;
        assert!(explained["dns_truncated"].as_u64() >= Some(1), "{explained:#}");
        Ok(())
    })
}

#[test]
fn agent_query_with_search_domains_longer_than_a_syn_is_answered_by_replay() -> Result<()> {
    // As the managed services' names are, with ndots:5 and the cluster's search domains before them.
    const LONG: &str =
        "b-1.mymskcluster.abc123def456.c2.kafka.us-east-1.amazonaws.com.a-label-that-makes-it-longer.than-both.example";
    lab::run(|| {
        for nameserver in [NAMESERVER_V4, NAMESERVER_V6] {
            let (node, netns) = (Node::new()?, captured()?);
            let search = "payments-of-the-whole-company.svc.cluster.local svc.cluster.local cluster.local";
            let resolv_conf = format!("{nameserver}search {search}\noptions ndots:15 edns0\n");
            let mut mesh = Mesh::knowing(&[LONG], &node, &netns, 0.0, 0.0, &resolv_conf)?;
            // Nothing but a replay answers: no truncated answer, and the resolver is stopped before it asks again.
            mesh.pod.annotate("dns-truncate", Some("off"));
            mesh.pod.tell()?;
            let agent = Agent::start(&node, &[])?;
            agent.wait_for("gated", 1)?;
            let mut lookup = Resolver::Glibc.look_up(&mesh.app, LONG)?;
            agent.wait_for("connection held", 2)?;
            let resolver = lookup.process().pid();
            nix::sys::signal::kill(resolver, nix::sys::signal::Signal::SIGSTOP)?;
            mesh.go()?;
            assert_eq!(mesh.asked()?, format!("udp {LONG}.payments-of-the-whole-company.svc.cluster.local"));
            nix::sys::signal::kill(resolver, nix::sys::signal::Signal::SIGCONT)?;
            assert_eq!(lookup.line()?, ANSWERED);
        }
        Ok(())
    })
}

#[test]
fn agent_queries_of_one_socket_that_is_not_connected_are_all_replayed_to_where_each_was_sent() -> Result<()> {
    // As musl and Netty: two questions to each of two nameservers, none of which is asked again.
    const ASK: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.settimeout(100)\n\
        for number in range(12):\n\
        \tquery = bytes([0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b'\\3web\\7example\\0\\0\\1\\0\\1'\n\
        \ts.sendto(query, (sys.argv[1 + number % 2], 53))\n\
        print('asked', flush=True)\n\
        answers = [s.recvfrom(512) for number in range(12)]\n\
        print(sorted((answer[1], peer[0]) for answer, peer in answers), flush=True)\n";
    lab::run(|| {
        for servers in
            [["10.96.0.10", "127.0.0.1"], ["::ffff:10.96.0.10", "::ffff:127.0.0.1"], ["2001:db8:53::10", "::1"]]
        {
            let (node, netns) = (Node::new()?, captured()?);
            netns.iptables("-t nat -A OUTPUT -p udp --dport 53 -d 127.0.0.1 -j REDIRECT --to-ports 15053")?;
            netns.restore(
                "ip6tables",
                "*nat\n-A OUTPUT -p udp --dport 53 -d ::1 -j REDIRECT --to-ports 15053\nCOMMIT\n",
            )?;
            let mut mesh = Mesh::new(&node, &netns, 0.0, 0.0, "")?;
            mesh.pod.tell()?;
            let agent = Agent::start(&node, &[])?;
            agent.wait_for("gated", 1)?;
            let mut asking = mesh.app.python(ASK, &servers)?;
            ensure!(asking.line()? == "asked");
            agent.wait_for("connection held", 12)?;
            mesh.go()?;
            let expected: Vec<_> = (0..12).map(|number| format!("({number}, '{}')", servers[number % 2])).collect();
            assert_eq!(asking.line()?, format!("[{}]", expected.join(", ")));
        }
        Ok(())
    })
}

#[test]
fn agent_proxy_that_is_ready_before_its_dns_is_waited_for() -> Result<()> {
    lab::run(|| {
        let (node, netns) = (Node::new()?, captured()?);
        let mut mesh = Mesh::new(&node, &netns, 0.0, 1.5, NAMESERVER_V4)?;
        mesh.pod.tell()?;
        let agent = Agent::start(&node, &[])?;
        agent.wait_for("gated", 1)?;
        let mut early = Resolver::Glibc.look_up(&mesh.app, NAME)?;
        agent.wait_for("connection held", 1)?;
        mesh.go()?;
        agent.wait_for("gate opened", 1)?;
        // One that comes now is refused by nobody either.
        let mut late = Resolver::Musl.look_up(&mesh.app, NAME)?;
        assert_eq!(mesh.proxy.line()?, "ready");
        assert_eq!(mesh.proxy.line()?, "bound", "nobody was asked before");
        assert_eq!([early.line()?, late.line()?], [ANSWERED, ANSWERED]);
        lab::wait_until(Duration::from_secs(60), "the gate lets queries pass", || {
            let entry = Kernel(&node).datagram_ports(&mesh.pod).ok()??;
            entry.iter().all(|byte| *byte == 0).then_some(())
        })
    })
}

#[test]
fn agent_long_wait_is_not_answered_as_truncated_where_the_pod_says_so() -> Result<()> {
    lab::run(|| {
        let (node, netns) = (Node::new()?, captured()?);
        let mut mesh = Mesh::new(&node, &netns, 1000.0, 0.0, NAMESERVER_V4)?;
        mesh.pod.annotate("dns-truncate", Some("off"));
        mesh.pod.tell()?;
        let agent = Agent::start(&node, &[])?;
        agent.wait_for("gated", 1)?;
        let said = look_up(&mut mesh, &[Resolver::Glibc])?;
        assert_ne!(said, [ANSWERED]);
        assert_eq!(agent.metric("conngate_dns_queries_truncated_total")?, 0.0);
        Ok(())
    })
}

#[test]
fn command_that_looks_a_name_up_waits_for_the_mesh_over_udp_and_then_over_tcp() -> Result<()> {
    lab::run(|| {
        let ports =
            ["--dns-port", "15053", "--capture-port", "15001", "--capture-port", "15053", "--exempt-uid", "1337"];
        let options = [&ports[..], &["--ready-url", "http://127.0.0.1:15021/"]].concat();
        let program = Resolver::Glibc.program()?;
        let resolv_conf = program.with_file_name("resolv.conf");
        fs::write(&resolv_conf, NAMESERVER_V4)?;
        let script =
            format!("mount --bind {} /etc/resolv.conf && exec {} {NAME}", resolv_conf.display(), program.display());
        for (ready, way) in [("1", "udp"), ("12", "tcp")] {
            let netns = captured()?;
            let mut proxy = dns_proxy::start(&netns, &[ready, "0", NAME])?;
            let command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", &script];
            let mut gated = Gated::start_command(&netns, &options, &command)?;
            ensure!(gated.client().line()? == STARTED);
            gated.client().go()?;
            let held = gated.wait_for("held", 1)?;
            assert_eq!(held[0]["destination"], "10.96.0.10:53");
            proxy.go()?;
            assert_eq!(gated.client().line()?, ANSWERED);
            while proxy.line()? != format!("{way} {NAME}") {}
            let ended = gated.wait_for("ended", 1)?;
            assert_eq!(ended[0]["outcome"], if way == "udp" { "established" } else { "truncated" }, "{ended:?}");
        }
        Ok(())
    })
}
