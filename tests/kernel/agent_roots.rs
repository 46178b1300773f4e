//! The root of the node's pods may come late, go and come again, or be two: /readyz says what is waited for.

use anyhow::Result;
use conngate_testbed::lab::{self, Agent, KubePod, Namespace, Node, Qos, kubelet::KUBEPODS};

use crate::{
    agent_world::initializing,
    world::{CAPTURED_V4, assert_reached},
};

fn is_waiting(status: u16, text: &str) -> bool {
    status == 503 && text.contains("cgroups: ")
}

#[test]
fn agent_started_before_the_kubelet_waits_for_its_cgroups() -> Result<()> {
    lab::run(|| {
        let node = Node::before_kubelet()?;
        let agent = Agent::begin(&node, &[])?;
        let path = node.cgroup().path().display().to_string();
        agent.wait_readyz("names the place", |status, text| is_waiting(status, text) && text.contains(&path))?;
        node.make_kubepods(KUBEPODS)?;
        agent.wait_readyz("ok", |status, _| status == 200)?;
        let namespace = Namespace::new()?;
        let pod = KubePod::new(&node, &namespace, Qos::BestEffort)?;
        pod.tell()?;
        assert_eq!(agent.wait_for("gated", 1)?[0]["pod"], pod.path());
        Ok(())
    })
}

#[test]
fn agent_finds_two_roots_of_pods_and_names_both() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        node.make_kubepods("inner/kubelet-kubepods")?;
        let agent = Agent::begin(&node, &[])?;
        let roots =
            [KUBEPODS, "inner/kubelet-kubepods"].map(|root| node.cgroup().path().join(root).display().to_string());
        agent.wait_readyz("names both", |status, text| {
            is_waiting(status, text) && roots.iter().all(|root| text.contains(root))
        })?;
        node.remove_kubepods("inner/kubelet-kubepods")?;
        agent.wait_readyz("ok", |status, _| status == 200)?;
        Ok(())
    })
}

#[test]
fn agent_on_a_node_of_two_cgroup_drivers_names_them() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        let uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        let empty = node.cgroup().child(format!("{KUBEPODS}/burstable/pod{uid}"))?;
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let astray = node.cgroup().child(format!("system.slice/{slice}:cri-containerd:{:064x}", 1))?;
        let agent = Agent::start(&node, &[])?;
        let named = |status: u16, text: &str| {
            status == 200
                && text.contains("different cgroup drivers")
                && text.contains("system.slice/kubepods-burstable")
        };
        agent.wait_readyz("names the drivers", named)?;
        let _container = empty.child(format!("{:064x}", 2))?;
        agent.wait_readyz("no longer", |status, text| status == 200 && !text.contains("cgroup drivers"))?;
        drop(astray);
        Ok(())
    })
}

#[test]
fn agent_whose_root_of_pods_is_made_anew_gates_the_pods_in_it() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        // The pod and its sidecar go with it: what runs there is not looked at here.
        world.node.remove_kubepods(KUBEPODS)?;
        agent.wait_readyz("waits", is_waiting)?;
        // Its loop turns, and answers.
        let metrics = agent.metrics()?;
        assert_eq!(metrics["conngate_condition_met{condition=\"cgroups\"}"], 0.0);
        assert!(metrics.contains_key("conngate_connections_held_total"), "{metrics:?}");
        let status = agent.ask(&["status"])?.output()?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        assert_eq!(status.status.code(), Some(1), "{said}");
        assert!(said.contains("NOT READY") && said.contains("waits for cgroups: "), "{said}");
        world.node.make_kubepods(KUBEPODS)?;
        agent.wait_for("kubepods cgroup", 2)?;
        agent.wait_readyz("ok", |status, _| status == 200)?;
        let pod = KubePod::new(world.node, world.netns, Qos::Burstable)?;
        pod.tell()?;
        agent.wait_for("gated", 1)?;
        let app = pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        assert_eq!(agent.wait_for("connection held", 1)?[0]["pod"], pod.path());
        let sidecar = pod.container("istio-proxy")?;
        let _envoy = lab::Envoy::start_in(world.netns, world.control_plane, Some(sidecar.cgroup()))?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
