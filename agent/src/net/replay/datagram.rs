//! From a parked datagram to the packet that a raw socket sends.
//!
//! Knows nothing of sockets or of DNS. Pure. As with a SYN, ports and destination are the socket's own, before NAT: the packet
//! then meets the conntrack entry of the one that was dropped. A socket that is not connected has no destination of its own:
//! its datagram is left to the resolver, which sends again.

use conngate_common::record::ParkedRecord;

use super::syn::{Packet, SynError, Version, be16, checksum, ip_address, ip_header};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// The packet that takes the place of `record`'s datagram.
pub fn rebuild(record: &ParkedRecord) -> Result<Packet, SynError> {
    let truncated = SynError::Truncated(record.syn_len);
    let (version, ip, protocol) = ip_header(record)?;
    if protocol != UDP {
        return Err(SynError::Protocol(protocol));
    }
    if record.dst_port == 0 {
        return Err(SynError::Unconnected);
    }
    let mut bytes = record.syn;
    let udp: &[u8; UDP_HEADER] = bytes.get(ip..).and_then(<[u8]>::first_chunk).ok_or(truncated)?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let len = ip + length;
    if length < UDP_HEADER {
        return Err(SynError::HeaderLength(length));
    }
    if len > usize::try_from(record.syn_len).unwrap_or(0).min(bytes.len()) {
        return Err(truncated);
    }
    bytes[len..].fill(0);
    let (header, segment) = bytes[..len].split_at_mut(ip);
    let addresses = match version {
        Version::V4 => &mut header[12..20],
        Version::V6 => &mut header[8..40],
    };
    let half = addresses.len() / 2;
    addresses[half..].copy_from_slice(&record.dst_ip[..half]);
    segment[..2].copy_from_slice(&record.src_port.to_be_bytes());
    segment[2..4].copy_from_slice(&record.dst_port.to_be_bytes());
    segment[6..8].fill(0);
    let sum = match checksum(&[addresses, &[0, UDP], &be16(length), segment]) {
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
    Ok(Packet::new(bytes, len, ip_address(version, &record.dst_ip)))
}

#[cfg(test)]
mod tests {
    use conngate_common::{
        hold::Connector,
        id::{CgroupId, MonoTime, SocketCookie},
        record::{self, RecordHeader, RecordKind, SYN_LEN},
    };
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

    /// A query to 127.0.0.1:15053, as egress sees it after the redirect, of a socket connected to 10.96.0.10:53.
    fn parked(v6: bool) -> ParkedRecord {
        let mut packet = Vec::new();
        if v6 {
            let to = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let builder = PacketBuilder::ipv6([0x20; 16], to, 64).udp(40_000, 15053);
            builder.write(&mut packet, QUERY).unwrap();
        } else {
            let builder = PacketBuilder::ipv4([10, 244, 0, 5], [127, 0, 0, 1], 64).udp(40_000, 15053);
            builder.write(&mut packet, QUERY).unwrap();
        }
        let mut syn = [0xee; SYN_LEN];
        syn[..packet.len()].copy_from_slice(&packet);
        let mut dst_ip = [0; 16];
        dst_ip[..4].copy_from_slice(&[10, 96, 0, 10]);
        ParkedRecord {
            header: RecordHeader {
                at: MonoTime(1),
                gate: CgroupId(1),
                socket: SocketCookie(1),
                kind: RecordKind::Parked.code(),
                protocol: record::UDP,
            },
            first_drop: MonoTime(1),
            container: CgroupId(2),
            connector: Connector::default(),
            uid: 0,
            mark: 0,
            device: 0,
            reserved: 0,
            reason: 8,
            syn_len: u32::try_from(packet.len()).unwrap(),
            dst_ip,
            dst_port: 53,
            capture_port: 15053,
            ip_version: if v6 { 6 } else { 4 },
            src_port: 41_000,
            syn,
        }
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
    fn rebuild_of_what_cannot_be_sent_is_refused_and_never_panics() {
        let mut unconnected = parked(false);
        unconnected.dst_port = 0;
        assert_eq!(rebuild(&unconnected), Err(SynError::Unconnected));
        let whole = parked(false);
        for len in 0..whole.syn_len {
            assert!(rebuild(&ParkedRecord { syn_len: len, ..whole }).is_err(), "{len}");
        }
        for (at, byte) in [(9, 6), (24, 0xff), (25, 3), (0, 0x4f)] {
            let mut broken = whole;
            broken.syn[at] = byte;
            let _ = rebuild(&broken);
        }
    }
}
