//! The ring buffer: records from the programs, in order.
//!
//! Knows nothing of what they mean. A record of an unknown kind or length is skipped and logged: a newer object's.

use std::{
    io,
    mem::offset_of,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use conngate_common::{
    Shared,
    hold::Connector,
    record::{DATAGRAM_LEN, EndedRecord, ListeningRecord, ParkedRecord, RecordHeader, RecordKind},
};
use conngate_core::dns::Datagram;
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use super::maps::{MapAccessError, take};

/// Records that make one turn of the loop, between two looks at the heartbeat and at who else waits.
const AT_ONCE: usize = 256;

/// Records that are read one by one within a [`MOMENT`] before the rest of it is waited for. The kernel wakes a reader that
/// keeps up once for each record (an interrupt to itself, and often one to another processor), and one that lags not at all.
const ONE_BY_ONE: usize = 32;
const MOMENT: Duration = Duration::from_millis(1);

/// One record.
#[derive(Clone, Debug)]
pub enum KernelRecord {
    /// A SYN was parked.
    Parked(ParkedRecord),
    /// A datagram was parked.
    Datagram(Datagram),
    /// A held connection ended its wait.
    Ended(EndedRecord),
    /// Somebody listens.
    Listening(ListeningRecord),
}

impl KernelRecord {
    /// Reads a record; `None`: not one of ours.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: RecordHeader = read(bytes)?;
        match RecordKind::try_from(header.kind).ok()? {
            RecordKind::Parked => read(bytes).map(Self::Parked),
            RecordKind::Datagram => datagram(bytes).map(Self::Datagram),
            RecordKind::Ended => read(bytes).map(Self::Ended),
            RecordKind::Listening => read(bytes).map(Self::Listening),
        }
    }
}

fn read<T: Shared>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: enough bytes, any alignment, and every bit pattern is a valid `Shared`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The packet goes on behind the record, and may end before that does.
fn datagram(bytes: &[u8]) -> Option<Datagram> {
    let record: ParkedRecord = read(bytes)?;
    let len = usize::try_from(record.syn_len).ok().filter(|len| *len <= DATAGRAM_LEN)?;
    let packet = bytes.get(offset_of!(ParkedRecord, syn)..)?.get(..len)?;
    Some(Datagram { record, packet: packet.into() })
}

/// Where the application connects to, before NAT.
#[must_use]
pub fn destination(record: &ParkedRecord) -> SocketAddr {
    let ip = match record.ip_version {
        4 => IpAddr::from([record.dst_ip[0], record.dst_ip[1], record.dst_ip[2], record.dst_ip[3]]),
        _ => IpAddr::from(record.dst_ip),
    };
    SocketAddr::new(ip, record.dst_port)
}

/// The process's name, whatever bytes it chose.
#[must_use]
pub fn command(connector: &Connector) -> String {
    let bytes = connector.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// The ring buffer before an event loop exists.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapAccessError> {
        take(ebpf, "EVENTS").map(Self)
    }

    /// Registers the buffer with the current event loop.
    ///
    /// # Errors
    /// When the event loop refuses the descriptor.
    pub fn listen(self) -> io::Result<Records> {
        // SAFETY: the descriptor is the map's own, which lives inside the value and never changes.
        let ring = unsafe { AsyncFd::register(self) }?;
        Ok(Records { ring, since: Instant::now(), read: 0 })
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The ring buffer, awaited.
pub struct Records {
    ring: AsyncFd<Ring>,
    /// When a moment began, and how many records it brought.
    since: Instant,
    read: usize,
}

impl Records {
    /// Appends the records that are there to `batch`, at most [`AT_ONCE`], waiting for the first.
    ///
    /// # Errors
    /// When the event loop fails.
    pub async fn next(&mut self, batch: &mut Vec<KernelRecord>) -> io::Result<()> {
        while batch.is_empty() {
            if self.read >= ONE_BY_ONE {
                sleep_until(self.since + MOMENT).await;
            }
            if self.since.elapsed() >= MOMENT {
                (self.since, self.read) = (Instant::now(), 0);
            }
            let mut ready = self.ring.readable_mut().await?;
            let ring = &mut ready.get_inner_mut().0;
            while batch.len() < AT_ONCE
                && let Some(item) = ring.next()
            {
                match KernelRecord::parse(&item) {
                    Some(record) => batch.push(record),
                    None => tracing::warn!(bytes = item.len(), "record of an unknown kind"),
                }
            }
            // More may be there: what serves others comes first.
            if batch.len() < AT_ONCE {
                ready.clear_ready();
                self.read += batch.len();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use conngate_common::{
        id::{CgroupId, MonoTime, SocketCookie},
        record::{SYN_LEN, UDP},
    };

    use super::*;

    /// A record of a datagram of this length, as it is in the ring buffer.
    fn datagram(len: usize) -> Vec<u8> {
        let record = ParkedRecord {
            header: RecordHeader {
                at: MonoTime(1),
                gate: CgroupId(2),
                socket: SocketCookie(3),
                kind: RecordKind::Datagram.code(),
                protocol: UDP,
            },
            first_drop: MonoTime(1),
            container: CgroupId(4),
            connector: Connector::default(),
            uid: 0,
            mark: 0,
            device: 0,
            over_tcp: 0,
            reason: 0,
            syn_len: u32::try_from(len).unwrap(),
            dst_ip: [0; 16],
            dst_port: 53,
            capture_port: 15053,
            ip_version: 4,
            src_port: 1,
            syn: [7; SYN_LEN],
        };
        // SAFETY: a `Shared` value is plain bytes without padding.
        let head = unsafe { std::slice::from_raw_parts((&raw const record).cast::<u8>(), size_of_val(&record)) };
        let rest = if len > SYN_LEN { DATAGRAM_LEN - SYN_LEN } else { 0 };
        [head, &vec![7; rest]].concat()
    }

    #[test]
    fn parse_of_a_datagram_has_the_whole_packet_and_nothing_behind_it() {
        for len in [0, 1, SYN_LEN, SYN_LEN + 1, DATAGRAM_LEN] {
            let Some(KernelRecord::Datagram(read)) = KernelRecord::parse(&datagram(len)) else { panic!("{len}") };
            assert_eq!(*read.packet, *vec![7; len]);
            assert_eq!(read.record.header.socket, SocketCookie(3));
        }
    }

    #[test]
    fn parse_of_a_record_that_claims_more_than_there_is_is_none() {
        let [syn, longest] = [SYN_LEN, DATAGRAM_LEN].map(|len| u32::try_from(len).unwrap());
        for (len, claims) in [(SYN_LEN, syn + 1), (DATAGRAM_LEN, longest + 1), (DATAGRAM_LEN, u32::MAX)] {
            let mut bytes = datagram(len);
            let at = offset_of!(ParkedRecord, syn_len);
            bytes[at..at + 4].copy_from_slice(&claims.to_ne_bytes());
            assert!(KernelRecord::parse(&bytes).is_none(), "{len} {claims}");
        }
        assert!(KernelRecord::parse(&datagram(1)[..100]).is_none());
    }
}
