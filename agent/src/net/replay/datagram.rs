//! From a parked datagram to the packets that a raw socket sends: the datagram again, or an answer that says it is truncated.
//!
//! Knows nothing of sockets. Pure. The datagram's ports and destination are the socket's own, before NAT, as with a SYN: the packet
//! then meets the conntrack entry of the one that was dropped. The answer's are those after NAT, the other way round: it is a reply
//! to that same entry, as the mesh's DNS server would send it, and arrives from the nameserver that was asked.

use std::net::SocketAddr;

use conngate_core::dns::Datagram;

use super::syn::{Packet, SynError, Version, be16, checksum, ip_address, ip_header};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// Bytes of a DNS header (RFC 1035, 4.1.1).
const DNS_HEADER: usize = 12;
/// In its third byte: QR, "this is an answer"; the opcode; TC, "truncated"; RD, "recursion desired".
const ANSWER: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION: u8 = 0x01;
/// In its fourth: RA, "recursion available".
const AVAILABLE: u8 = 0x80;

/// The packet that takes the place of the datagram.
pub fn rebuild(datagram: &Datagram) -> Result<Packet, SynError> {
    let Datagram { record, .. } = datagram;
    if record.dst_port == 0 {
        return Err(SynError::Unconnected);
    }
    let Parsed { version, ip, bytes } = parse(datagram)?;
    let mut bytes = bytes.to_vec();
    let (header, segment) = bytes.split_at_mut(ip);
    let addresses = addresses(version, header);
    let half = addresses.len() / 2;
    addresses[half..].copy_from_slice(&record.dst_ip[..half]);
    segment[..2].copy_from_slice(&record.src_port.to_be_bytes());
    segment[2..4].copy_from_slice(&record.dst_port.to_be_bytes());
    sum(version, header, segment);
    Ok(Packet::new(&bytes, ip_address(version, &record.dst_ip)))
}

/// The packet that answers the datagram as truncated, which makes its resolver ask again over TCP: the question as it was asked,
/// and nothing else.
pub fn truncated(datagram: &Datagram) -> Result<Packet, SynError> {
    let Parsed { version, ip, bytes } = parse(datagram)?;
    let (header, segment) = bytes.split_at(ip);
    let query = &segment[UDP_HEADER..];
    let question = question(query).ok_or(SynError::NoQuery)?;
    let mut answer = query[..question].to_vec();
    answer[2] = ANSWER | answer[2] & (OPCODE | RECURSION) | TRUNCATED;
    answer[3] = AVAILABLE;
    // One question; no answer, authority or additional record (EDNS0).
    answer[4..DNS_HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);

    let length = UDP_HEADER + answer.len();
    let mut reply = match version {
        // Options are not answered.
        Version::V4 => header[..IPV4].to_vec(),
        Version::V6 => header.to_vec(),
    };
    match version {
        Version::V4 => {
            reply[0] = 0x45;
            let total = be16(IPV4 + length);
            reply[2..4].copy_from_slice(&total);
        }
        Version::V6 => reply[4..6].copy_from_slice(&be16(length)),
    }
    let ends = addresses(version, &mut reply);
    let half = ends.len() / 2;
    ends.rotate_left(half);
    let asker = ip_address(version, &ends[half..]);
    let mut udp = [&segment[2..4], &segment[..2], &be16(length), &[0; 2], &answer].concat();
    sum(version, &mut reply, &mut udp);
    reply.extend(udp);
    Ok(Packet::new(&reply, asker))
}

/// Where a datagram went, after NAT: who has to be bound for it to be answered; and whence.
pub fn captured_at(datagram: &Datagram) -> Result<(SocketAddr, SocketAddr), SynError> {
    let Parsed { version, ip, bytes } = parse(datagram)?;
    let mut header = bytes[..ip].to_vec();
    let ends = addresses(version, &mut header);
    let (from, to) = ends.split_at(ends.len() / 2);
    let port = |at: usize| u16::from_be_bytes([bytes[ip + at], bytes[ip + at + 1]]);
    Ok(((ip_address(version, to), port(2)).into(), (ip_address(version, from), port(0)).into()))
}

