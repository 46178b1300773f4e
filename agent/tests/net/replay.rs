//! A rebuilt SYN completes the connection that it was copied from, which the kernel's own SYNs cannot do here.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
};

use conngate::net::{
    netns::Owner,
    replay::{raw::Replayer, syn},
};
use conngate_common::{
    hold::Connector,
    id::{CgroupId, MonoTime, SocketCookie},
    record::{ParkedRecord, RecordHeader, RecordKind, SYN_LEN},
};
use nix::{
    libc,
    time::{ClockId, clock_gettime},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::fixture::{CAPTURE_PORT, Pod, ROOT, later, wait_for, worker};

pub(crate) fn now() -> MonoTime {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    MonoTime(u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap())
}

/// Every packet of a pod from its network header on: of a captured SYN what the egress hook sees, after NAT.
pub(crate) struct Capture(Socket);

impl Capture {
    pub(crate) fn of(pod: &Pod) -> Self {
        let all = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
        let (kind, protocol) = (Type::DGRAM.nonblocking(), Protocol::from(i32::from(all)));
        Self(worker().socket(&pod.netns, Domain::PACKET, kind, Some(protocol)).unwrap())
    }

    /// The record that the programs would make of `socket`'s SYN to `destination`.
    pub(crate) fn park(&self, socket: &Socket, destination: SocketAddr) -> ParkedRecord {
        let source = unmapped(socket.local_addr().unwrap().as_socket().unwrap());
        let destination = unmapped(destination);
        wait_for("the SYN", || {
            let mut packet = [0; 2048];
            let len = (&self.0).read(&mut packet).ok()?;
            let at = now();
            let mut record = ParkedRecord {
                header: RecordHeader {
                    at,
                    gate: CgroupId(0),
                    socket: SocketCookie(socket.cookie().unwrap()),
                    kind: RecordKind::Parked.code(),
                    protocol: conngate_common::record::TCP,
                },
                first_drop: at,
                container: CgroupId(0),
                connector: Connector::default(),
                uid: 0,
                mark: 0,
                device: 0,
                over_tcp: 1,
                reason: 0,
                syn_len: u32::try_from(len.min(SYN_LEN)).unwrap(),
                dst_ip: [0; 16],
                dst_port: destination.port(),
                capture_port: CAPTURE_PORT,
                ip_version: if destination.is_ipv4() { 4 } else { 6 },
                src_port: source.port(),
                syn: *packet.first_chunk().unwrap(),
            };
            match destination {
                SocketAddr::V4(to) => record.dst_ip[..4].copy_from_slice(&to.ip().octets()),
                SocketAddr::V6(to) => record.dst_ip = to.ip().octets(),
            }
            let ports = if destination.is_ipv4() { 20 } else { 40 };
            let from = u16::from_be_bytes([packet[ports], packet[ports + 1]]);
            (syn::source(&record) == Ok(source) && from == source.port()).then_some(record)
        })
    }
}

/// A v4-mapped address as what it stands for.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Sends a byte from one end to the other.
fn assert_connected(mut from: &Socket, mut to: &Socket) {
    from.write_all(b"x").unwrap();
    let mut byte = [0];
    wait_for("the byte", || to.read(&mut byte).ok());
    assert_eq!(&byte, b"x");
}

/// Connects to `destination` while the kernel's own SYNs are dropped, replays, and sees the connection complete.
fn assert_replay_connects(pod: &Pod, socket: Socket, destination: &str) {
    let destination: SocketAddr = destination.parse().unwrap();
    let capture = Capture::of(pod);
    let replayer = Replayer::open(worker(), &pod.netns, ROOT).unwrap();
    let listener = pod.listen(&format!("[::]:{CAPTURE_PORT}"));

    let client = pod.connect_held(socket, destination);
    let record = capture.park(&client, destination);
    client.peer_addr().expect_err("nothing but a replay completes this connect()");

    assert_eq!(replayer.send(&[syn::rebuild(&record, now()).unwrap()], later()).unwrap(), 1);
    wait_for("the connection", || client.peer_addr().ok());
    let (server, _) = listener.accept().unwrap();
    let original = match destination.ip().to_canonical() {
        IpAddr::V4(_) => server.original_dst_v4(),
        IpAddr::V6(_) => server.original_dst_v6(),
    };
    assert_eq!(original.unwrap().as_socket(), Some(unmapped(destination)));
    assert_connected(&client, &server);
    assert_connected(&server, &client);
}

#[test]
#[ignore = "needs root"]
fn replayed_syn_completes_the_connection() {
    let pod = Pod::captured();
    for (domain, destination) in
        [(Domain::IPV4, "10.99.0.5:80"), (Domain::IPV6, "[fd00:99::5]:80"), (Domain::IPV6, "[::ffff:10.99.0.5]:443")]
    {
        let socket = worker().socket(&pod.netns, domain, Type::STREAM, None).unwrap();
        assert_replay_connects(&pod, socket, destination);
    }
    let mptcp = worker().socket(&pod.netns, Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    match mptcp {
        Ok(socket) => assert_replay_connects(&pod, socket, "10.99.0.5:80"),
        Err(error) => eprintln!("skipped MPTCP: {error:?}"),
    }
    pod.run("sysctl -qw net.ipv4.tcp_timestamps=0");
    assert_replay_connects(&pod, pod.tcp(([0; 4], 0).into()), "10.99.0.5:80");
}

#[test]
#[ignore = "needs root"]
fn packet_that_the_workloads_filter_refuses_stops_no_other() {
    let pod = Pod::captured();
    pod.run("iptables -w -A OUTPUT -p tcp -m conntrack --ctorigdst 10.99.0.6 -m mark --mark 0 -j DROP");
    let capture = Capture::of(&pod);
    let replayer = Replayer::open(worker(), &pod.netns, ROOT).unwrap();
    let _listener = pod.listen(&format!("[::]:{CAPTURE_PORT}"));
    let held = ["10.99.0.6:80", "10.99.0.5:80", "[fd00:99::5]:80"].map(|destination| {
        let destination = destination.parse().unwrap();
        let client = pod.connect_held(pod.tcp(destination), destination);
        let packet = syn::rebuild(&capture.park(&client, destination), now()).unwrap();
        (client, packet)
    });
    let packets = held.each_ref().map(|(_, packet)| packet.clone());
    assert_eq!(replayer.send(&packets, later()).unwrap(), 2);
    wait_for("the connections", || held[1..].iter().all(|(client, _)| client.peer_addr().is_ok()).then_some(()));
    held[0].0.peer_addr().unwrap_err();
    let error = replayer.send(&packets[..1], later()).unwrap_err();
    assert_eq!(error.to_string(), "none of 1 SYNs could be sent");
    assert_eq!(replayer.send(&[], later()).unwrap(), 0);
}

#[test]
#[ignore = "needs root"]
fn packet_of_an_owner_whom_the_workloads_filter_lets_out_completes_the_connection() {
    let owner = Owner { uid: 1000, gid: 1001 };
    let destination: SocketAddr = "10.99.0.5:80".parse().unwrap();
    for whom in ["--uid-owner 1000", "--gid-owner 1001"] {
        for target in ["DROP", "REJECT", "REJECT --reject-with tcp-reset"] {
            let pod = Pod::captured();
            pod.run(&format!("iptables -w -A OUTPUT -p tcp --syn -m owner ! {whom} -j {target}"));
            let capture = Capture::of(&pod);
            let replayer = Replayer::open(worker(), &pod.netns, owner).unwrap();
            let _listener = pod.listen(&format!("[::]:{CAPTURE_PORT}"));
            let socket = worker().socket_of(&pod.netns, owner, Domain::IPV4, Type::STREAM, None).unwrap();
            let client = pod.connect_held(socket, destination);
            let packet = syn::rebuild(&capture.park(&client, destination), now()).unwrap();
            assert_eq!(replayer.send(&[packet], later()).unwrap(), 1, "{whom} {target}");
            wait_for("the connection", || client.peer_addr().ok());
        }
    }
}

#[test]
#[ignore = "needs root"]
fn worker_that_was_another_user_is_itself_again() {
    let pod = Pod::bare();
    let owner = |socket: &Socket| fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().uid();
    let (stream, unix) = (Type::STREAM, Domain::UNIX);
    let theirs = worker().socket_of(&pod.netns, Owner { uid: 1000, gid: 1000 }, unix, stream, None).unwrap();
    let ours = worker().socket(&pod.netns, unix, stream, None).unwrap();
    assert_eq!((owner(&theirs), owner(&ours)), (1000, 0));
}

#[test]
#[ignore = "needs root"]
fn queue_that_lets_nothing_out_ends_the_replay_and_waits_for_nobody() {
    let pod = Pod::captured();
    let capture = Capture::of(&pod);
    let destination = "10.99.0.5:80".parse().unwrap();
    let client = pod.connect_held(pod.tcp(destination), destination);
    let packet = syn::rebuild(&capture.park(&client, destination), now()).unwrap();
    pod.run("tc qdisc add dev lo root tbf rate 8kbit burst 1600 limit 100000000");
    let replayer = Replayer::open(worker(), &pod.netns, ROOT).unwrap();
    let sent = replayer.send(&vec![packet; 1000], later()).unwrap();
    assert!((1..1000).contains(&sent), "the kernel's queue takes some of them: {sent}");
}
