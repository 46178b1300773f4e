//! What is so for a whole machine, and for some of it until the next boot: only in a guest of `cargo xtask vm`, on one thread, in
//! the order of the tests' names. Each lives with what those before it have left.

#[path = "../kernel/world.rs"]
#[expect(dead_code, reason = "the kernel tests need more of it")]
mod world;

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    kernel_version,
    lab::{Cgroup, Gated, Node, agent},
    report::Connection,
};

use crate::world::{CAPTURED_V4, REFUSED, assert_reached, finish, initializing};

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Fails on a machine that is somebody's.
fn guest() -> Result<()> {
    ensure!(std::env::var_os("CONNGATE_GUEST").is_some(), "this changes the whole machine: cargo xtask vm");
    Ok(())
}

/// The line of `conngate check` about something that is not to be had; its status is 0 unless nothing can be held.
fn check(what: &str) -> Result<(bool, Option<String>)> {
    let (node, cgroup) = (Node::new()?, Cgroup::new()?);
    let mut check = agent::check(&node)?;
    cgroup.join(&mut check)?;
    let (can_hold, said) = agent::checked(check)?;
    let begin = format!("lacks       {what}, ");
    Ok((can_hold, said.lines().find(|line| line.contains(&begin)).map(ToOwned::to_owned)))
}

/// A connection is held, and made once Envoy is ready.
fn assert_holds() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        gated.wait_for("held", 1)?;
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

/// Holds with `net.core.NAME` at another value.
fn assert_holds_with(name: &str, value: &str) -> Result<()> {
    guest()?;
    let path = format!("/proc/sys/net/core/{name}");
    let before = fs::read_to_string(&path)?;
    fs::write(&path, value).with_context(|| format!("{path} stays {before}"))?;
    let holds = assert_holds();
    fs::write(&path, before)?;
    holds
}

#[test]
fn jit_hardened_connections_are_held() -> Result<()> {
    assert_holds_with("bpf_jit_harden", "2")
}

#[test]
fn jit_off_connections_are_held_by_the_interpreter() -> Result<()> {
    assert_holds_with("bpf_jit_enable", "0")
}

#[test]
fn lockdown_in_mode_confidentiality_connections_are_held_and_budgets_left_alone() -> Result<()> {
    guest()?;
    fs::write(LOCKDOWN, "confidentiality").context("no lockdown")?;
    assert!(fs::read_to_string(LOCKDOWN)?.contains("[confidentiality]"));
    assert_holds()?;
    let (can_hold, said) = check("syn budget")?;
    let said = said.context("check is silent")?;
    assert!(can_hold && said.contains("lockdown") && said.contains("TCP_SYNCNT is left alone"), "{said}");
    Ok(())
}

#[test]
fn net_prio_in_use_hides_sockets_before_5_15_and_check_says_so() -> Result<()> {
    guest()?;
    let root = tempfile::tempdir()?;
    let mounted =
        Command::new("mount").args(["-t", "cgroup", "-o", "net_prio", "net_prio"]).arg(root.path()).status()?;
    ensure!(mounted.success(), "no net_prio hierarchy");
    let said = initializing(|pod, _, _| {
        let (can_hold, said) = check("cgroups of sockets")?;
        assert!(can_hold && said.is_none(), "it is mounted, and nobody has set anything: {said:?}");
        fs::write(root.path().join("net_prio.ifpriomap"), "lo 1")?;
        let (can_hold, said) = check("cgroups of sockets")?;
        if kernel_version()? < (5, 15) {
            let said = said.context("check is silent")?;
            assert!(!can_hold && said.starts_with("fail") && said.contains("net_prio.ifpriomap"), "{said}");
            let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
            assert_eq!(gated.client().report::<Connection>()?.outcome, REFUSED, "and it is so");
            finish(&mut gated)?;
        } else {
            assert!(can_hold && said.is_none(), "{said:?}");
        }
        Ok(())
    });
    let unmounted = Command::new("umount").arg(root.path()).status()?;
    ensure!(unmounted.success(), "the net_prio hierarchy stays");
    said
}
