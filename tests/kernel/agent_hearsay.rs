//! A gate opens on what was seen, not on hearsay: another port's listener, another pod's, a status of an earlier life.

use anyhow::Result;
use conngate_common::{gate::GateState, reason::Reason, verdict::Verdict};
use conngate_testbed::lab::{Agent, KubePod, Namespace, Qos, client::Client, kubelet::Container, wait_until};
use serde_json::{Value, json};

use crate::{
    agent_world::{Kernel, PATIENCE, initializing},
    world::{CAPTURED_V4, assert_reached},
};

/// A program in `container` that listens until it is dropped.
fn listening(container: &Container<'_>, port: u16) -> Result<Client> {
    let code = format!(
        "import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('listens', flush=True); time.sleep(1e6)"
    );
    let mut client = container.python(&code, &[])?;
    assert_eq!(client.line()?, "listens");
    Ok(client)
}

/// In `mode`, somebody listens on another capture port, in another pod, and on this pod's own port before its application starts;
/// none of them is the proxy, and whoever waits is released by the proxy alone.
fn assert_only_the_proxy_opens(mode: &str, waits_for: Reason, opened_by: &str) -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("mode", Some(mode));
        let elsewhere = Namespace::new()?;
        let neighbour = KubePod::new(world.node, &elsewhere, Qos::Burstable)?;
        let its_sidecar = neighbour.container("istio-proxy")?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let _envoy_of_another_before = listening(&its_sidecar, 15001)?;
        world.pod.tell()?;
        agent.wait_for("gated", 1)?;
        // As istio-validation and linkerd-network-validator, which prove the redirect by listening where it leads.
        let init = world.pod.container("istio-validation")?;
        let validation = listening(&init, 15001)?;
        agent.wait_for("a listener appeared on a capture port", 1)?;
        drop(validation);

        let app = world.pod.container("app")?;
        wait_until(PATIENCE, "the gate is closed", || {
            (kernel.gate(&world.pod).ok()?? == (GateState::Holding, waits_for)).then_some(())
        })?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        let openings = agent.logged("gate opened").len();
        let _envoy_of_another = listening(&its_sidecar, 15053)?;
        // As pilot-agent's, which listens seconds before Envoy does.
        let _dns = listening(world.sidecar, 15053)?;
        agent.wait_for("a listener appeared on a capture port", 2)?;
        // All are heard of in their order, and two attempts later nothing has come of it.
        let attempts = || kernel.judged(Verdict::Hold(Reason::NoListener));
        let before = attempts()?;
        wait_until(PATIENCE, "two more attempts", || (attempts().ok()? >= before + 2).then_some(()))?;
        assert_eq!(agent.logged("gate opened").len(), openings);
        assert_eq!(kernel.gate(&world.pod)?, Some((GateState::Holding, waits_for)));
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        let is_release = |event: &Value| event["message"] == "gate opened" && event["held"] == 1;
        let released = wait_until(PATIENCE, "the gate opens", || agent.logged_as(is_release).pop())?;
        assert_eq!(released["reason"], opened_by);
        Ok(())
    })
}

#[test]
fn agent_retry_another_ports_or_another_pods_listener_opens_nothing() -> Result<()> {
    assert_only_the_proxy_opens("retry", Reason::NoListener, "listening")
}

#[test]
fn agent_hold_another_ports_or_another_pods_listener_opens_nothing() -> Result<()> {
    assert_only_the_proxy_opens("hold", Reason::NotReady, "ready")
}

#[test]
fn agent_that_finds_a_pod_ready_by_status_closes_its_gate_and_asks() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let id = "containerd://0a1b2c";
        world.pod.manifest()["status"] =
            json!({"containerStatuses": [{"name": "istio-proxy", "ready": true, "containerID": id}]});
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}
