//! The application's own patience counts, and the kernel's ordinary patience after a release.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use conngate_testbed::{
    lab::{Gated, Pod, client, wait_until},
    report::{Connection, GAVE_UP},
};

use crate::world::{CAPTURED_V4, assert_reached, assert_unharmed, finish, initializing, ready, wait_second_attempts};

/// `net.ipv4.NAME` in the pod; none where the kernel does not have it.
fn sysctl(pod: &Pod, name: &str) -> Option<u32> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    pod.enter(|| fs::read_to_string(path)).ok()?.trim().parse().ok()
}

#[test]
fn connect_given_up_by_the_application_is_counted_as_abandoned() -> Result<()> {
    initializing(|pod, _, _| {
        for (flags, outcome) in [(["--send-timeout", "700"], "EINPROGRESS"), (["--give-up", "50"], GAVE_UP)] {
            let mut gated = Gated::start(pod, &[], CAPTURED_V4, &flags)?;
            assert_eq!(gated.client().report::<Connection>()?.outcome, outcome);
            finish(&mut gated)?;
            assert_eq!(gated.events("held").len(), 1);
            assert_eq!(gated.events("ended")[0]["outcome"], "abandoned");
        }
        Ok(())
    })
}

#[test]
fn connect_of_a_killed_application_is_counted_as_abandoned() -> Result<()> {
    initializing(|pod, _, _| {
        let flags = ["--count", "20"];
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &flags)?;
        let pid = gated.wait_for("held", 20)?[0]["process"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = nix::unistd::Pid::from_raw(pid.expect("held connections are attributed"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
        assert_eq!(finish(&mut gated)?, 128 + 9);
        let ended = gated.events("ended");
        assert_eq!(ended.len(), 20);
        assert!(ended.iter().all(|event| event["outcome"] == "abandoned"), "{ended:?}");
        Ok(())
    })
}

#[test]
fn connect_with_its_own_syn_count_expires_after_as_many_timeouts_as_on_a_dead_line() -> Result<()> {
    initializing(|pod, _, _| {
        let timeouts = || {
            let counters = pod.enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))?;
            tcp_ext(&counters, "TCPTimeouts").context("the kernel counts timeouts")
        };
        // Not captured, and nobody is there.
        pod.iptables("-A OUTPUT -d 203.0.113.98 -j DROP")?;
        let before = timeouts()?;
        assert_eq!(client::connect(pod, "203.0.113.98:80", &["--syncnt", "1"])?.outcome, "ETIMEDOUT");
        let on_a_dead_line = timeouts()? - before;

        let before = timeouts()?;
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &["--syncnt", "1"])?;
        assert_eq!(gated.client().report::<Connection>()?.outcome, "ETIMEDOUT");
        finish(&mut gated)?;
        assert_eq!(timeouts()? - before, on_a_dead_line);
        assert_eq!(gated.events("ended")[0]["outcome"], "expired");
        Ok(())
    })
}

#[test]
fn connect_with_its_own_syn_count_is_held_and_keeps_it() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &["--syncnt", "33"])?;
        gated.wait_for("held", 1)?;
        wait_second_attempts(pod)?;
        control_plane.release();
        let connection: Connection = gated.client().report()?;
        assert_reached(&connection, CAPTURED_V4);
        assert_unharmed(&connection);
        assert_eq!(connection.syncnt, Some(33));
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn connect_with_its_own_user_timeout_expires_by_it() -> Result<()> {
    initializing(|pod, _, _| {
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &["--user-timeout", "1500"])?;
        assert_eq!(gated.client().report::<Connection>()?.outcome, "ETIMEDOUT");
        finish(&mut gated)?;
        assert_eq!(gated.events("ended")[0]["outcome"], "expired");
        Ok(())
    })
}

