//! A connection that is made before Envoy is ready is held, in whatever way it is made, and then reaches its destination
//! as if nothing had happened.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use conngate_testbed::{
    lab::{Gated, client},
    report::{Connection, Summary},
};

use crate::world::{
    CAPTURED_V4, CAPTURED_V6, assert_reached, assert_unharmed, finish, has_mptcp, initializing, wait_second_attempts,
};

/// Ways to connect, as flags of the client.
const FLAVOURS: [&str; 9] = [
    "",
    "--nonblocking",
    "--send-timeout 60000",
    "--fastopen",
    "--fastopen-connect",
    "--mptcp",
    "--nonblocking --mptcp",
    "--io-uring",
    "--v6-socket",
];

/// Those that this kernel has.
fn flavours() -> Result<Vec<&'static str>> {
    let has_mptcp = has_mptcp()?;
    Ok(FLAVOURS.into_iter().filter(|flags| has_mptcp || !flags.contains("mptcp")).collect())
}

/// A shell script that connects in all `flavours` at once to each destination, and prints `FLAGS|REPORT` for each.
fn all(flavours: &[&str], destinations: &[&str]) -> Result<(String, usize)> {
    let client = client::binary()?;
    let client = client.to_str().context("a path in UTF-8")?;
    let mut script = String::new();
    let mut count = 0;
    for flags in flavours {
        for destination in destinations {
            if *flags == "--v6-socket" && destination.starts_with('[') {
                continue;
            }
            script +=
                &format!("(r=$('{client}' connect '{destination}' {flags}); echo \"{destination} {flags}|$r\") &\n");
            count += 1;
        }
    }
    Ok((script + "wait\n", count))
}

#[test]
fn connect_in_every_flavour_is_held_and_reaches_its_destination_unharmed() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let flavours = flavours()?;
        let (script, count) = all(&flavours, &[CAPTURED_V4, CAPTURED_V6])?;
        let mut gated = Gated::start_command(pod, &[], &["sh", "-c", &script])?;
        let held = gated.wait_for("held", count)?;
        assert!(held.iter().all(|event| event["reason"] == "no-listener"), "{held:?}");
        assert!(held.iter().all(|event| event["process"]["name"] == "conngate-test-c"), "{held:?}");
        let destinations = held.iter().fold(BTreeMap::new(), |mut seen: BTreeMap<_, usize>, event| {
            *seen.entry(event["destination"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            seen
        });
        // Before NAT, and the IPv4 address where it was mapped into IPv6.
        let expected = [(CAPTURED_V4.to_owned(), flavours.len()), (CAPTURED_V6.to_owned(), flavours.len() - 1)];
        assert_eq!(destinations, BTreeMap::from(expected));
        wait_second_attempts(pod)?;
        assert!(gated.events("ended").is_empty(), "nothing ends before Envoy is ready");

        control_plane.release();
        let released = control_plane.answered_mono_ns();
        for _ in 0..count {
            let line = gated.client().line()?;
            let (case, report) = line.split_once('|').context("FLAGS|REPORT")?;
            let connection: Connection = serde_json::from_str(report).with_context(|| line.clone())?;
            let destination = case.split(' ').next().unwrap_or_default();
            assert_reached(&connection, destination);
            assert_unharmed(&connection);
            assert!(Some(connection.ended_mono_ns) > released, "{case}: connected after the release");
            assert_eq!(connection.echo.is_some(), case.contains("fastopen"), "{case}: {connection:?}");
        }
        assert_eq!(finish(&mut gated)?, 0);
        let ended = gated.events("ended");
        assert_eq!(ended.len(), count);
        assert!(ended.iter().all(|event| event["outcome"] == "established"), "{ended:?}");
        let opened = gated.events("opened");
        assert_eq!(opened.len(), 1);
        assert_eq!((&opened[0]["reason"], &opened[0]["held"]), (&"ready".into(), &count.into()));
        Ok(())
    })
}

