//! `conngate boot`: what starts before the agent is held without one, for so long and no longer.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use conngate_common::{counter::Counter, reason::Reason, verdict::Verdict};
use conngate_testbed::{
    lab::{Agent, Node, Qos, gated, kubelet::KUBEPODS, process::mark, wait_until},
    report::Connection,
};

use crate::{
    agent_world::{Kernel, PATIENCE, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

/// `conngate boot` of this node.
fn boot(node: &Node, options: &[&str]) -> Result<Command> {
    let mut command = Command::new(gated::binary()?);
    mark(&mut command);
    command.arg("boot").arg("--cgroup-root").arg(node.cgroup().path()).arg("--bpffs").arg(node.bpffs());
    command.args(options).env("CONNGATE_LOG", "conngate=info").stdin(Stdio::null());
    Ok(command)
}

/// Runs it to its end; what it has said.
fn booted(node: &Node, options: &[&str]) -> Result<String> {
    let output = boot(node, options)?.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(said)
}

/// Waits until `count` connections have been held.
fn wait_held(kernel: &Kernel<'_>, count: u64) -> Result<()> {
    wait_until(PATIENCE, "it is held", || (kernel.counted(Counter::Held).ok()? == count).then_some(()))
}

#[test]
fn boot_holds_what_starts_before_the_agent_which_tells_it_apart_and_completes_it() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let said = booted(world.node, &[])?;
        assert!(said.contains("what starts is held until there is an agent"), "{said}");
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        wait_held(&kernel, 1)?;

        let agent = Agent::start(world.node, &[])?;
        world.pod.tell()?;
        let held = agent.wait_for("connection held", 1)?;
        assert_eq!(held[0]["reason"], Reason::Unclassified.word(), "{held:?}");
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!(agent.metric("conngate_pods_started_before_agent_total")?, 0.0);
        assert_eq!(agent.logged("a pinned map that is another than wanted is replaced").len(), 0);
        Ok(())
    })
}

#[test]
fn boot_without_an_agent_holds_for_its_grace_and_no_longer() -> Result<()> {
    initializing(Qos::Guaranteed, |world| {
        booted(world.node, &["--grace", "2s"])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        let refused: Connection = app.connect(CAPTURED_V4, &[])?.report()?;
        assert_eq!(refused.outcome, REFUSED);
        assert_eq!(kernel.counted(Counter::Held)?, 1);
        assert!(kernel.judged(Verdict::Hold(Reason::Unclassified))? > 1, "it was tried more than once");
        let refused: Connection = app.connect(CAPTURED_V4, &[])?.report()?;
        assert_eq!((refused.outcome, kernel.counted(Counter::Held)?), (REFUSED.to_owned(), 1), "that time is over");
        Ok(())
    })
}

#[test]
fn boot_waits_for_the_kubelet_and_does_nothing_where_an_agent_is_or_was() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        let unneeded = "an agent is here, or has been since the machine's start";
        assert!(booted(world.node, &[])?.contains(unneeded));
        agent.kill()?;
        let silent = Kernel(world.node).agent_silent_ns()?;
        assert!(booted(world.node, &[])?.contains(unneeded));
        assert!(Kernel(world.node).agent_silent_ns()? >= silent, "nobody speaks for the agent");
        Ok(())
    })?;
    let node = Node::before_kubelet()?;
    let mut waiting = boot(&node, &[])?.spawn()?;
    ensure!(waiting.try_wait()?.is_none(), "there is no kubelet yet");
    node.make_kubepods(KUBEPODS)?;
    let ended = wait_until(PATIENCE, "it ends once the kubelet is there", || waiting.try_wait().transpose())?;
    assert!(ended?.success());
    Ok(())
}
