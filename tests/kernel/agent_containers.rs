//! Application containers are held, and only those that are meant: never an init container, never the sidecar's own.

use anyhow::Result;
use conngate_common::{counter::Counter, reason::Reason, verdict::Verdict};
use conngate_testbed::{
    lab::{Agent, Qos},
    report::Connection,
};
use serde_json::json;

use crate::{
    agent_world::{Kernel, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

#[test]
fn agent_container_by_its_kind_and_by_annotation_is_held_or_not() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.manifest()["spec"] = json!({
            "initContainers": [{"name": "setup"}, {"name": "native", "restartPolicy": "Always"}],
            "containers": [{"name": "app"}, {"name": "worker"}, {"name": "istio-proxy"}],
        });
        world.pod.annotate("containers", Some("app"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        agent.wait_for("gated", 1)?;
        for name in ["setup", "native", "istio-proxy", "worker"] {
            let container = world.pod.container(name)?;
            for _ in 0..2 {
                let connection: Connection = container.connect(CAPTURED_V4, &[])?.report()?;
                assert_eq!(connection.outcome, REFUSED, "{name}: as without conngate");
            }
            let told = agent.wait_for("container identified", 1)?;
            let last = told.last().expect("at least one");
            assert_eq!((&last["container"], &last["class"]), (&name.into(), &"exempt".into()));
        }
        // Of each the first attempt, before it was told apart; never the second connection.
        assert_eq!(kernel.counted(Counter::Held)?, 4);
        assert!(kernel.judged(Verdict::Pass(Reason::Exempt))? >= 4);
        assert!(agent.logged("connection held").is_empty());

        let app = world.pod.container("app")?;
        let mut app = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.control_plane.release();
        assert_reached(&app.report()?, CAPTURED_V4);
        Ok(())
    })
}

#[test]
fn agent_container_that_is_started_again_is_told_apart_anew() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        for start in 1..=2 {
            let app = world.pod.container("app")?;
            let _crashing = app.connect(CAPTURED_V4, &[])?;
            agent.wait_for("connection held", start)?;
        }
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 3)?;
        assert_eq!(agent.logged("container identified").len(), 3);
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}

#[test]
fn agent_containers_of_a_running_pod_change_and_connections_are_held_accordingly() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.manifest()["spec"]["containers"] =
            json!([{"name": "app"}, {"name": "worker"}, {"name": "istio-proxy"}]);
        world.pod.annotate("containers", Some("app"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("gated", 1)?;
        let worker = world.pod.container("worker")?;
        assert_eq!(worker.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        world.pod.annotate("containers", None);
        world.pod.manifest()["spec"]["ephemeralContainers"] = json!([{"name": "debug"}]);
        world.pod.tell()?;
        agent.wait_for("gated", 2)?;
        let debug = world.pod.container("debug")?;
        let mut clients = [worker.connect(CAPTURED_V4, &[])?, debug.connect(CAPTURED_V4, &[])?];
        agent.wait_for("connection held", 2)?;
        world.control_plane.release();
        for client in &mut clients {
            assert_reached(&client.report()?, CAPTURED_V4);
        }
        Ok(())
    })
}
