//! The agent ends, by whatever signal, and another one comes or none: held connections complete, open gates stay open, and
//! what is to be removed is removed.

use anyhow::Result;
use conngate_common::{counter::Counter, gate::GateState, reason::Reason, verdict::Verdict};
use conngate_testbed::{
    lab::{Agent, Qos, agent::uninstall, upstream::raise_file_limit, wait_until},
    report::{Connection, Summary},
};

use crate::{
    agent_world::{Kernel, PATIENCE, World, holding, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

const HELD: usize = 100;

/// A hundred connections are held, the agent ends, and its successor completes them all.
fn assert_successor_completes_all(world: &World<'_>, end: impl FnOnce(Agent) -> Result<()>) -> Result<()> {
    world.pod.tell()?;
    let agent = Agent::start(world.node, &[])?;
    let kernel = Kernel(world.node);
    let app = world.pod.container("app")?;
    let mut client = app.connect(CAPTURED_V4, &["--count", &HELD.to_string(), "--threads", "2"])?;
    agent.wait_for("connection held", HELD)?;
    end(agent)?;
    assert_eq!(kernel.gate(&world.pod)?.map(|(state, _)| state), Some(GateState::Holding), "the gate stays");

    let agent = Agent::start(world.node, &[])?;
    agent.wait_for("connection held", HELD)?;
    world.control_plane.release();
    let summary: Summary = client.report()?;
    assert_eq!((summary.connected(), summary.greeted), (HELD, HELD), "{summary:?}");
    assert_eq!(agent.wait_for("gate opened", 1)?[0]["held"], HELD);
    assert_eq!((kernel.counted(Counter::Held)?, kernel.counted(Counter::Refused)?), (HELD as u64, 0));
    Ok(())
}

#[test]
fn agent_ended_by_sigterm_in_mid_hold_its_successor_completes_all() -> Result<()> {
    initializing(Qos::Burstable, |world| assert_successor_completes_all(world, Agent::stop))
}

#[test]
fn agent_killed_in_mid_hold_its_successor_completes_all() -> Result<()> {
    initializing(Qos::Guaranteed, |world| assert_successor_completes_all(world, |agent| agent.kill().map(drop)))
}

#[test]
fn agent_that_takes_over_a_busy_node_takes_no_connection_for_another_pods_or_containers() -> Result<()> {
    const HELD: usize = 500;
    initializing(Qos::Burstable, |world| {
        // They are listed after the successor has spoken to the kernel, and before it hears of anything.
        let others = (0..1000).map(|number| format!("kubepods/burstable/pod{number:032x}"));
        let _others: Vec<_> = others.map(|path| world.node.cgroup().child(path)).collect::<Result<_>>()?;
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        // They go on while one agent ends and the other begins.
        let mut client = app.connect(CAPTURED_V4, &["--count", &HELD.to_string(), "--apart", "3"])?;
        agent.wait_for("connection held", HELD / 10)?;
        let unclassified = kernel.judged(Verdict::Hold(Reason::Unclassified))?;
        agent.stop()?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("connection held", HELD)?;
        assert_eq!(kernel.judged(Verdict::Hold(Reason::Unclassified))?, unclassified, "pod and container were known");
        world.control_plane.release();
        let summary: Summary = client.report()?;
        assert_eq!((summary.connected(), summary.greeted), (HELD, HELD), "{summary:?}");
        Ok(())
    })
}

#[test]
fn agent_that_takes_over_and_hears_nothing_of_a_pod_keeps_what_is_held_and_opens_for_a_listener() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &["--count", "10"])?;
        agent.wait_for("connection held", 10)?;
        agent.stop()?;
        world.pod.forget()?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("no source reports an inherited gate's pod: it opens for a listener", 1)?;
        agent.wait_for("connection held", 10)?;
        world.control_plane.release();
        let summary: Summary = client.report()?;
        assert_eq!((summary.connected(), summary.greeted), (10, 10), "{summary:?}");
        let opened = agent.wait_for("gate opened", 1)?.remove(0);
        assert_eq!((&opened["reason"], &opened["held"]), (&"listening".into(), &10.into()));
        Ok(())
    })
}

#[test]
fn agent_killed_and_absent_the_kernels_own_retry_completes_the_connection() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        agent.kill()?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_reached(&app.connect(CAPTURED_V4, &[])?.report()?, CAPTURED_V4);
        assert_eq!(kernel.counted(Counter::Refused)?, 0);

        assert_eq!(uninstall(world.node)?, "removed: programs, maps and gates\n");
        assert!(!world.node.bpffs().join("conngate").exists());
        assert_eq!(uninstall(world.node)?, "nothing to remove\n");
        Ok(())
    })
}

