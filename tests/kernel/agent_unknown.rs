//! A connection that comes before the news of its pod: held only while the agent lives and only until the news are there.

use anyhow::Result;
use conngate_common::{counter::Counter, gate::GateState, reason::Reason, verdict::Verdict};
use conngate_testbed::{
    lab::{Agent, Qos, wait_until},
    report::Connection,
};
use nix::sys::signal::Signal;

use crate::{
    agent_world::{Kernel, PATIENCE, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

/// Waits until so many attempts were held for this reason.
fn wait_held(kernel: &Kernel<'_>, reason: Reason, attempts: u64) -> Result<()> {
    wait_until(PATIENCE, &format!("{attempts} attempts held: {reason}"), || {
        (kernel.judged(Verdict::Hold(reason)).ok()? >= attempts).then_some(())
    })
}

#[test]
fn agent_connection_before_the_news_of_its_pod_is_held_and_then_gated() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        // Its ordinary budget would end the hold at the third attempt.
        world.netns.set_sysctl("ipv4/tcp_syn_retries", "1")?;
        // Absent before 6.5.
        let _ = world.netns.set_sysctl("ipv4/tcp_syn_linear_timeouts", "0");
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        wait_held(&kernel, Reason::Unclassified, 1)?;
        assert_eq!(kernel.gate(&world.pod)?, None);
        world.pod.tell()?;
        agent.wait_for("connection held", 1)?;
        wait_held(&kernel, Reason::NoListener, 4)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["held"], 1);
        Ok(())
    })
}

#[test]
fn agent_pod_that_asks_for_nothing_is_refused_once_that_is_known() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let _agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        wait_held(&kernel, Reason::Unclassified, 1)?;
        world.pod.annotate("mode", None);
        world.pod.tell()?;
        assert_eq!(client.report::<Connection>()?.outcome, REFUSED);
        assert_eq!(kernel.gate(&world.pod)?, Some((GateState::NotEnrolled, Reason::NotEnrolled)));
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        assert_eq!(kernel.counted(Counter::Held)?, 1, "the second one was not held");
        Ok(())
    })
}

#[test]
fn agent_that_hangs_holds_no_unknown_pod() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        agent.signal(Signal::SIGSTOP)?;
        wait_until(PATIENCE, "the heartbeat is stale", || (!kernel.is_agent_fresh().ok()?).then_some(()))?;
        let app = world.pod.container("app")?;
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        assert_eq!(kernel.counted(Counter::Held)?, 0);
        assert_eq!(kernel.judged(Verdict::Pass(Reason::AgentStale))?, 1);
        agent.signal(Signal::SIGCONT)?;
        world.pod.tell()?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
