//! What a running pod asks for changes, or the pod goes: what is held follows at once, and nothing is left of what has gone.

use std::fs;

use anyhow::Result;
use conngate_common::{counter::Counter, gate::GateState, reason::Reason};
use conngate_testbed::{
    lab::{Agent, KubePod, Qos, wait_until},
    report::Connection,
};

use crate::{
    agent_world::{Kernel, PATIENCE, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

const NOT_ENROLLED: Option<(GateState, Reason)> = Some((GateState::NotEnrolled, Reason::NotEnrolled));

#[test]
fn agent_mode_changed_in_mid_hold_the_connection_follows_at_once() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;

        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.pod.annotate("mode", Some("off"));
        world.pod.tell()?;
        assert_eq!(client.report::<Connection>()?.outcome, REFUSED, "nobody listens: as without conngate");
        assert_eq!(kernel.gate(&world.pod)?, NOT_ENROLLED);

        world.pod.annotate("mode", Some("hold"));
        world.pod.tell()?;
        agent.wait_for("gated", 2)?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 2)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);

        world.envoy.fail_healthcheck()?;
        for mode in ["off", "hold"] {
            world.pod.annotate("mode", Some(mode));
            world.pod.tell()?;
            let state = if mode == "off" { GateState::NotEnrolled } else { GateState::Holding };
            wait_until(PATIENCE, mode, || kernel.gate(&world.pod).ok()?.filter(|(now, _)| *now == state))?;
        }
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 3)?;
        world.pod.annotate("mode", Some("off"));
        world.pod.tell()?;
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!((kernel.counted(Counter::Held)?, kernel.counted(Counter::Refused)?), (3, 1));
        Ok(())
    })
}

/// The network namespaces that a process holds open.
fn namespaces(agent: &Agent) -> Result<usize> {
    let open = fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.flatten();
    Ok(open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("net:["))).count())
}

#[test]
fn agent_pod_deleted_in_mid_hold_nothing_of_it_is_left() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let before = namespaces(&agent)?;
        world.pod.tell()?;
        let app = world.pod.container("app")?;
        let _clients = [app.connect(CAPTURED_V4, &[])?, app.connect(CAPTURED_V4, &["--count", "5"])?];
        agent.wait_for("connection held", 6)?;
        assert_eq!((kernel.gates()?.len(), kernel.containers()?.len()), (1, 1));
        assert!(namespaces(&agent)? > before, "the agent needs the pod's namespace to replay");

        world.pod.delete()?;
        wait_until(PATIENCE, "no gate, no container, no namespace", || {
            let left = (kernel.gates().ok()?.len(), kernel.containers().ok()?.len(), namespaces(&agent).ok()?);
            (left == (0, 0, before)).then_some(())
        })?;
        assert_eq!((kernel.counted(Counter::Held)?, kernel.counted(Counter::Abandoned)?), (6, 6));

        let next = KubePod::new(world.node, world.netns, Qos::Burstable)?;
        next.tell()?;
        let app = next.container("app")?;
        let _client = app.connect(CAPTURED_V4, &[])?;
        assert_eq!(agent.wait_for("connection held", 7)?[6]["pod"], next.path());
        Ok(())
    })
}

#[test]
fn agent_pod_with_a_bad_annotation_is_not_gated_and_the_log_says_why() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("timeout", Some("soon"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let said = agent.wait_for("not gated", 1)?.remove(0);
        let bad = said["bad"].as_str().unwrap_or_default();
        assert_eq!((&said["pod"], &said["level"]), (&world.pod.path().into(), &"WARN".into()));
        assert!(["conngate.io/timeout", "soon", "1s"].iter().all(|word| bad.contains(word)), "{bad}");
        let app = world.pod.container("app")?;
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        assert_eq!((kernel.gate(&world.pod)?, kernel.counted(Counter::Held)?), (NOT_ENROLLED, 0));
        Ok(())
    })
}

#[test]
fn agent_pod_in_the_nodes_network_is_untouched() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.manifest()["spec"]["hostNetwork"] = true.into();
        world.pod.tell()?;
        let _agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        wait_until(PATIENCE, "the pod is declined", || kernel.gate(&world.pod).ok()?.filter(|_| true))?;
        let app = world.pod.container("app")?;
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        assert_eq!((kernel.gate(&world.pod)?, kernel.counted(Counter::Held)?), (NOT_ENROLLED, 0));
        Ok(())
    })
}

#[test]
fn agent_gate_that_found_no_room_in_the_kernel_is_closed_once_there_is_some() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        kernel.fill_gates(true)?;
        world.pod.tell()?;
        agent.wait_readyz("the gate is not written", |status, text| {
            status == 200 && text.contains("not written yet, retrying: 1 gates, 0 containers")
        })?;
        assert_eq!(kernel.gate(&world.pod)?, None);
        kernel.fill_gates(false)?;
        let holding = |(state, _): &(GateState, Reason)| *state == GateState::Holding;
        wait_until(PATIENCE, "the gate closes", || kernel.gate(&world.pod).ok()?.filter(holding))?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        agent.wait_readyz("all is written", |_, text| !text.contains("not written"))?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