#[test]
fn agent_gone_resets_nothing_what_asks_for_a_reset_is_released_at_the_cap() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("timeout", Some("2s"));
        world.pod.annotate("on-timeout", Some("reset"));
        let (agent, _app, mut client) = holding(world)?;
        agent.kill()?;
        assert_eq!(client.report::<Connection>()?.outcome, REFUSED, "it meets what is there: nobody");
        assert_eq!(Kernel(world.node).judged(Verdict::Pass(Reason::Timeout))?, 1);
        Ok(())
    })
}

#[test]
fn agent_gone_for_good_new_connections_are_refused_at_once_and_what_is_held_stays_so_until_its_cap() -> Result<()> {
    const CAP: u64 = 11_000_000_000;
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("timeout", Some("10s"));
        let (agent, app, mut first) = holding(world)?;
        let kernel = Kernel(world.node);
        agent.kill()?;
        let silent = |wanted| {
            let silence = || kernel.agent_silent_ns().ok().filter(|silent| *silent >= wanted);
            wait_until(PATIENCE, "the agent is silent", silence)
        };
        // Long stale, and still within the cap: held, for nobody listens.
        silent(CAP - 4_000_000_000)?;
        let mut held = app.connect(CAPTURED_V4, &[])?;
        wait_until(PATIENCE, "it is held", || (kernel.counted(Counter::Held).ok()? == 2).then_some(()))?;
        silent(CAP)?;
        for _ in 0..3 {
            assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        }
        assert_eq!(kernel.judged(Verdict::Pass(Reason::AgentStale))?, 3, "of each one SYN, at once");
        assert_eq!(kernel.counted(Counter::Held)?, 2);
        for held in [&mut first, &mut held] {
            assert_eq!(held.report::<Connection>()?.outcome, REFUSED);
        }
        assert_eq!(kernel.judged(Verdict::Pass(Reason::Timeout))?, 2, "what was held was let go at its cap");
        Ok(())
    })
}

#[test]
fn agent_that_detaches_on_exit_lets_go_and_leaves_nothing() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &["--detach-on-exit"])?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        agent.stop()?;
        assert!(!world.node.bpffs().join("conngate").exists());
        assert_eq!(client.report::<Connection>()?.outcome, REFUSED, "as without conngate");
        Ok(())
    })
}

#[test]
fn agent_restarted_gates_that_were_open_stay_open() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        // A node has more pods than one, and most of them ask for nothing.
        let others = (0..30).map(|number| format!("kubepods/burstable/pod{number:032x}"));
        let _others: Vec<_> = others.map(|path| world.node.cgroup().child(path)).collect::<Result<_>>()?;
        world.control_plane.release();
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let open = Some((GateState::Open, Reason::Ready));
        wait_until(PATIENCE, "the gate is open", || (kernel.gate(&world.pod).ok()? == open).then_some(()))?;
        let app = world.pod.container("app")?;
        let mut running = app.connect(CAPTURED_V4, &["--stay"])?;
        assert_reached(&running.report()?, CAPTURED_V4);
        let held = kernel.counted(Counter::Held)?;
        agent.stop()?;
        // A gate that closed again would not open.
        world.envoy.fail_healthcheck()?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("gated", 1)?;
        assert_eq!(kernel.gate(&world.pod)?, open);
        assert_reached(&app.connect(CAPTURED_V4, &[])?.report()?, CAPTURED_V4);
        assert_eq!(kernel.counted(Counter::Held)?, held);
        assert!(agent.logged("gate opened").is_empty());
        Ok(())
    })
}

#[test]
fn agent_log_that_nobody_reads_stops_nothing() -> Result<()> {
    // Each connection is a line, and there are more than may wait for a reader.
    const LINES: &str = "9000";
    initializing(Qos::Burstable, |world| {
        raise_file_limit()?;
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let (app, worker) = (world.pod.container("app")?, world.pod.container("worker")?);
        agent.unread(|| {
            let crowd = worker.connect(CAPTURED_V4, &["--count", LINES, "--threads", "2"])?;
            wait_until(PATIENCE, "lines are dropped", || {
                (agent.metric("conngate_log_lines_dropped_total").ok()? > 0.0).then_some(())
            })?;
            let mut client = app.connect(CAPTURED_V4, &[])?;
            drop(crowd);
            world.control_plane.release();
            assert_reached(&client.report()?, CAPTURED_V4);
            Ok(())
        })
    })
}
