//! What each mode and each kind of readiness waits for, and what happens at the timeout.

use anyhow::Result;
use conngate_testbed::{lab::Gated, report::Connection};

use crate::world::{CAPTURED_V4, REFUSED, assert_reached, finish, initializing, ready};

#[test]
fn hold_envoy_listens_but_is_not_ready_holds_until_it_is() -> Result<()> {
    ready(|pod, _, envoy| {
        envoy.fail_healthcheck()?;
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        assert_eq!(gated.wait_for("held", 1)?[0]["reason"], "not-ready");
        assert!(gated.events("ended").is_empty());
        envoy.pass_healthcheck()?;
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(gated.events("opened")[0]["reason"], "ready");
        Ok(())
    })
}

#[test]
fn retry_envoy_listens_but_is_not_ready_passes() -> Result<()> {
    ready(|pod, _, envoy| {
        envoy.fail_healthcheck()?;
        let mut gated = Gated::start(pod, &["--mode", "retry"], CAPTURED_V4, &[])?;
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        assert!(gated.events("held").is_empty());
        Ok(())
    })
}

/// Nobody listens: a connection is held until somebody does, and that is enough.
fn assert_held_until_somebody_listens(options: &[&str]) -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, options, CAPTURED_V4, &[])?;
        assert_eq!(gated.wait_for("held", 1)?[0]["reason"], "no-listener");
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(gated.events("opened")[0]["reason"], "listening");
        Ok(())
    })
}

#[test]
fn retry_nobody_listens_holds_until_somebody_does() -> Result<()> {
    assert_held_until_somebody_listens(&["--mode", "retry"])
}

#[test]
fn ready_url_none_a_listener_is_enough() -> Result<()> {
    assert_held_until_somebody_listens(&["--ready-url", "none"])
}

#[test]
fn ready_url_none_somebody_listens_already_passes() -> Result<()> {
    ready(|pod, _, envoy| {
        envoy.fail_healthcheck()?;
        let mut gated = Gated::start(pod, &["--ready-url", "none"], CAPTURED_V4, &[])?;
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn observe_holds_nothing_and_counts_what_it_would_have_held() -> Result<()> {
    initializing(|pod, _, _| {
        let mut gated = Gated::start(pod, &["--mode", "observe"], CAPTURED_V4, &[])?;
        let connection: Connection = gated.client().report()?;
        assert_eq!(connection.outcome, REFUSED);
        finish(&mut gated)?;
        assert!(gated.events("held").is_empty());
        assert_eq!(gated.events("summary")[0]["would_hold"], 1);
        Ok(())
    })
}

#[test]
fn timeout_release_lets_the_connection_meet_what_is_there() -> Result<()> {
    initializing(|pod, _, _| {
        let mut gated = Gated::start(pod, &["--timeout", "1s"], CAPTURED_V4, &[])?;
        let connection: Connection = gated.client().report()?;
        assert_eq!(connection.outcome, REFUSED, "nobody listens: as without conngate");
        finish(&mut gated)?;
        assert_eq!(gated.events("held").len(), 1);
        let opened = &gated.events("opened")[0];
        assert_eq!((&opened["reason"], &opened["waiting"]), (&"timeout".into(), &1.into()));
        assert_eq!(gated.events("ended")[0]["outcome"], "refused");
        Ok(())
    })
}

#[test]
fn timeout_reset_ends_the_connection_with_an_error() -> Result<()> {
    ready(|pod, _, envoy| {
        // Somebody listens, so that a released connection would be made.
        envoy.fail_healthcheck()?;
        let mut gated = Gated::start(pod, &["--timeout", "1s", "--on-timeout", "reset"], CAPTURED_V4, &[])?;
        let connection: Connection = gated.client().report()?;
        assert_eq!(connection.outcome, "ECONNABORTED");
        finish(&mut gated)?;
        assert_eq!(gated.events("opened")[0]["reason"], "timeout");
        Ok(())
    })
}

#[test]
fn timeout_passed_later_connections_are_not_held_again() -> Result<()> {
    initializing(|pod, _, _| {
        let client = conngate_testbed::lab::client::binary()?;
        let script = format!("for i in 1 2 3; do '{}' connect {CAPTURED_V4}; done", client.display());
        let mut gated = Gated::start_command(pod, &["--timeout", "1s"], &["sh", "-c", &script])?;
        for _ in 0..3 {
            assert_eq!(gated.client().report::<Connection>()?.outcome, REFUSED);
        }
        finish(&mut gated)?;
        assert_eq!(gated.events("held").len(), 1, "the first was held, up to the timeout");
        Ok(())
    })
}
