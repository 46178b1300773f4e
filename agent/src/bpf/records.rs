//! The ring buffer: records from the programs, in order.
//!
//! Knows nothing of what they mean. A record of an unknown kind or length is skipped and logged: a newer object's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use conngate_common::{
    Shared,
    hold::Connector,
    record::{EndedRecord, ListeningRecord, ParkedRecord, RecordHeader, RecordKind},
};
use tokio::io::unix::AsyncFd;

use super::maps::{MapAccessError, take};

/// Records that make one turn of the loop, between two looks at the heartbeat and at who else waits.
const AT_ONCE: usize = 256;

/// One record.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "a batch is read at once, and most of it is parked SYNs")]
pub enum KernelRecord {
    /// A SYN was parked.
    Parked(ParkedRecord),
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
        let registered = unsafe { AsyncFd::register(self) };
        Ok(Records(registered?))
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
pub struct Records(AsyncFd<Ring>);

impl Records {
    /// Appends the records that are there to `batch`, at most [`AT_ONCE`], waiting for the first.
    ///
    /// # Errors
    /// When the event loop fails.
    pub async fn next(&mut self, batch: &mut Vec<KernelRecord>) -> io::Result<()> {
        while batch.is_empty() {
            let mut ready = self.0.readable_mut().await?;
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
            }
        }
        Ok(())
    }
}
