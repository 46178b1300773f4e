//! Rebuilding is judged by etherparse, which shares no code with it, on SYNs that a 6.18 kernel sent through REDIRECT.

use conngate_common::{
    hold::Connector,
    id::{CgroupId, SocketCookie},
    record::{RecordHeader, RecordKind, SYN_LEN},
};
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, TcpOptionElement};
use proptest::prelude::*;

use super::*;

const V4: &str = "4500003c722d400040063f3f0a4d00027f000001bc623a996e0f7e0100000000a002faf0897e0000020405b40402080a9958a58b00\
                  0000000103030a";
const V6: &str = "600592f000280640fd0000770000000000000000000000020000000000000000000000000000000198443a99fa61a85d00000000a0\
                  02fd20fda80000020405a00402080a3a645041000000000103030a";
const MPTCP: &str = "45000040fd6340004006b4040a4d00027f000001bc743a99f022dfbe00000000b002faf089820000020405b40402080a79dce8eb\
                     000000000103030a1e040101";
const TFO: &str = "45000090beea40004006f22d0a4d00027f000001bc7a3a99b6643f6500000000a002faf089d20000020405b40402080ad83cc9370\
                   00000000103030a68656c6c6f2066617374206f70656e20646174612068656c6c6f2066617374206f70656e2064617461206865\
                   6c6c6f2066617374206f70656e20646174612068656c6c6f2066617374206f70656e206461746120";
const IP_OPTIONS: &str = "4600004006024000400616620a4d00027f00000194040000bc803a99717c310000000000a002faf0897e0000020405b4040\
                          2080aeaa99311000000000103030a";
const NO_TIMESTAMP: &str =
    "4500003460f940004006507b0a4d00027f000001bc863a996e339e43000000008002faf089760000020405b4010104020103030a";
const ALL: [&str; 6] = [V4, V6, MPTCP, TFO, IP_OPTIONS, NO_TIMESTAMP];

const AT: MonoTime = MonoTime(5_000_000_000);
const MILLISECOND: u64 = 1_000_000;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The record that the programs make of `packet`: cut at `SYN_LEN`.
fn record(packet: &[u8]) -> ParkedRecord {
    let len = packet.len().min(SYN_LEN);
    let mut syn = [0; SYN_LEN];
    syn[..len].copy_from_slice(&packet[..len]);
    let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let mut dst_ip = [0; 16];
    match v6 {
        true => dst_ip = "fd00:99::5".parse::<Ipv6Addr>().unwrap().octets(),
        false => dst_ip[..4].copy_from_slice(&[10, 99, 0, 5]),
    }
    let kind = RecordKind::Parked.code();
    ParkedRecord {
        header: RecordHeader {
            at: AT,
            gate: CgroupId(1),
            socket: SocketCookie(1),
            kind,
            protocol: conngate_common::record::TCP,
        },
        first_drop: AT,
        container: CgroupId(2),
        connector: Connector::default(),
        uid: 0,
        mark: 0,
        device: 0,
        over_tcp: 1,
        reason: 0,
        syn_len: u32::try_from(len).unwrap(),
        dst_ip,
        dst_port: 80,
        capture_port: 15001,
        ip_version: if v6 { 6 } else { 4 },
        src_port: source_port(packet),
        syn,
    }
}

/// The source port of a whole packet, 0 of what is too short to have one.
fn source_port(packet: &[u8]) -> u16 {
    let at = match packet.first() {
        Some(first) if first >> 4 == 6 => IPV6,
        Some(first) => usize::from(first & 15) * 4,
        None => return 0,
    };
    packet.get(at..at + 2).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]))
}

fn captured(hex: &str) -> ParkedRecord {
    record(&bytes(hex))
}

fn tcp_of(packet: &[u8]) -> TcpHeaderSlice<'_> {
    let ip = if packet[0] >> 4 == 6 { IPV6 } else { usize::from(packet[0] & 15) * 4 };
    TcpHeaderSlice::from_slice(&packet[ip..]).unwrap()
}

fn timestamps(packet: &[u8]) -> Option<(u32, u32)> {
    tcp_of(packet).options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::Timestamp(value, echo)) => Some((value, echo)),
        _ => None,
    })
}

