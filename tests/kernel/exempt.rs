//! What the mesh does not capture, or the operator exempts, is never touched, although the gate is closed.

use anyhow::{Context, Result};
use conngate_testbed::{
    lab::{Gated, client},
    report::Connection,
};

use crate::world::{CAPTURED_V4, CAPTURED_V6, EXCLUDED_V4, EXCLUDED_V6, REFUSED, assert_reached, finish, initializing};

#[test]
fn connect_not_captured_by_the_mesh_is_never_held() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let client = client::binary()?;
        let client = client.to_str().context("a path in UTF-8")?;
        let straight = [EXCLUDED_V4, EXCLUDED_V6, "198.51.100.10:9000", "[2001:db8:2::10]:9000"];
        let as_proxy = [CAPTURED_V4, CAPTURED_V6];
        let mut script = String::new();
        for destination in straight {
            script += &format!("'{client}' connect '{destination}'\n");
        }
        // From the client's own directory, entered as root: the path to a checkout may be closed to other users.
        script += &format!("cd '{}'\n", client.rsplit_once('/').context("a directory")?.0);
        for destination in as_proxy {
            script += "setpriv --reuid 1337 --regid 1337 --clear-groups ./conngate-test-client connect ";
            script += &format!("'{destination}'\n");
        }
        let mut gated = Gated::start_command(pod, &[], &["sh", "-c", &script])?;
        for destination in straight.into_iter().chain(as_proxy) {
            assert_reached(&gated.client().report()?, destination);
        }
        assert_eq!(finish(&mut gated)?, 0);
        assert!(gated.events("held").is_empty());
        assert!(gated.events("opened").is_empty(), "the gate was closed all the time");

        // Loopback, at a port that is not a capture port: somebody listens, or nobody does.
        let control_plane = control_plane.address().to_string();
        let script = format!("exec 3<>/dev/tcp/{} && echo connected", control_plane.replace(':', "/"));
        let mut gated = Gated::start_command(pod, &[], &["bash", "-c", &script])?;
        assert_eq!(gated.client().line()?, "connected");
        assert_eq!(finish(&mut gated)?, 0);
        let mut gated = Gated::start(pod, &[], "127.0.0.1:15999", &[])?;
        assert_eq!(gated.client().report::<Connection>()?.outcome, REFUSED);
        finish(&mut gated)?;
        assert!(gated.events("held").is_empty());
        Ok(())
    })
}

#[test]
fn connect_of_an_exempt_uid_is_refused_as_without_a_gate() -> Result<()> {
    initializing(|pod, _, _| {
        let client = client::binary()?;
        let directory = client.parent().context("the client has a directory")?.display().to_string();
        let script = format!(
            "cd '{directory}' && \
             setpriv --reuid 4242 --regid 4242 --clear-groups ./conngate-test-client connect {CAPTURED_V4}"
        );
        let options = ["--exempt-uid", "4242", "--exempt-uid", "4243"];
        let mut gated = Gated::start_command(pod, &options, &["sh", "-c", &script])?;
        assert_eq!(gated.client().report::<Connection>()?.outcome, REFUSED);
        finish(&mut gated)?;
        assert!(gated.events("held").is_empty());
        Ok(())
    })
}

#[test]
fn connect_at_another_capture_port_is_held_there_only() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &["--capture-port", "15777"], CAPTURED_V4, &[])?;
        assert_eq!(gated.client().report::<Connection>()?.outcome, REFUSED, "15001 is not a capture port here");
        finish(&mut gated)?;
        assert!(gated.events("held").is_empty());

        let options = ["--capture-port", "15777", "--capture-port", "15001"];
        let mut gated = Gated::start(pod, &options, CAPTURED_V4, &[])?;
        assert_eq!(gated.wait_for("held", 1)?[0]["capture_port"], 15001);
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}
