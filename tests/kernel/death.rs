//! Whatever is killed, connections complete or go on as without conngate, and nothing is left behind.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use conngate_testbed::{
    lab::{Answer, Gated, gated, wait_until},
    report::Connection,
};
use nix::sys::signal::{Signal, kill};

use crate::world::{CAPTURED_V4, REFUSED, assert_reached, assert_unharmed, finish, initializing, ready};

const PATIENCE: Duration = Duration::from_secs(60);

/// conngate's own cgroups below the laboratory's.
fn scopes(gated: &Gated) -> usize {
    let entries = fs::read_dir(gated.cgroup().path()).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("conngate-run-")).count()
}

#[test]
fn envoy_killed_in_mid_hold_another_one_takes_the_connection() -> Result<()> {
    initializing(|pod, control_plane, envoy| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        gated.wait_for("held", 1)?;
        envoy.kill()?;
        control_plane.set(Answer::Held);
        envoy.restart()?;
        envoy.wait_initializing()?;
        assert!(gated.events("ended").is_empty());
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn envoy_killed_while_it_listens_but_is_not_ready_the_hold_goes_on() -> Result<()> {
    ready(|pod, control_plane, envoy| {
        envoy.fail_healthcheck()?;
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        assert_eq!(gated.wait_for("held", 1)?[0]["reason"], "not-ready");
        envoy.kill()?;
        control_plane.set(Answer::After(Duration::ZERO));
        envoy.restart()?;
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn conngate_killed_in_mid_hold_the_connection_completes_by_the_kernels_own_retry() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        gated.wait_for("held", 1)?;
        gated.kill_conngate()?;
        assert_eq!(scopes(&gated), 1, "the keeper keeps the application behind the gate");
        control_plane.release();
        let connection: Connection = gated.client().report()?;
        assert_reached(&connection, CAPTURED_V4);
        assert_unharmed(&connection);
        wait_until(PATIENCE, "the keeper removes the scope", || (scopes(&gated) == 0).then_some(()))
    })
}

#[test]
fn conngate_killed_while_envoy_listens_but_is_not_ready_the_connection_goes_on() -> Result<()> {
    ready(|pod, _, envoy| {
        envoy.fail_healthcheck()?;
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        assert_eq!(gated.wait_for("held", 1)?[0]["reason"], "not-ready");
        gated.kill_conngate()?;
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        wait_until(PATIENCE, "the keeper removes the scope", || (scopes(&gated) == 0).then_some(()))
    })
}

#[test]
fn conngate_and_keeper_killed_the_connection_goes_on_as_without_them_and_the_next_run_sweeps() -> Result<()> {
    initializing(|pod, _, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        let client = gated.wait_for("held", 1)?[0]["process"]["pid"].as_i64().context("a pid")?;
        gated.kill_conngate()?;
        for process in gated.cgroup().processes() {
            if i64::from(process.as_raw()) != client {
                kill(process, Signal::SIGKILL)?;
            }
        }
        assert_eq!(gated.client().report::<Connection>()?.outcome, REFUSED);
        wait_until(PATIENCE, "the client ends", || gated.cgroup().processes().is_empty().then_some(()))?;
        assert_eq!(scopes(&gated), 1, "an empty cgroup without programs is all that is left");
        let mut next = pod.command(gated::binary()?);
        next.args(["run", "--", "true"]);
        gated.cgroup().join(&mut next)?;
        assert!(next.status()?.success());
        assert_eq!(scopes(&gated), 0);
        Ok(())
    })
}

#[test]
fn command_ends_before_its_children_the_scope_goes_with_the_last() -> Result<()> {
    initializing(|pod, _, _| {
        let script = "sleep 600 >/dev/null 2>&1 & echo $!";
        let mut gated = Gated::start_command(pod, &[], &["sh", "-c", script])?;
        let sleeper = nix::unistd::Pid::from_raw(gated.client().line()?.parse()?);
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(scopes(&gated), 1);
        kill(sleeper, Signal::SIGKILL)?;
        wait_until(PATIENCE, "the keeper removes the scope", || (scopes(&gated) == 0).then_some(()))
    })
}