#[test]
fn connect_by_ipv6_is_held_and_reaches_its_destination() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V6, &[])?;
        assert_eq!(gated.wait_for("held", 1)?[0]["destination"], CAPTURED_V6);
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V6);
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(gated.events("ended")[0]["outcome"], "established");
        Ok(())
    })
}

#[test]
fn connect_a_thousand_at_once_all_are_held_and_all_are_made() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &["--count", "1000", "--threads", "2"])?;
        gated.wait_for("held", 1000)?;
        control_plane.release();
        let summary: Summary = gated.client().report()?;
        assert_eq!((summary.connected(), summary.greeted), (1000, 1000), "{summary:?}");
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(gated.events("opened")[0]["held"], 1000);
        Ok(())
    })
}

#[test]
fn connect_to_a_ready_envoy_is_not_refused_and_later_ones_pass_untouched() -> Result<()> {
    crate::world::ready(|pod, _, _| {
        let client = client::binary()?;
        let script = format!(
            "for i in 1 2 3 4 5; do '{}' connect {CAPTURED_V4}; done",
            client.to_str().context("a path in UTF-8")?
        );
        let mut gated = Gated::start_command(pod, &[], &["sh", "-c", &script])?;
        for _ in 0..5 {
            let connection: Connection = gated.client().report()?;
            assert_reached(&connection, CAPTURED_V4);
            assert_unharmed(&connection);
        }
        assert_eq!(finish(&mut gated)?, 0);
        assert!(gated.events("held").len() <= 1, "only a connection that met the first probe may have been held");
        assert_eq!(gated.events("opened")[0]["reason"], "ready");
        Ok(())
    })
}

#[test]
fn connect_with_a_mark_is_left_to_the_kernels_own_retry() -> Result<()> {
    initializing(|pod, control_plane, _| {
        // A replay has no mark, and its reset would be the application's.
        pod.iptables("-A OUTPUT -p tcp --syn --dport 15001 -m mark ! --mark 7 -j REJECT --reject-with tcp-reset")?;
        let program = "import socket\n\
            s = socket.socket()\n\
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)\n\
            s.connect(('198.51.100.10', 80))\n\
            print(s.makefile().readline(), end='', flush=True)\n";
        let mut gated = Gated::start_command(pod, &[], &["python3", "-c", program])?;
        gated.wait_for("held", 1)?;
        control_plane.release();
        assert_eq!(gated.client().line()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn connect_to_three_destinations_from_one_port_all_are_made_by_replay() -> Result<()> {
    initializing(|pod, control_plane, _| {
        // The redirect would make one tuple of all, so NAT gives the second and third another source port on the wire.
        // The sockets' own packets, but for the first, carry a mark and vanish behind the gate: only what is replayed can connect
        // them.
        pod.iptables("-A INPUT -m mark --mark 7 -j DROP")?;
        let program = "import select, socket, struct\n\
            sockets = []\n\
            for to in ('198.51.100.10', '198.51.100.11', '198.51.100.12'):\n\
            \ts = socket.socket()\n\
            \ts.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
            \ts.bind(('192.0.2.2', 40000))\n\
            \ts.setblocking(False)\n\
            \ts.connect_ex((to, 80))\n\
            \ts.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)\n\
            \tsockets.append(s)\n\
            for s in sockets:\n\
            \tselect.select([], [s], [], 60)\n\
            \tprint(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.getpeername()[0], flush=True)\n";
        let mut gated = Gated::start_command(pod, &[], &["python3", "-c", program])?;
        gated.wait_for("held", 3)?;
        control_plane.release();
        for last in [10, 11, 12] {
            assert_eq!(gated.client().line()?, format!("0 198.51.100.{last}"));
        }
        assert_eq!(finish(&mut gated)?, 0);
        let ended = gated.events("ended");
        assert!(ended.iter().all(|event| event["outcome"] == "established"), "{ended:?}");
        Ok(())
    })
}
