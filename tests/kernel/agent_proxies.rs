//! Which proxy a pod has is what the pod itself says; one that has none is left alone; and one that is called on loopback
//! holds its callers as a mesh's does.

use anyhow::Result;
use conngate_common::{counter::Counter, gate::GateState};
use conngate_testbed::{
    lab::{
        self, Agent, KubePod, Namespace, Node, Qos, client::Client, envoy::ADMIN_PORT, kubelet::Container, wait_until,
    },
    report::{CONNECTED, Connection},
};
use serde_json::{Value, json};

use crate::{
    agent_world::{Kernel, PATIENCE, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

/// A sidecar: answers `$2` on port `$1` for path `$3`, and 503 before it is told a word; then it also listens on `$4`, if not the
/// same. Whoever connects there without asking is let be.
const SIDECAR: &str = r#"
import http.server, socket, sys, threading
port, status, path, served = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
ready = False
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status if ready and self.path == path else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("asked for", flush=True)
sys.stdin.readline()
if served != port:
    listener = socket.create_server(("127.0.0.1", served))
ready = True
print("ready", flush=True)
threading.Event().wait()
"#;

/// Starts it, not ready.
fn sidecar(container: &Container<'_>, port: u16, status: u16, path: &str, served: u16) -> Result<Client> {
    let mut sidecar =
        container.python(SIDECAR, &[&port.to_string(), &status.to_string(), path, &served.to_string()])?;
    assert_eq!(sidecar.line()?, "asked for");
    Ok(sidecar)
}

/// A pod on a node, in a namespace without any redirect, whose spec and annotations (besides the mode) are these.
fn with_pod(
    spec: Value,
    annotations: &[(&str, &str)],
    test: impl FnOnce(&Node, &KubePod<'_>) -> Result<()> + Send,
) -> Result<()> {
    lab::run(|| {
        let (node, namespace) = (Node::new()?, Namespace::new()?);
        let mut pod = KubePod::new(&node, &namespace, Qos::Burstable)?;
        pod.manifest()["spec"] = spec;
        pod.annotate("ready-url", None);
        for (key, value) in annotations {
            pod.annotate(key, Some(value));
        }
        pod.tell()?;
        test(&node, &pod)
    })
}

#[test]
fn agent_pod_without_a_proxy_connects_as_ever_and_explain_says_why() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.manifest()["spec"] = json!({"containers": [{"name": "app"}, {"name": "logger"}]});
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        assert_eq!(agent.wait_for("not gated", 1)?[0]["reason"], "no-proxy");
        let kernel = Kernel(world.node);
        let gates = kernel.gates()?;
        assert!(gates.values().all(|(state, _)| *state == GateState::NotEnrolled), "no hook has work to do: {gates:?}");
        let connection: Connection = world.pod.container("app")?.connect(CAPTURED_V4, &[])?.report()?;
        assert_eq!(connection.outcome, REFUSED);
        assert_eq!(kernel.counted(Counter::Held)?, 0);
        let explained = agent.told_json(&["explain", &world.pod.path()])?;
        assert_eq!(
            (&explained["gate"]["state"], &explained["gate"]["reason"]),
            (&"not-enrolled".into(), &"no-proxy".into())
        );
        assert!(explained["not_gated"].as_str().unwrap_or_default().contains("istio-proxy"), "{explained:#}");
        assert!(agent.told(&["status"])?.contains("1 without a gate (1 ask for one)"));
        let counted = "conngate_pods_without_gate{reason=\"no-proxy\",asked_by=\"annotation\"}";
        assert_eq!(agent.metric(counted)?, 1.0);

        world.pod.annotate("proxy", Some("istio"));
        world.pod.tell()?;
        agent.wait_for("gated", 1)?;
        assert_eq!(agent.metric(counted)?, 0.0);
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}

#[test]
fn agent_gate_opens_by_the_probe_of_the_pods_own_sidecar() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("ready-url", None);
        let probe = json!({"httpGet": {"path": "/ready", "port": "status", "scheme": "HTTP"}});
        let ports = json!([{"name": "status", "containerPort": ADMIN_PORT}]);
        world.pod.manifest()["spec"] = json!({
            "containers": [{"name": "app"}, {"name": "istio-proxy", "ports": ports, "startupProbe": probe}],
        });
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        let explained = agent.told_json(&["explain", &world.pod.path()])?;
        assert_eq!(explained["policy"]["ready_url"], format!("http://localhost:{ADMIN_PORT}/ready"));
        assert_eq!(explained["policy"]["proxy"], "istio");
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}

#[test]
fn agent_dapr_is_ready_when_it_says_204_and_its_caller_waits_for_that() -> Result<()> {
    let args = ["/daprd", "--dapr-http-port", "3500", "--dapr-grpc-port", "50001", "--dapr-public-port", "3501"];
    // Asked, it would wait for the application, which waits for Dapr.
    let probe = json!({"httpGet": {"path": "/v1.0/healthz", "port": 3501}});
    let daprd = json!({"name": "daprd", "args": args, "readinessProbe": probe});
    with_pod(json!({"containers": [{"name": "app"}, daprd]}), &[], |node, pod| {
        let agent = Agent::start(node, &[])?;
        let (daprd, app) = (pod.container("daprd")?, pod.container("app")?);
        let mut sidecar = sidecar(&daprd, 3500, 204, "/v1.0/healthz/outbound", 3500)?;
        // It listens already, which is not enough.
        let mut caller = app.python(
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:3500/v1.0/healthz/outbound').status, flush=True)",
            &[],
        )?;
        agent.wait_for("connection held", 1)?;
        wait_until(PATIENCE, "it was asked", || {
            let explained = agent.told_json(&["explain", &pod.path()]).ok()?;
            (explained["waits_for"]["answer"] == "503").then_some(())
        })?;
        assert!(agent.logged("gate opened").is_empty());
        sidecar.go()?;
        assert_eq!(sidecar.line()?, "ready");
        assert_eq!(caller.line()?, "204");
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}

/// Postgres' port, as the Cloud SQL proxy serves it.
const DATABASE: &str = "127.0.0.1:5432";

#[test]
fn agent_loopback_sidecar_of_no_mesh_holds_its_callers_until_it_is_ready() -> Result<()> {
    let annotations = [
        ("proxy", "none"),
        ("capture-ports", "5432"),
        ("ready-url", "http://localhost:9090/startup"),
        ("containers", "app"),
    ];
    with_pod(json!({"containers": [{"name": "app"}, {"name": "cloud-sql-proxy"}]}), &annotations, |node, pod| {
        let agent = Agent::start(node, &[])?;
        let (proxy, app) = (pod.container("cloud-sql-proxy")?, pod.container("app")?);
        let mut sidecar = sidecar(&proxy, 9090, 200, "/startup", 5432)?;
        // What its own container does there is its own business.
        assert_eq!(proxy.connect(DATABASE, &[])?.report::<Connection>()?.outcome, REFUSED);
        let mut clients = [&["--no-greeting"][..], &["--no-greeting", "--nonblocking"]]
            .map(|flags| app.connect(DATABASE, flags).expect("the client starts"));
        agent.wait_for("connection held", 2)?;
        let other: Connection = app.connect("127.0.0.1:5433", &[])?.report()?;
        assert_eq!(other.outcome, REFUSED, "another port on loopback is not captured");
        sidecar.go()?;
        assert_eq!(sidecar.line()?, "ready");
        for client in &mut clients {
            assert_eq!(client.report::<Connection>()?.outcome, CONNECTED);
        }
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}

#[test]
fn agent_loopback_sidecar_without_a_ready_url_is_ready_when_it_listens() -> Result<()> {
    let annotations = [("proxy", "none"), ("capture-ports", "5432"), ("containers", "app")];
    with_pod(json!({"containers": [{"name": "app"}, {"name": "cloud-sql-proxy"}]}), &annotations, |node, pod| {
        let agent = Agent::start(node, &[])?;
        let (proxy, app) = (pod.container("cloud-sql-proxy")?, pod.container("app")?);
        let mut sidecar = sidecar(&proxy, 9090, 200, "/startup", 5432)?;
        let mut client = app.connect(DATABASE, &["--no-greeting"])?;
        agent.wait_for("connection held", 1)?;
        sidecar.go()?;
        assert_eq!(client.report::<Connection>()?.outcome, CONNECTED);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "listening");
        Ok(())
    })
}
