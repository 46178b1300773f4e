//! The fault itself, without conngate: what an application sees while its Envoy is not ready, and that the laboratory
//! builds it as a mesh does.

use std::{net::TcpStream, time::Duration};

use anyhow::{Context, Result};
use conngate_testbed::{
    lab::{
        self, Answer, Cgroup, Envoy, Pod, Upstream, client, process, redirect::PROXY_ID, upstream::ADDRESSES,
        wait_until,
    },
    report::Summary,
};

use crate::world::{CAPTURED_V4, CAPTURED_V6, EXCLUDED_V4, EXCLUDED_V6, REFUSED, assert_reached, has_mptcp, pod};

#[test]
fn connect_before_envoy_is_ready_is_refused_and_afterwards_reaches_its_destination() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, Answer::Held)?;
        let cases: [(&str, &[&str]); 3] = [(CAPTURED_V4, &[]), (CAPTURED_V6, &[]), (CAPTURED_V4, &["--v6-socket"])];
        for (destination, flags) in cases {
            assert_eq!(
                client::connect(&pod, destination, flags)?.outcome,
                REFUSED,
                "no Envoy: {destination} {flags:?}"
            );
        }
        let envoy = Envoy::start(&pod, &control_plane)?;
        envoy.wait_initializing()?;
        assert!(!envoy.listens());
        for (destination, flags) in cases {
            let outcome = client::connect(&pod, destination, flags)?.outcome;
            assert_eq!(outcome, REFUSED, "Envoy initialises: {destination} {flags:?}");
        }
        assert_eq!(control_plane.answered_mono_ns(), None);

        control_plane.release();
        let ready = envoy.wait_ready()?;
        assert!(envoy.listens());
        assert!(control_plane.answered_mono_ns().is_some_and(|answered| answered < ready));
        for (destination, flags) in cases {
            assert_reached(&client::connect(&pod, destination, flags)?, destination);
        }
        Ok(())
    })
}

#[test]
fn connect_excluded_from_the_mesh_goes_straight_without_envoy() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, Answer::Held)?;
        pod.enter(|| TcpStream::connect(control_plane.address())).context("loopback is not captured")?;
        for destination in ["198.51.100.10:9000", "[2001:db8:2::10]:9000", EXCLUDED_V4, EXCLUDED_V6] {
            assert_reached(&client::connect(&pod, destination, &[])?, destination);
        }
        for destination in [CAPTURED_V4, CAPTURED_V6] {
            let mut proxy = client::command(&pod, destination, &[])?;
            process::run_as(&mut proxy, PROXY_ID);
            assert_reached(&client::Client::start(proxy)?.report()?, destination);
        }
        Ok(())
    })
}

#[test]
fn connect_in_every_flavour_reaches_a_ready_envoy() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, Answer::After(Duration::ZERO))?;
        let envoy = Envoy::start(&pod, &control_plane)?;
        envoy.wait_ready()?;
        let flavours: [&[&str]; 11] = [
            &[],
            &["--nonblocking"],
            &["--send-timeout", "60000"],
            &["--fastopen"],
            &["--fastopen-connect"],
            &["--mptcp"],
            &["--io-uring"],
            &["--syncnt", "3"],
            &["--user-timeout", "60000"],
            &["--give-up", "60000"],
            &["--nonblocking", "--mptcp"],
        ];
        let has_mptcp = has_mptcp()?;
        for flags in flavours.into_iter().filter(|flags| has_mptcp || !flags.contains(&"--mptcp")) {
            for destination in [CAPTURED_V4, CAPTURED_V6] {
                let connection = client::connect(&pod, destination, flags)?;
                assert_reached(&connection, destination);
                assert!(connection.tcp_info.is_none_or(|info| info.snd_cwnd > 1), "{flags:?}: {connection:?}");
                let early = flags.iter().any(|flag| flag.starts_with("--fastopen"));
                assert_eq!(connection.echo.is_some(), early, "{flags:?}: {connection:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn connect_a_thousand_at_once_all_are_made_and_stay() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, Answer::After(Duration::ZERO))?;
        let envoy = Envoy::start(&pod, &control_plane)?;
        envoy.wait_ready()?;
        let flags = [CAPTURED_V6, "--count", "1000", "--threads", "2", "--stay"];
        let mut client = client::Client::start(client::command(&pod, CAPTURED_V4, &flags)?)?;
        let summary: Summary = client.report()?;
        assert_eq!((summary.connected(), summary.greeted), (1000, 1000), "{summary:?}");
        assert!(summary.first_started_mono_ns < summary.last_ended_mono_ns);
        Ok(())
    })
}

#[test]
fn envoy_healthcheck_failed_listens_but_is_not_ready() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, Answer::After(Duration::ZERO))?;
        let envoy = Envoy::start(&pod, &control_plane)?;
        envoy.wait_ready()?;
        envoy.fail_healthcheck()?;
        assert_eq!(envoy.ready().map(|(status, _)| status), Some(503));
        assert!(envoy.listens());
        assert_reached(&client::connect(&pod, CAPTURED_V4, &[])?, CAPTURED_V4);
        envoy.pass_healthcheck()?;
        envoy.wait_ready().map(drop)
    })
}

#[test]
fn envoy_killed_refuses_until_it_is_ready_again() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, Answer::After(Duration::ZERO))?;
        let cgroup = Cgroup::new()?;
        let mut envoy = Envoy::start_in(&pod, &control_plane, Some(&cgroup))?;
        assert_eq!(cgroup.processes(), [envoy.pid()]);
        envoy.wait_ready()?;
        envoy.kill()?;
        assert_eq!(client::connect(&pod, CAPTURED_V4, &[])?.outcome, REFUSED);
        control_plane.set(Answer::Held);
        envoy.restart()?;
        envoy.wait_initializing()?;
        assert_eq!(client::connect(&pod, CAPTURED_V4, &[])?.outcome, REFUSED);
        control_plane.release();
        envoy.wait_ready()?;
        assert_reached(&client::connect(&pod, CAPTURED_V4, &[])?, CAPTURED_V4);
        Ok(())
    })
}

#[test]
fn connect_given_up_closes_while_connecting() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let pod = Pod::new(&upstream)?;
        // Nobody answers for this address: its packets are dropped where they arrive.
        upstream.namespace().ip("route add blackhole 198.51.100.99/32")?;
        let given_up = client::connect(&pod, "198.51.100.99:80", &["--give-up", "50"])?;
        assert_eq!(given_up.outcome, "gave-up");
        let timed_out = client::connect(&pod, "198.51.100.99:80", &["--send-timeout", "50"])?;
        assert_eq!(timed_out.outcome, "EINPROGRESS");
        let unanswered = client::connect(&pod, "198.51.100.99:80", &["--user-timeout", "50"])?;
        assert_eq!(unanswered.outcome, "ETIMEDOUT");
        Ok(())
    })
}

#[test]
fn upstream_reached_without_a_mesh_at_every_address() -> Result<()> {
    lab::run(|| {
        let upstream = Upstream::start()?;
        let pod = Pod::new(&upstream)?;
        for address in ADDRESSES {
            let destination = if address.contains(':') { format!("[{address}]:80") } else { format!("{address}:80") };
            assert_reached(&client::connect(&pod, &destination, &[])?, &destination);
        }
        wait_until(Duration::from_secs(10), "the upstream listens", || {
            upstream.namespace().listens_on(80).then_some(())
        })
    })
}