#[test]
fn connect_held_beyond_the_kernels_own_budget_is_still_made_and_the_budget_is_ordinary_again() -> Result<()> {
    initializing(|pod, control_plane, _| {
        // Without a raised budget one retry is all: the hold would end after the second drop.
        pod.set_sysctl("ipv4/tcp_syn_retries", "1")?;
        if sysctl(pod, "tcp_syn_linear_timeouts").is_some() {
            pod.set_sysctl("ipv4/tcp_syn_linear_timeouts", "0")?;
        }
        let mut gated = Gated::start(pod, &[], CAPTURED_V4, &[])?;
        gated.wait_for("held", 1)?;
        // Five of the kernel's own attempts, seen as drops: the socket outlives its ordinary budget.
        wait_until(Duration::from_secs(60), "five attempts", || {
            let counters = pod.enter(|| fs::read_to_string("/proc/thread-self/net/netstat")).unwrap_or_default();
            (tcp_ext(&counters, "TCPTimeouts") >= Some(5)).then_some(())
        })?;
        control_plane.release();
        let connection: Connection = gated.client().report()?;
        assert_reached(&connection, CAPTURED_V4);
        assert_unharmed(&connection);
        assert_eq!(connection.syncnt, Some(1), "a later connect() of this socket has the ordinary budget");
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

/// A counter of the `TcpExt:` lines: one with the names, one with the values.
fn tcp_ext(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let position = lines.next()?.split(' ').position(|field| field == name)?;
    lines.next()?.split(' ').nth(position)?.parse().ok()
}

#[test]
fn connect_held_for_the_default_timeout_without_conngate_is_tried_every_half_second_to_its_end() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = Gated::start(pod, &["--timeout", "60s"], CAPTURED_V4, &[])?;
        gated.wait_for("held", 1)?;
        gated.kill_conngate()?;
        // Any back-off after the hundredth would let the cap come before so many.
        wait_until(Duration::from_secs(90), "110 of the kernel's own attempts", || {
            let counters = pod.enter(|| fs::read_to_string("/proc/thread-self/net/netstat")).unwrap_or_default();
            (tcp_ext(&counters, "TCPTimeouts") >= Some(110)).then_some(())
        })?;
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        Ok(())
    })
}

#[test]
fn connect_held_for_longer_has_its_back_off_bounded_and_the_ordinary_one_when_it_is_made() -> Result<()> {
    initializing(|pod, control_plane, _| {
        // Says what bounds the back-off (TCP_RTO_MAX_MS) before, in and after the hold.
        let program = "import select, socket\n\
            s = socket.socket()\n\
            s.setblocking(False)\n\
            try: ordinary = s.getsockopt(6, 44)\n\
            except OSError: ordinary = None\n\
            print(ordinary, flush=True)\n\
            s.connect_ex(('198.51.100.10', 80))\n\
            while ordinary and s.getsockopt(6, 44) == ordinary: pass\n\
            print(ordinary and s.getsockopt(6, 44), flush=True)\n\
            select.select([], [s], [])\n\
            print(ordinary and s.getsockopt(6, 44), flush=True)\n";
        let mut gated = Gated::start_command(pod, &["--timeout", "10m"], &["python3", "-c", program])?;
        let ordinary = gated.client().line()?;
        let held = gated.client().line()?;
        if ordinary == "None" {
            // Before 6.15 there is no such option.
            assert_eq!(held, ordinary);
        } else {
            assert!(
                (4_800..6_000).contains(&held.parse::<u32>()?),
                "ten minutes by the attempts that are left: {held} ms"
            );
        }
        control_plane.release();
        assert_eq!(gated.client().line()?, ordinary);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn connect_released_but_unanswered_has_the_ordinary_budget_from_there() -> Result<()> {
    ready(|pod, _, envoy| {
        envoy.fail_healthcheck()?;
        pod.set_sysctl("ipv4/tcp_syn_retries", "1")?;
        let mut gated = Gated::start(pod, &["--timeout", "2s"], CAPTURED_V4, &[])?;
        gated.wait_for("held", 1)?;
        // From now on SYNs get through NAT and the gate, and then vanish.
        pod.iptables("-t filter -A INPUT -p tcp --dport 15001 --syn -j DROP")?;
        let connection: Connection = gated.client().report()?;
        assert_eq!(connection.outcome, "ETIMEDOUT", "with the raised budget it would wait for an hour");
        finish(&mut gated)?;
        assert_eq!(gated.events("opened")[0]["reason"], "timeout");
        assert_eq!(gated.events("ended")[0]["outcome"], "expired");
        Ok(())
    })
}

#[test]
fn connect_again_on_the_same_socket_after_a_refusal_is_held_again() -> Result<()> {
    initializing(|pod, control_plane, _| {
        // A first connect() that conngate's timeout lets go and that is refused, then another gate and another try.
        let program = "import socket, sys, time\n\
            s = socket.socket()\n\
            s.settimeout(1)\n\
            try: s.connect(('198.51.100.10', 80))\n\
            except TimeoutError: print('waiting', flush=True)\n\
            s.settimeout(None)\n\
            while True:\n\
            \ttry: s.connect(('198.51.100.10', 80)); break\n\
            \texcept BlockingIOError: time.sleep(0.01)\n\
            \texcept OSError as error:\n\
            \t\tif error.errno == 106: break\n\
            \t\tif error.errno != 114: raise\n\
            \t\ttime.sleep(0.01)\n\
            s.settimeout(60)\n\
            print(s.makefile().readline(), end='', flush=True)\n";
        let mut gated = Gated::start_command(pod, &[], &["python3", "-c", program])?;
        assert_eq!(gated.client().line()?, "waiting");
        gated.wait_for("held", 1)?;
        control_plane.release();
        assert_eq!(gated.client().line()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(gated.events("held").len(), 1);
        Ok(())
    })
}
