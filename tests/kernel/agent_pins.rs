//! Pins: what others put in their place is never followed, what cannot be used is replaced, and one agent at a time has them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::PathBuf,
};

use anyhow::Result;
use aya::maps::MapInfo;
use conngate_common::{ABI_VERSION, counter::Program};
use conngate_testbed::lab::{
    Agent, Qos,
    agent::{check, checked, uninstall},
    client::Client,
};
use tempfile::TempDir;

use crate::{
    agent_world::{World, holding, initializing},
    world::{CAPTURED_V4, assert_reached},
};

/// A directory that is not conngate's, and a file in it.
fn elsewhere() -> Result<(TempDir, PathBuf)> {
    let directory = TempDir::new()?;
    let file = directory.path().join("file");
    fs::write(&file, "")?;
    Ok((directory, file))
}

/// Where this ABI's pins are.
fn pins(world: &World<'_>) -> PathBuf {
    world.node.bpffs().join(format!("conngate/v{ABI_VERSION}"))
}

/// The one connection is held as `agent` says, and is made once Envoy is ready.
fn assert_held_and_made(world: &World<'_>, agent: &Agent, client: &mut Client) -> Result<()> {
    agent.wait_for("connection held", 1)?;
    world.control_plane.release();
    assert_reached(&client.report()?, CAPTURED_V4);
    Ok(())
}

#[test]
fn agent_bpffs_that_others_can_write_to_is_refused_until_it_is_mended_and_no_link_is_followed() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (bpffs, (directory, file)) = (world.node.bpffs(), elsewhere()?);
        let base = bpffs.join("conngate");
        let refused = |what: &str| {
            let error = uninstall(world.node).unwrap_err().to_string();
            assert!(error.contains(what) && file.exists(), "{error}");
        };
        // What any user can do where it was mounted by hand.
        fs::set_permissions(&bpffs, Permissions::from_mode(0o1777))?;
        symlink(directory.path(), &base)?;
        refused("is not this user's own directory: remove it");
        fs::remove_file(&base)?;
        fs::create_dir(&base)?;
        chown(&base, Some(1000), None)?;
        symlink(directory.path(), base.join("v1"))?;
        refused("is not this user's own directory: remove it");

        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let chmod = format!("chmod 0700 {}", bpffs.display());
        agent.wait_readyz("degraded", |status, text| status == 200 && text.contains(&chmod))?;
        let (_, said) = checked(check(world.node)?)?;
        let warns = |of: &str| said.lines().any(|line| line.starts_with(of) && line.contains(&chmod));
        assert!(warns("warn  pins ") && warns("warn  agent "), "{said}");
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;

        fs::set_permissions(&bpffs, Permissions::from_mode(0o700))?;
        agent.wait_readyz("whose directory it is", |_, text| text.contains("is not this user's own directory"))?;
        chown(&base, Some(0), None)?;
        agent.wait_readyz("all is pinned", |status, text| status == 200 && !text.contains("pinned"))?;
        assert!(file.exists() && fs::symlink_metadata(base.join("v1")).is_err(), "the link is gone, and only the link");
        agent.stop()?;
        assert_held_and_made(world, &Agent::start(world.node, &[])?, &mut client)
    })
}

#[test]
fn agent_with_a_ring_buffer_of_another_size_replaces_the_pinned_one_in_mid_hold() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (agent, _app, mut client) = holding(world)?;
        agent.stop()?;
        let path = pins(world).join("maps/EVENTS");
        let usual = MapInfo::from_pin(&path)?.max_entries();
        for (options, bytes) in
            [(&["--ring-buffer=16777216"][..], 16 << 20), (&["--ring-buffer=65536"], 64 << 10), (&[], usual)]
        {
            let agent = Agent::start(world.node, options)?;
            agent.wait_for("connection held", 1)?;
            assert_eq!(MapInfo::from_pin(&path)?.max_entries(), bytes);
            assert_eq!(agent.logged("replacing a pinned map that differs from the wanted one").len(), 1);
            agent.stop()?;
        }
        assert_held_and_made(world, &Agent::start(world.node, &[])?, &mut client)
    })
}

#[test]
fn agent_beside_another_waits_for_its_end_and_takes_over() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (first, _app, mut client) = holding(world)?;
        let second = Agent::begin(world.node, &[])?;
        let held = format!("an agent (pid {}) has the pins in", first.pid());
        second.wait_readyz("who has the pins", |status, text| status == 503 && text.contains(&held))?;
        let error = uninstall(world.node).unwrap_err().to_string();
        assert!(error.contains(&held) && error.contains("end it first"), "{error}");

        first.kill()?;
        second.wait_readyz("ok", |status, _| status == 200)?;
        assert_held_and_made(world, &second, &mut client)
    })
}

#[test]
fn agent_replaces_pins_that_it_cannot_use_in_mid_hold() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (agent, _app, mut client) = holding(world)?;
        agent.stop()?;
        let (links, maps, (directory, file)) = (pins(world).join("links"), pins(world).join("maps"), elsewhere()?);
        let link = |program: Program| links.join(program.word());
        // The link of another program, a symbolic link, and no file; a symbolic link, and another map.
        fs::rename(link(Program::Egress), link(Program::SockOps))?;
        fs::remove_file(link(Program::Connect4))?;
        symlink(directory.path(), link(Program::Connect4))?;
        fs::remove_file(link(Program::Connect6))?;
        fs::create_dir(link(Program::Connect6))?;
        fs::remove_file(maps.join("CONTAINERS"))?;
        symlink(directory.path(), maps.join("CONTAINERS"))?;
        fs::rename(maps.join("HOLD_DURATION"), maps.join("COUNTERS"))?;

        let agent = Agent::start(world.node, &[])?;
        agent.wait_for("connection held", 1)?;
        assert_eq!(agent.logged("replacing a pinned link that cannot be used").len(), 3);
        assert_eq!(agent.logged("replacing a pinned map that differs from the wanted one").len(), 2);
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        let pinned = [fs::read_dir(&links)?, fs::read_dir(&maps)?].into_iter().flatten();
        let pinned = pinned.map(|entry| Ok(entry?.file_type()?.is_file())).collect::<Result<Vec<_>>>()?;
        assert!(file.exists() && pinned.iter().all(|is_file| *is_file), "{pinned:?}");
        assert_eq!(pinned.len(), 14, "seven programs and seven maps");
        Ok(())
    })
}