const IPV4: usize = 20;

struct Parsed<'a> {
    version: Version,
    /// Length of the IP header.
    ip: usize,
    /// The whole packet, which is at least as long as its headers.
    bytes: &'a [u8],
}

fn parse(datagram: &Datagram) -> Result<Parsed<'_>, SynError> {
    let Datagram { record, packet } = datagram;
    let truncated = SynError::Truncated(record.syn_len);
    let (version, ip, protocol) = ip_header(record, packet)?;
    if protocol != UDP {
        return Err(SynError::Protocol(protocol));
    }
    let udp: &[u8; UDP_HEADER] = packet.get(ip..).and_then(<[u8]>::first_chunk).ok_or(truncated)?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    if length < UDP_HEADER {
        return Err(SynError::HeaderLength(length));
    }
    let bytes = packet.get(..ip + length).ok_or(truncated)?;
    Ok(Parsed { version, ip, bytes })
}

/// Both addresses of an IP header, the source's first.
fn addresses(version: Version, header: &mut [u8]) -> &mut [u8] {
    match version {
        Version::V4 => &mut header[12..20],
        Version::V6 => &mut header[8..40],
    }
}

/// Writes the checksums.
fn sum(version: Version, header: &mut [u8], segment: &mut [u8]) {
    segment[6..8].fill(0);
    let length = segment.len();
    let sum = match checksum(&[addresses(version, header), &[0, UDP], &be16(length), segment]) {
        // 0 says that there is none (RFC 768).
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    segment[6..8].copy_from_slice(&sum);
    if version == Version::V4 {
        header[10..12].fill(0);
        let sum = checksum(&[header]);
        header[10..12].copy_from_slice(&sum);
    }
}

/// The length of a query's header and its one question; `None`: it is no such query.
fn question(query: &[u8]) -> Option<usize> {
    let header: &[u8; DNS_HEADER] = query.first_chunk()?;
    // QR must be 0, and QDCOUNT 1.
    if header[2] & ANSWER != 0 || header[4..6] != [0, 1] {
        return None;
    }
    let mut at = DNS_HEADER;
    loop {
        match usize::from(*query.get(at)?) {
            0 => break,
            // No pointers in the only name that there is.
            label @ 1..=63 => at += 1 + label,
            _ => return None,
        }
    }
    // The root label, QTYPE and QCLASS.
    let end = at + 1 + 4;
    (end <= query.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use conngate_common::{
        hold::Connector,
        id::{CgroupId, MonoTime, SocketCookie},
        record::{self, ParkedRecord, RecordHeader, RecordKind, SYN_LEN},
    };
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

    /// A query to 127.0.0.1:15053, as egress sees it after the redirect, of a socket connected to 10.96.0.10:53.
    fn parked(v6: bool) -> Datagram {
        query(v6, QUERY)
    }

    fn query(v6: bool, query: &[u8]) -> Datagram {
        let mut packet = Vec::new();
        if v6 {
            let to = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let builder = PacketBuilder::ipv6([0x20; 16], to, 64).udp(40_000, 15053);
            builder.write(&mut packet, query).unwrap();
        } else {
            let builder = PacketBuilder::ipv4([10, 244, 0, 5], [127, 0, 0, 1], 64).udp(40_000, 15053);
            builder.write(&mut packet, query).unwrap();
        }
        let mut dst_ip = [0; 16];
        dst_ip[..4].copy_from_slice(&[10, 96, 0, 10]);
        let record = ParkedRecord {
            header: RecordHeader {
                at: MonoTime(1),
                gate: CgroupId(1),
                socket: SocketCookie(1),
                kind: RecordKind::Datagram.code(),
                protocol: record::UDP,
            },
            first_drop: MonoTime(1),
            container: CgroupId(2),
            connector: Connector::default(),
            uid: 0,
            mark: 0,
            device: 0,
            over_tcp: 1,
            reason: 8,
            syn_len: u32::try_from(packet.len()).unwrap(),
            dst_ip,
            dst_port: 53,
            capture_port: 15053,
            ip_version: if v6 { 6 } else { 4 },
            src_port: 41_000,
            syn: [0xee; SYN_LEN],
        };
        Datagram { record, packet: packet.into() }
    }

    #[test]
    fn rebuild_goes_to_the_sockets_own_destination_with_right_checksums() {
        for v6 in [false, true] {
            let packet = rebuild(&parked(v6)).unwrap();
            let sliced = SlicedPacket::from_ip(packet.bytes()).unwrap();
            let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("UDP") };
            assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (41_000, 53, QUERY));
            let sum = match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    assert_eq!(ip.header().destination(), [10, 96, 0, 10]);
                    assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
                    udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), QUERY)
                }
                NetSlice::Ipv6(ip) => udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), QUERY),
                NetSlice::Arp(_) => panic!("IP"),
            };
            assert_eq!(sum.unwrap(), udp.checksum());
        }
    }

    #[test]
    fn rebuild_of_a_query_of_1232_bytes_is_whole() {
        let long = [QUERY, &[0x2e; 1232 - QUERY.len()]].concat();
        let packet = rebuild(&query(true, &long)).unwrap();
        let sliced = SlicedPacket::from_ip(packet.bytes()).unwrap();
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("UDP") };
        assert_eq!(udp.payload(), long);
    }

    #[test]
    fn truncated_answer_is_a_reply_of_the_captured_tuple_that_repeats_the_question_alone() {
        // With an EDNS0 record, which is not repeated.
        let edns = [&QUERY[..11], b"\x01", &QUERY[12..], b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"].concat();
        for v6 in [false, true] {
            let packet = truncated(&query(v6, &edns)).unwrap();
            let sliced = SlicedPacket::from_ip(packet.bytes()).unwrap();
            let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("UDP") };
            assert_eq!((udp.source_port(), udp.destination_port()), (15053, 40_000));
            let answer = [b"\x12\x34\x83\x80", &QUERY[4..]].concat();
            assert_eq!(udp.payload(), answer, "id, QR TC RD, RA, one question");
            let sum = match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    let header = ip.header().to_header();
                    assert_eq!((header.source, header.destination), ([127, 0, 0, 1], [10, 244, 0, 5]));
                    assert_eq!(header.calc_header_checksum(), header.header_checksum);
                    assert_eq!(usize::from(header.total_len), packet.bytes().len());
                    udp.to_header().calc_checksum_ipv4(&header, &answer)
                }
                NetSlice::Ipv6(ip) => {
                    assert_eq!(ip.header().destination(), [0x20; 16]);
                    udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), &answer)
                }
                NetSlice::Arp(_) => panic!("IP"),
            };
            assert_eq!(sum.unwrap(), udp.checksum());
        }
    }

    #[test]
    fn truncated_answer_to_what_is_no_query_is_none_and_never_panics() {
        for no_query in [&b""[..], &QUERY[..16], b"\x12\x34\x81\x00\x00\x01\0\0\0\0\0\0\0\0\x01\0\x01", &[0xff; 300]] {
            assert_eq!(truncated(&query(false, no_query)), Err(SynError::NoQuery), "{no_query:x?}");
        }
    }

    #[test]
    fn rebuild_of_what_cannot_be_sent_is_refused_and_never_panics() {
        let mut unconnected = parked(false);
        unconnected.record.dst_port = 0;
        assert_eq!(rebuild(&unconnected), Err(SynError::Unconnected));
        let whole = parked(false);
        for len in 0..whole.packet.len() {
            let cut = Datagram { packet: whole.packet[..len].into(), ..whole.clone() };
            assert!(rebuild(&cut).is_err() && truncated(&cut).is_err(), "{len}");
        }
        for (at, byte) in [(9, 6), (24, 0xff), (25, 3), (0, 0x4f)] {
            let mut broken = whole.clone();
            broken.packet[at] = byte;
            let _ = (rebuild(&broken), truncated(&broken));
        }
    }
}
