//! From a parked SYN to the packet that a raw socket sends.
//!
//! Knows nothing of sockets. Pure.
//!
//! Invariants, each of them needed for the connection to complete (docs/kernel-support.md):
//! - Source port and destination are the socket's own, before NAT: the packet then meets the conntrack entry of the first SYN.
//! - TSval is never ahead of the kernel's own clock, or the socket's next segment is dropped as old (PAWS).
//! - Nothing else changes, but that data (TFO) stays behind, as in the kernel's own retransmission.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use conngate_common::{id::MonoTime, record::ParkedRecord};

/// Why a parked SYN cannot be sent again; its connection waits for the kernel's own retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SynError {
    /// The copy ends before its headers do.
    #[error("the copy of {0} bytes ends before its headers do")]
    Truncated(u32),
    /// The record's IP version is not 4 or 6, or the packet's is another.
    #[error("not an IP version {0} packet")]
    Version(u16),
    /// Something between the IP header and TCP, or not TCP.
    #[error("IP protocol {0} where TCP is expected")]
    Protocol(u8),
    /// A header length that no header can have.
    #[error("a header length of {0} bytes")]
    HeaderLength(usize),
    /// A datagram of a socket that is not connected, where no sendmsg hook ran.
    #[error("the datagram's destination is not known")]
    Unconnected,
    /// Not one question as a resolver asks it.
    #[error("not a DNS query")]
    NoQuery,
    /// A segment other than the first of a connection.
    #[error("TCP flags {0:#04x} where SYN is expected")]
    NotSyn(u8),
}

/// A whole packet, from its IP header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Box<[u8]>,
    destination: IpAddr,
}

impl Packet {
    pub(super) fn new(bytes: &[u8], destination: IpAddr) -> Self {
        Self { bytes: bytes.into(), destination }
    }

    /// What goes out.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where to.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.destination
    }
}

/// `TSval` counts milliseconds of `CLOCK_MONOTONIC`; the copy was taken up to one after its own, and both ends are rounded.
const TSVAL_MARGIN_MS: u64 = 2;

const TCP: u8 = 6;
const IPV4_MIN: usize = 20;
const IPV6: usize = 40;
const TCP_MIN: usize = 20;
const FIN_SYN_RST_ACK: u8 = 0x17;
const SYN: u8 = 0x02;

/// The packet that takes the place of `record`'s SYN at `now` (not earlier than it is sent).
pub fn rebuild(record: &ParkedRecord, now: MonoTime) -> Result<Packet, SynError> {
    let headers = Headers::parse(record)?;
    let Headers { version, ip, tcp } = headers;
    let (mut bytes, len) = (record.syn, ip + tcp);
    let (ip_header, segment) = bytes[..len].split_at_mut(ip);
    let destination = ip_address(version, &record.dst_ip);
    let (addresses, length_at, length) = match version {
        Version::V4 => (&mut ip_header[12..20], 2, len),
        Version::V6 => (&mut ip_header[8..40], 4, tcp),
    };
    let half = addresses.len() / 2;
    addresses[half..].copy_from_slice(&record.dst_ip[..half]);

    segment[..2].copy_from_slice(&record.src_port.to_be_bytes());
    segment[2..4].copy_from_slice(&record.dst_port.to_be_bytes());
    if let Some(tsval) = tsval(&mut segment[TCP_MIN..]) {
        let elapsed_ms = (now.since(record.header.at) / 1_000_000).saturating_sub(TSVAL_MARGIN_MS);
        let elapsed_ms = u32::try_from(elapsed_ms).unwrap_or(0);
        *tsval = u32::from_be_bytes(*tsval).wrapping_add(elapsed_ms).to_be_bytes();
    }
    segment[16..18].fill(0);
    let checksum = checksum(&[addresses, &[0, TCP], &be16(tcp), segment]);
    segment[16..18].copy_from_slice(&checksum);

    ip_header[length_at..length_at + 2].copy_from_slice(&be16(length));
    if version == Version::V4 {
        ip_header[10..12].fill(0);
        let checksum = self::checksum(&[ip_header]);
        ip_header[10..12].copy_from_slice(&checksum);
    }
    Ok(Packet::new(&bytes[..len], destination))
}