/// Lengths, protocols, addresses and both checksums, by the other implementation.
fn assert_sound(packet: &Packet) {
    let bytes = packet.bytes();
    let tcp = tcp_of(bytes);
    let expected = if bytes[0] >> 4 == 6 {
        let ip = Ipv6HeaderSlice::from_slice(bytes).unwrap();
        assert_eq!(usize::from(ip.payload_length()), tcp.slice().len());
        assert_eq!(IpAddr::from(ip.destination_addr()), packet.destination());
        tcp.calc_checksum_ipv6(&ip, &[]).unwrap()
    } else {
        let ip = Ipv4HeaderSlice::from_slice(bytes).unwrap();
        assert_eq!(usize::from(ip.total_len()), bytes.len());
        assert_eq!(ip.protocol(), IpNumber::TCP);
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        assert_eq!(IpAddr::from(ip.destination_addr()), packet.destination());
        tcp.calc_checksum_ipv4(&ip, &[]).unwrap()
    };
    assert_eq!(tcp.checksum(), expected);
}

#[test]
fn real_syns_are_rebuilt_for_the_sockets_own_destination() {
    for hex in ALL {
        let packet = rebuild(&captured(hex), AT.plus(100 * MILLISECOND)).unwrap();
        assert_sound(&packet);
        assert_eq!(tcp_of(packet.bytes()).destination_port(), 80);
        let expected = if hex == V6 { "fd00:99::5" } else { "10.99.0.5" };
        assert_eq!(packet.destination(), expected.parse::<IpAddr>().unwrap());
    }
}

#[test]
fn only_the_named_fields_differ() {
    for hex in ALL {
        let before = bytes(hex);
        let after = rebuild(&captured(hex), AT.plus(100 * MILLISECOND)).unwrap();
        let v6 = hex == V6;
        let ip = if v6 { IPV6 } else { usize::from(before[0] & 15) * 4 };
        let mut named: Vec<usize> = (ip + 2..ip + 4).chain(ip + 16..ip + 18).collect();
        named.extend(if v6 { (24..40).chain(4..6) } else { (16..20).chain(2..4) });
        named.extend(if v6 { 0..0 } else { 10..12 });
        // Every capture with a timestamp has it as the third option, after MSS and SACK-permitted.
        named.extend(if hex == NO_TIMESTAMP { 0..0 } else { ip + 28..ip + 32 });
        let changed: Vec<_> =
            (0..after.bytes().len()).filter(|&at| before[at] != after.bytes()[at] && !named.contains(&at)).collect();
        assert!(changed.is_empty(), "{hex}: bytes {changed:?}");
    }
}

#[test]
fn source_port_that_nat_has_changed_is_the_sockets_own_again() {
    for hex in ALL {
        let packet = rebuild(&ParkedRecord { src_port: 54321, ..captured(hex) }, AT).unwrap();
        assert_eq!(tcp_of(packet.bytes()).source_port(), 54321);
        assert_sound(&packet);
    }
}

#[test]
fn data_of_a_fast_open_syn_stays_behind() {
    let packet = rebuild(&captured(TFO), AT).unwrap();
    assert_eq!(packet.bytes().len(), 60);
    assert_sound(&packet);
}

#[test]
fn options_are_kept_whole() {
    for (hex, len) in [(MPTCP, 64), (IP_OPTIONS, 64), (NO_TIMESTAMP, 52), (V6, 80)] {
        assert_eq!(rebuild(&captured(hex), AT).unwrap().bytes().len(), len);
    }
    assert!(rebuild(&captured(MPTCP), AT).unwrap().bytes().ends_with(&[0x1e, 4, 1, 1]));
}

#[test]
fn timestamp_advances_by_whole_milliseconds_less_two() {
    for (elapsed_ns, advance) in [
        (0, 0),
        (2 * MILLISECOND, 0),
        (3 * MILLISECOND - 1, 0),
        (3 * MILLISECOND, 1),
        (1_000 * MILLISECOND + 999_999, 998),
    ] {
        let packet = rebuild(&captured(V4), AT.plus(elapsed_ns)).unwrap();
        assert_eq!(timestamps(packet.bytes()), Some((0x9958_a58b + advance, 0)), "{elapsed_ns} ns");
    }
    let earlier = rebuild(&captured(V4), MonoTime(AT.0 - 1)).unwrap();
    assert_eq!(timestamps(earlier.bytes()), Some((0x9958_a58b, 0)));
}

#[test]
fn timestamp_wraps_around() {
    let mut record = captured(V4);
    record.syn[48..52].fill(0xff);
    let packet = rebuild(&record, AT.plus(12 * MILLISECOND)).unwrap();
    assert_eq!(timestamps(packet.bytes()), Some((9, 0)));
    assert_sound(&packet);
}

