//! What the agent lacks: its port, memory, room in a map; and pins of another ABI. Connections go on.

use std::{fs, net::TcpListener};

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use conngate_common::{ABI_VERSION, gate::ContainerEntry};
use conngate_testbed::{
    lab::{Agent, Node, Qos, http, upstream::raise_file_limit, wait_until},
    report::{CONNECTED, Connection},
};

use crate::{
    agent_world::{Kernel, PATIENCE, holding, initializing},
    world::{CAPTURED_V4, assert_reached},
};

/// Connections that take the agent some memory.
const CROWD: usize = 2_000;

/// The kernel's map of containers, through the agent's pin.
fn containers(node: &Node) -> Result<HashMap<MapData, u64, [u8; size_of::<ContainerEntry>()]>> {
    let path = node.bpffs().join(format!("conngate/v{ABI_VERSION}/maps/CONTAINERS"));
    let data = MapData::from_pin(&path).with_context(|| format!("no map is pinned at {}", path.display()))?;
    Ok(HashMap::try_from(aya::maps::Map::HashMap(data))?)
}

#[test]
fn agent_whose_port_is_taken_holds_names_it_and_serves_once_it_is_free() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let address = taken.local_addr()?;
        let agent = Agent::begin_at(world.node, address, &[], |_| {})?;
        let named = agent.wait_for("degraded", 1)?;
        let why = named[0]["why"].as_str().context("a reason")?;
        assert!(
            why.starts_with(&format!("cannot listen on {address} (--listen): ")) && why.contains("in use"),
            "{why}"
        );

        agent.wait_for("gated", 1)?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);

        drop(taken);
        agent.wait_for("serving /healthz, /readyz and /metrics", 1)?;
        assert_eq!(http::fetch(address, "/healthz")?, (200, "ok\n".to_owned()));
        Ok(())
    })
}

#[test]
fn agent_that_finds_another_abis_pins_in_mid_hold_holds_anew_and_connections_are_made() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (earlier, app, mut client) = holding(world)?;
        earlier.kill()?;
        let pins = world.node.bpffs().join("conngate");
        let (own, others) = (format!("v{ABI_VERSION}"), format!("v{}", ABI_VERSION - 1));
        fs::rename(pins.join(&own), pins.join(&others))?;
        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("connection held", 1)?;
        assert!(!pins.join(&others).exists() && pins.join(&own).exists(), "what another ABI has pinned is gone");
        let mut another = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 2)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_reached(&another.report()?, CAPTURED_V4);
        Ok(())
    })
}

#[test]
fn agent_killed_for_want_of_memory_its_successor_makes_all_connections() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        raise_file_limit()?;
        let (agent, app, mut client) = holding(world)?;
        let count = CROWD.to_string();
        let mut crowd = app.connect(CAPTURED_V4, &["--count", &count, "--threads", "2", "--no-greeting", "--each"])?;
        agent.wait_for("connection held", CROWD + 1)?;
        // What the kernel does to a process that has more than its cgroup may have.
        agent.kill()?;

        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("connection held", CROWD + 1)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        for _ in 0..CROWD {
            assert_eq!(crowd.report::<Connection>()?.outcome, CONNECTED);
        }
        Ok(())
    })
}

#[test]
fn agent_whose_table_of_containers_is_full_says_so_and_goes_on_when_there_is_room() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let mut map = containers(world.node)?;
        let mut fillers = 0..;
        let full = fillers.by_ref().find(|key| map.insert(u64::MAX - key, [0; _], 0).is_err()).context("it is full")?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        agent.wait_readyz("degraded", |status, text| status == 200 && text.contains("1 containers"))?;
        for key in 0..full {
            map.remove(&(u64::MAX - key))?;
        }
        agent.wait_readyz("nothing is missing", |status, text| status == 200 && !text.contains("containers"))?;
        let id = app.cgroup().id()?;
        wait_until(PATIENCE, "the container's class is known to the kernel", || {
            Kernel(world.node).containers().ok()?.contains(&id).then_some(())
        })?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
