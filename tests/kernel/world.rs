//! What every test here starts from: an upstream, a pod with the mesh's redirect, a control plane.
//!
//! Knows nothing of what is tested.

use std::{
    fs,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Result, ensure};
use conngate_testbed::{
    kernel_version,
    lab::{Answer, ControlPlane, Envoy, Gated, Pod, Redirect, Upstream, envoy::virtual_outbound, wait_until},
    report::{CONNECTED, Connection},
};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) const EXCLUDED_PORT: u16 = 9000;
pub(crate) const EXCLUDED_V4: &str = "203.0.113.10:80";
pub(crate) const EXCLUDED_V6: &str = "[2001:db8:3::10]:80";
pub(crate) const CAPTURED_V4: &str = "198.51.100.10:80";
pub(crate) const CAPTURED_V6: &str = "[2001:db8:2::10]:5432";
pub(crate) const REFUSED: &str = "ECONNREFUSED";

/// A pod with the mesh's redirect, and a control plane that answers as told.
pub(crate) fn pod(upstream: &Upstream, answer: Answer) -> Result<(Pod, ControlPlane)> {
    let pod = Pod::new(upstream)?;
    pod.redirect(&Redirect {
        excluded_ports: vec![EXCLUDED_PORT],
        excluded_cidrs: vec!["203.0.113.0/24".into(), "2001:db8:3::/48".into()],
    })?;
    let control_plane = ControlPlane::start(&pod, vec![virtual_outbound()], answer)?;
    Ok((pod, control_plane))
}

/// The connection was made, and Envoy knew its original destination.
pub(crate) fn assert_reached(connection: &Connection, destination: &str) {
    assert_eq!(connection.outcome, CONNECTED, "{destination}: {connection:?}");
    assert_eq!(connection.greeting.as_deref(), Some(destination), "the original destination is kept");
}

/// The connection looks as if nothing had happened to it: whole window, and timers of a connection over loopback.
pub(crate) fn assert_unharmed(connection: &Connection) {
    // The kernel says nothing of the subflow under an MPTCP socket.
    let Some(info) = connection.tcp_info else { return };
    assert!(info.snd_cwnd >= 10, "the initial window is 10 segments: {connection:?}");
    assert!(info.rtt_us < 200_000 && info.rto_us < 1_000_000, "no stale timestamp was measured: {connection:?}");
}

/// Waits until the kernel itself has sent every SYN of the pod once more. A hold that ends before that is measured as the round
/// trip (docs/kernel-support.md), and a slow machine may need half a second to make all connections.
pub(crate) fn wait_second_attempts(pod: &Pod) -> Result<()> {
    wait_until(Duration::from_secs(60), "every SYN is sent once more", || {
        let tables =
            ["tcp", "tcp6"].map(|table| pod.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{table}"))));
        let tables = tables.into_iter().collect::<Result<String, _>>().ok()?;
        // The fourth column is the state, 02 is SYN_SENT; the seventh is the retransmissions.
        let mut lines = tables.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.all(|fields| fields[3] != "02" || fields[6] != "00000000").then_some(())
    })
}

/// Whether the kernel has MPTCP: before 5.15 it may not be built in, which is said past the harness.
pub(crate) fn has_mptcp() -> Result<bool> {
    if Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).is_ok() {
        return Ok(true);
    }
    ensure!(kernel_version()? < (5, 15), "no MPTCP");
    writeln!(io::stderr(), "LEFT OUT: connections by MPTCP, which this kernel does not have")?;
    Ok(false)
}

/// Waits for conngate's end; no helper failed in the kernel and no record was lost.
pub(crate) fn finish(gated: &mut Gated) -> Result<i32> {
    let status = gated.finish()?;
    let summary = &gated.events("summary")[0];
    assert_eq!(summary["helper_errors"], serde_json::json!({}), "{summary}");
    assert_eq!(summary["lost_records"], 0, "{summary}");
    Ok(status.code().unwrap_or(-1))
}

/// A world in which Envoy waits for its control plane; `test` gets the pod, the control plane and Envoy.
pub(crate) fn initializing(test: impl FnOnce(&Pod, &ControlPlane, &mut Envoy<'_>) -> Result<()> + Send) -> Result<()> {
    with_envoy(Answer::Held, |pod, control_plane, envoy| {
        envoy.wait_initializing()?;
        test(pod, control_plane, envoy)
    })
}

/// A world in which Envoy is ready.
pub(crate) fn ready(test: impl FnOnce(&Pod, &ControlPlane, &mut Envoy<'_>) -> Result<()> + Send) -> Result<()> {
    with_envoy(Answer::After(Duration::ZERO), |pod, control_plane, envoy| {
        envoy.wait_ready()?;
        test(pod, control_plane, envoy)
    })
}

fn with_envoy(
    answer: Answer,
    test: impl FnOnce(&Pod, &ControlPlane, &mut Envoy<'_>) -> Result<()> + Send,
) -> Result<()> {
    conngate_testbed::lab::run(|| {
        let upstream = Upstream::start()?;
        let (pod, control_plane) = pod(&upstream, answer)?;
        let mut envoy = Envoy::start(&pod, &control_plane)?;
        test(&pod, &control_plane, &mut envoy)
    })
}