#[test]
fn source_and_destination_are_the_sockets_own() {
    assert_eq!(source(&captured(V4)), Ok("10.77.0.2:48226".parse().unwrap()));
    assert_eq!(source(&captured(IP_OPTIONS)), Ok("10.77.0.2:48256".parse().unwrap()));
    assert_eq!(source(&captured(V6)), Ok("[fd00:77::2]:38980".parse().unwrap()));
    assert_eq!(destination(&captured(V4)), Ok("10.99.0.5:80".parse().unwrap()));
    assert_eq!(destination(&captured(V6)), Ok("[fd00:99::5]:80".parse().unwrap()));
}

#[test]
fn copy_that_ends_within_its_headers_is_truncated() {
    for hex in [V4, V6, MPTCP, IP_OPTIONS, NO_TIMESTAMP] {
        let whole = bytes(hex);
        for len in 1..whole.len() {
            let mut record = record(&whole[..len]);
            assert_eq!(rebuild(&record, AT), Err(SynError::Truncated(record.syn_len)), "{hex} cut at {len}");
            record.syn_len = u32::MAX;
            assert_eq!(rebuild(&record, AT), Err(SynError::Truncated(u32::MAX)));
        }
    }
    assert_eq!(rebuild(&record(&[]), AT), Err(SynError::Truncated(0)));
}

#[test]
fn anything_but_a_tcp_syn_is_refused() {
    let change = |at: usize, value: u8| {
        let mut record = captured(V4);
        record.syn[at] = value;
        rebuild(&record, AT)
    };
    assert_eq!(change(0, 0x65), Err(SynError::Version(4)));
    assert_eq!(change(0, 0x44), Err(SynError::HeaderLength(16)));
    assert_eq!(change(9, 17), Err(SynError::Protocol(17)));
    assert_eq!(change(32, 0x40), Err(SynError::HeaderLength(16)));
    for flags in [0x00, 0x10, 0x12, 0x03, 0x06, 0x04] {
        assert_eq!(change(33, flags), Err(SynError::NotSyn(flags)));
    }
    assert!(change(33, 0xc2).is_ok(), "ECN set-up is a SYN too");
    assert_eq!(rebuild(&ParkedRecord { ip_version: 5, ..captured(V4) }, AT), Err(SynError::Version(5)));
}

proptest! {
    #[test]
    fn any_bytes_give_a_sound_packet_or_an_error(
        random in prop::collection::vec(any::<u8>(), SYN_LEN),
        start in prop::sample::select(ALL.to_vec()),
        kept in 0..=SYN_LEN,
        syn_len in 0..200u32,
        ip_version in 0..8u16,
        elapsed in any::<u64>(),
    ) {
        let mut packet = bytes(start);
        packet.truncate(kept);
        packet.extend(&random[packet.len().min(SYN_LEN)..]);
        let mut record = record(&packet);
        record.syn_len = syn_len;
        if kept % 2 == 0 {
            record.ip_version = ip_version;
        }
        if let Ok(packet) = rebuild(&record, AT.plus(elapsed)) {
            prop_assert!(packet.bytes().len() <= syn_len as usize);
            assert_sound(&packet);
        }
        let _ = (source(&record), destination(&record));
    }

    #[test]
    fn timestamp_is_never_ahead_of_the_kernels(
        hex in prop::sample::select([V4, V6, MPTCP, TFO, IP_OPTIONS].to_vec()),
        sent in 0..10_000_000_000u64,
        parked_after in 0..MILLISECOND,
        replayed_after in 0..600_000 * MILLISECOND,
    ) {
        // The kernel stamped floor(sent), the copy was taken a little later, the replay reads the clock later still.
        let mut record = captured(hex);
        let (before, _) = timestamps(&record.syn).unwrap();
        record.header.at = MonoTime(sent + parked_after);
        let now = record.header.at.plus(replayed_after);
        let packet = rebuild(&record, now).unwrap();
        let (after, echo) = timestamps(packet.bytes()).unwrap();
        let kernel = now.0 / MILLISECOND - sent / MILLISECOND;
        prop_assert!(u64::from(after.wrapping_sub(before)) <= kernel);
        prop_assert!(u64::from(after.wrapping_sub(before)) + 4 >= kernel);
        prop_assert_eq!(echo, 0);
    }
}