/// The socket's own address and port, before NAT, which leaves the address alone.
pub fn source(record: &ParkedRecord) -> Result<SocketAddr, SynError> {
    let Headers { version, .. } = Headers::parse(record)?;
    let address = match version {
        Version::V4 => &record.syn[12..],
        Version::V6 => &record.syn[8..],
    };
    Ok(SocketAddr::new(ip_address(version, address), record.src_port))
}

/// The socket's own destination, before NAT.
pub fn destination(record: &ParkedRecord) -> Result<SocketAddr, SynError> {
    Ok(SocketAddr::new(ip_address(Headers::parse(record)?.version, &record.dst_ip), record.dst_port))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// Lengths of a SYN's headers in bytes; together they lie within the copy.
struct Headers {
    version: Version,
    ip: usize,
    tcp: usize,
}

impl Headers {
    fn parse(record: &ParkedRecord) -> Result<Self, SynError> {
        let truncated = SynError::Truncated(record.syn_len);
        let (version, ip, protocol) = ip_header(record, copied(record)?)?;
        if protocol != TCP {
            return Err(SynError::Protocol(protocol));
        }
        let segment = copied(record)?.get(ip..).ok_or(truncated)?;
        let fixed: &[u8; TCP_MIN] = segment.first_chunk().ok_or(truncated)?;
        let tcp = usize::from(fixed[12] >> 4) * 4;
        if tcp < TCP_MIN {
            return Err(SynError::HeaderLength(tcp));
        }
        if segment.len() < tcp {
            return Err(truncated);
        }
        match fixed[13] {
            flags if flags & FIN_SYN_RST_ACK == SYN => Ok(Self { version, ip, tcp }),
            flags => Err(SynError::NotSyn(flags)),
        }
    }
}

/// What was copied of the packet.
fn copied(record: &ParkedRecord) -> Result<&[u8], SynError> {
    let copied = usize::try_from(record.syn_len).ok().and_then(|len| record.syn.get(..len));
    copied.ok_or(SynError::Truncated(record.syn_len))
}

/// Version and length of the IP header, which lies within the copy, and what protocol follows.
pub(super) fn ip_header(record: &ParkedRecord, packet: &[u8]) -> Result<(Version, usize, u8), SynError> {
    let truncated = SynError::Truncated(record.syn_len);
    let first = *packet.first().ok_or(truncated)?;
    let (version, length, protocol_at) = match (record.ip_version, first >> 4) {
        (4, 4) => (Version::V4, usize::from(first & 0x0f) * 4, 9),
        (6, 6) => (Version::V6, IPV6, 6),
        (version, _) => return Err(SynError::Version(version)),
    };
    if length < IPV4_MIN {
        return Err(SynError::HeaderLength(length));
    }
    Ok((version, length, packet.get(..length).ok_or(truncated)?[protocol_at]))
}

/// The address at the start of `bytes`, which holds 16 or, for version 4, at least 4.
pub(super) fn ip_address(version: Version, bytes: &[u8]) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::from(bytes.first_chunk().copied().unwrap_or([0; 4])).into(),
        Version::V6 => Ipv6Addr::from(bytes.first_chunk().copied().unwrap_or([0; 16])).into(),
    }
}

/// Where the timestamp option (RFC 7323) has its TSval, if the segment has one.
fn tsval(options: &mut [u8]) -> Option<&mut [u8; 4]> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const TIMESTAMP: u8 = 8;
    const TIMESTAMP_LEN: u8 = 10;
    let mut at = 0;
    loop {
        match (*options.get(at)?, options.get(at + 1)) {
            (END, _) | (_, None) => return None,
            (NO_OPERATION, _) => at += 1,
            (TIMESTAMP, Some(&TIMESTAMP_LEN)) => return options.get_mut(at + 2..at + 10)?.first_chunk_mut(),
            (_, Some(&len)) if len < 2 => return None,
            (_, Some(&len)) => at += usize::from(len),
        }
    }
}

/// The Internet checksum (RFC 1071) of all parts in a row; each but the last has an even length.
pub(super) fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u64;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

pub(super) fn be16(length: usize) -> [u8; 2] {
    let [.., high, low] = length.to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests;
