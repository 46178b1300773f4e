//! When a gate opens and closes: an Envoy that dies, an endpoint that cannot be asked, and many that are asked at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use conngate_common::{counter::Counter, gate::GateState, reason::Reason};
use conngate_testbed::{
    clock::mono_ns,
    lab::{self, Agent, Answer, ControlPlane, Envoy, KubePod, Namespace, Node, Pod, Qos, Upstream, wait_until},
    report::Connection,
};
use serde_json::json;

use crate::{
    agent_world::{Kernel, PATIENCE, initializing},
    world::{self, CAPTURED_V4, REFUSED, assert_reached},
};

#[test]
fn agent_envoy_killed_after_it_was_ready_holds_again_only_with_regate() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("regate", Some("30s"));
        world.pod.tell()?;
        // Before Envoy listens: of a listener that was there before the programs, the kernel does not tell the end.
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        world.control_plane.release();
        let app = world.pod.container("app")?;
        assert_reached(&app.connect(CAPTURED_V4, &[])?.report()?, CAPTURED_V4);
        agent.wait_for("gate opened", 1)?;

        world.envoy.kill()?;
        let holding = |(state, _): &(GateState, Reason)| *state == GateState::Holding;
        wait_until(PATIENCE, "the gate closes", || kernel.gate(&world.pod).ok()?.filter(holding))?;
        let held = agent.logged("connection held").len();
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", held + 1)?;
        world.envoy.restart()?;
        assert_reached(&client.report()?, CAPTURED_V4);
        agent.wait_for("gate opened", 2)?;

        world.pod.annotate("regate", None);
        world.pod.tell()?;
        agent.wait_for("gated", 2)?;
        let held = kernel.counted(Counter::Held)?;
        world.envoy.kill()?;
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        assert_eq!(kernel.counted(Counter::Held)?, held);
        Ok(())
    })
}

#[test]
fn agent_endpoint_that_cannot_be_asked_opens_for_a_listener_and_the_kubelets_word() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.control_plane.release();
        world.envoy.wait_ready()?;
        // Nobody is there.
        world.pod.annotate("ready-url", Some("http://127.0.0.1:9/ready"));
        // What the API still says after a reboot: of a container that is no more.
        let status =
            |id: &str| json!({"containerStatuses": [{"name": "istio-proxy", "ready": true, "containerID": id}]});
        world.pod.manifest()["status"] = status("containerd://0a1b2c");
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        // That somebody listens is not enough, nor is an old status.
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        assert!(agent.logged("gate opened").is_empty());

        world.pod.manifest()["status"] = status(&world.sidecar.id());
        world.pod.tell()?;
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "kubelet-ready");
        assert_reached(&client.report()?, CAPTURED_V4);
        let open = Some((GateState::Open, Reason::KubeletReady));
        assert_eq!(Kernel(world.node).gate(&world.pod)?, open);
        assert_reached(&app.connect(CAPTURED_V4, &[])?.report()?, CAPTURED_V4);
        Ok(())
    })
}

/// Answers 503 until told to stop; the times of the questions, CLOCK_MONOTONIC nanoseconds.
fn decline(listener: &TcpListener, stop: &AtomicBool, asked: impl Fn(u64)) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut connection, _)) => {
                asked(mono_ns());
                // Who asks may have given up.
                let _ = connection.set_nonblocking(false);
                let _ = connection.read(&mut [0; 1024]);
                let _ = connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(_) => {}
        }
    }
}

#[test]
fn agent_sixty_gates_at_once_are_asked_within_the_budget() -> Result<()> {
    const PER_SECOND: u64 = 50;
    // A tenth of a second's budget, and the first turn.
    const AT_ONCE: u64 = PER_SECOND / 10 + 1;
    const ASKED: usize = 120;
    lab::run(|| {
        let node = Node::new()?;
        let namespace = Namespace::new()?;
        let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/ready", listener.local_addr()?);
        let agent = Agent::start(&node, &["--probe-budget", &PER_SECOND.to_string()])?;
        let mut pods = (0..60).map(|_| KubePod::new(&node, &namespace, Qos::Burstable)).collect::<Result<Vec<_>>>()?;
        let (stop, times) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
        let times = |time: Option<u64>| {
            let mut times = times.lock().unwrap();
            times.extend(time);
            times.clone()
        };
        let begun = mono_ns();
        thread::scope(|scope| {
            scope.spawn(|| decline(&listener, &stop, |at| drop(times(Some(at)))));
            let told = pods.iter_mut().try_for_each(|pod| {
                pod.annotate("ready-url", Some(&url));
                pod.tell()
            });
            let asked = told.and_then(|()| {
                agent.wait_for("gated", 60)?;
                wait_until(PATIENCE, "the gates are asked for", || (times(None).len() >= ASKED).then_some(()))
            });
            stop.store(true, Ordering::Relaxed);
            asked
        })?;
        for (earlier, at) in times(None).into_iter().enumerate() {
            let allowed = AT_ONCE + (at - begun) * PER_SECOND / 1_000_000_000;
            assert!(earlier as u64 <= allowed, "{} questions within {} ms", earlier + 1, (at - begun) / 1_000_000);
        }
        Ok(())
    })
}

#[test]
fn agent_pod_whose_sandbox_is_made_anew_is_held_again() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        let upstreams = [Upstream::start()?, Upstream::start()?];
        let (first, its_control_plane) = world::pod(&upstreams[0], Answer::Held)?;
        let (second, another_control_plane) = world::pod(&upstreams[1], Answer::Held)?;
        let mut pod = KubePod::new(&node, &first, Qos::Burstable)?;
        pod.tell()?;
        let agent = Agent::start(&node, &[])?;
        let life = |pod: &KubePod<'_>, netns: &Pod, control_plane: &ControlPlane, life: usize| -> Result<()> {
            let app = pod.container("app")?;
            let mut client = app.connect(CAPTURED_V4, &[])?;
            agent.wait_for("connection held", life)?;
            let sidecar = pod.container("istio-proxy")?;
            let _envoy = Envoy::start_in(netns, control_plane, Some(sidecar.cgroup()))?;
            control_plane.release();
            assert_reached(&client.report()?, CAPTURED_V4);
            assert_eq!(agent.wait_for("gate opened", life)?[life - 1]["reason"], "ready");
            Ok(())
        };
        life(&pod, &first, &its_control_plane, 1)?;
        pod.renew(&second)?;
        agent.wait_for("the pod starts a new life, in another network namespace", 1)?;
        life(&pod, &second, &another_control_plane, 2)
    })
}

#[test]
fn agent_container_that_starts_after_a_timeout_is_held_again_and_the_others_are_not() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("timeout", Some("1s"));
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let kernel = Kernel(world.node);
        let app = world.pod.container("app")?;
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "timeout");

        world.pod.annotate("timeout", Some("10m"));
        world.pod.tell()?;
        let again = world.pod.container("app")?;
        let holding = |(state, _): &(GateState, Reason)| *state == GateState::Holding;
        wait_until(PATIENCE, "the gate closes", || kernel.gate(&world.pod).ok()?.filter(holding))?;
        let mut client = again.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 2)?;
        assert_eq!(app.connect(CAPTURED_V4, &[])?.report::<Connection>()?.outcome, REFUSED, "it has waited once");
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
