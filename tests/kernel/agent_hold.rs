//! The node agent holds a pod's connections until its Envoy is ready, wherever the kubelet has put the pod's cgroup.

use anyhow::Result;
use conngate_common::{counter::Counter, gate::GateState, reason::Reason, verdict::Verdict};
use conngate_testbed::{
    lab::{self, Agent, KubePod, Node, Qos},
    report::{Connection, Summary},
};

use crate::{
    agent_world::{Kernel, World, initializing, on_node},
    world::{CAPTURED_V4, assert_reached},
};

/// One blocking connection, then fifty at once from another container, all before Envoy is ready.
fn assert_held_until_ready(world: &mut World<'_>, agent: &Agent) -> Result<()> {
    let pod = world.pod.path();
    let kernel = Kernel(world.node);
    world.pod.manifest()["spec"]["containers"]
        .as_array_mut()
        .expect("a list")
        .push(serde_json::json!({"name": "worker"}));
    world.pod.tell()?;
    agent.wait_for("gated", 1)?;
    let (app, worker) = (world.pod.container("app")?, world.pod.container("worker")?);
    let mut one = app.connect(CAPTURED_V4, &[])?;
    let mut many = worker.connect(CAPTURED_V4, &["--count", "50", "--threads", "2"])?;
    let held = agent.wait_for("connection held", 51)?;
    assert!(held.iter().all(|event| event["pod"] == pod), "{held:?}");
    assert_eq!(kernel.gate(&world.pod)?, Some((GateState::Holding, Reason::NotReady)));
    let mut told: Vec<_> =
        agent.logged("container identified").iter().map(|event| event["container"].to_string()).collect();
    told.sort();
    assert_eq!(told, [r#""app""#, r#""worker""#], "each container is told apart once");
    assert!(agent.logged("connection ended").is_empty());

    world.control_plane.release();
    let connection: Connection = one.report()?;
    assert_reached(&connection, CAPTURED_V4);
    let summary: Summary = many.report()?;
    assert_eq!((summary.connected(), summary.greeted), (50, 50), "{summary:?}");
    let opened = agent.wait_for("gate opened", 1)?;
    assert_eq!((&opened[0]["reason"], &opened[0]["held"]), (&"ready".into(), &51.into()), "{opened:?}");
    assert_eq!(kernel.gate(&world.pod)?, Some((GateState::Open, Reason::Ready)));
    assert_eq!((kernel.counted(Counter::Held)?, kernel.counted(Counter::Refused)?), (51, 0));
    Ok(())
}

#[test]
fn agent_guaranteed_pod_is_held_until_envoy_is_ready() -> Result<()> {
    initializing(Qos::Guaranteed, |world| {
        let agent = Agent::start(world.node, &[])?;
        assert_held_until_ready(world, &agent)
    })
}

#[test]
fn agent_burstable_pod_is_held_until_envoy_is_ready() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        assert_held_until_ready(world, &agent)
    })
}

#[test]
fn agent_static_pod_is_held_until_envoy_is_ready() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        let agent = Agent::start(&node, &[])?;
        let uid = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
        on_node(
            &node,
            |node, netns| KubePod::with_uid(node, netns, Qos::BestEffort, uid),
            |world| assert_held_until_ready(world, &agent),
        )
    })
}

#[test]
fn agent_first_connection_of_a_container_is_held_though_envoy_listens_and_is_not_ready() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.control_plane.release();
        world.envoy.wait_ready()?;
        world.envoy.fail_healthcheck()?;
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        assert_eq!(
            Kernel(world.node).judged(Verdict::Pass(Reason::Listening))?,
            0,
            "nothing left before Envoy is ready"
        );
        world.envoy.pass_healthcheck()?;
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
