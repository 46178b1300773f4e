//! Raw sockets in a workload's network namespace, which send rebuilt SYNs.
//!
//! Knows nothing of gates or of answers. A packet goes through the namespace's OUTPUT chain, meets its connection's
//! conntrack entry and gets the same NAT as the first SYN did. The chain's rules see the socket's owner: it must be the
//! connection's, for a REJECT of another's packet would end that connection.
//!
//! A listener whose accept queue is full drops what comes: how many to send at a time is the caller's to choose.

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    num::NonZero,
    os::fd::AsRawFd as _,
    thread,
    time::Instant,
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::syn::Packet;
use crate::net::netns::{Netns, NetnsError, NetnsWorker, Owner};

/// Why SYNs were not sent.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No raw socket (needs `CAP_NET_RAW` in the namespace).
    #[error("no raw socket for replay")]
    Socket(#[source] NetnsError),
    /// The kernel took none of the packets.
    #[error("none of {packets} SYNs could be sent")]
    Send {
        /// How many there were.
        packets: usize,
        /// What it said of the first.
        source: Errno,
    },
}

/// Packets for one sendmmsg(): a rule that takes a millisecond for each is noticed soon.
const BATCH: usize = 64;

/// Fewer are not worth a thread: they take a few milliseconds.
const SHARE: usize = 128;

/// Raw sockets of one owner in one namespace; they keep it alive.
#[derive(Debug)]
pub struct Replayer {
    v4: Socket,
    /// `None` where the kernel has no IPv6.
    v6: Option<Socket>,
}

impl Replayer {
    /// Opens the sockets in `netns`, as `owner`'s.
    pub fn open(worker: &NetnsWorker, netns: &Netns, owner: Owner) -> Result<Self, ReplayError> {
        // IPPROTO_RAW implies IP_HDRINCL and IPV6_HDRINCL (raw(7), inet6_create in net/ipv6/af_inet6.c).
        let open = |domain| {
            let protocol = Protocol::from(libc::IPPROTO_RAW);
            let socket = worker.socket_of(netns, owner, domain, Type::RAW.nonblocking(), Some(protocol))?;
            // Nothing is ever read: let nobody fill a buffer here. A larger one does no harm.
            let _ = socket.set_recv_buffer_size(0);
            Ok(socket)
        };
        let v6 = match open(Domain::IPV6) {
            Ok(socket) => Some(socket),
            Err(NetnsError::Socket { source, .. }) if source.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(ReplayError::Socket(error)),
        };
        Ok(Self { v4: open(Domain::IPV4).map_err(ReplayError::Socket)?, v6 })
    }

    /// Sends all `packets`, and says how many the kernel took: one that it refuses (a filter rule of the workload, say) is
    /// left to the kernel's own retry, and so are all that come after the namespace's queue is full, or after `until`. An error
    /// when it took none.
    ///
    /// Never waits, but takes 10 to 20 µs a packet, which is the whole handshake: not on an async thread when there are many.
    pub fn send(&self, packets: &[Packet], until: Instant) -> Result<usize, ReplayError> {
        let (v4, v6): (Vec<_>, Vec<_>) = packets.iter().partition(|packet| packet.destination().is_ipv4());
        let mut done = send_all(&self.v4, &v4, until);
        match &self.v6 {
            Some(socket) => done = done.and(send_all(socket, &v6, until)),
            None if !v6.is_empty() => done = done.and(Done { sent: 0, refused: Some(Errno::EAFNOSUPPORT) }),
            None => {}
        }
        match done {
            Done { sent: 0, refused: Some(source) } => Err(ReplayError::Send { packets: packets.len(), source }),
            Done { sent, refused: _ } => Ok(sent),
        }
    }
}

/// How many packets the kernel took, and the first error.
#[derive(Clone, Copy, Default)]
struct Done {
    sent: usize,
    refused: Option<Errno>,
}

impl Done {
    fn and(self, later: Self) -> Self {
        Self { sent: self.sent + later.sent, refused: self.refused.or(later.refused) }
    }
}

/// Sends on as many processors as there are shares: on loopback the sender's processor does the whole handshake.
fn send_all(socket: &Socket, packets: &[&Packet], until: Instant) -> Done {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let share = packets.len().div_ceil(processors).max(SHARE);
    let (mine, others) = packets.split_at(share.min(packets.len()));
    thread::scope(|scope| {
        let start = |share| {
            let work = move || send_here(socket, share, until);
            thread::Builder::new().spawn_scoped(scope, work).map_err(|_| work())
        };
        let others: Vec<_> = others.chunks(share).map(start).collect();
        let mine = send_here(socket, mine, until);
        // A thread that could not start has its share done here; one that panicked leaves the rest to the kernel.
        let join = |other: Result<thread::ScopedJoinHandle<'_, Done>, Done>| match other {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(done) => done,
        };
        others.into_iter().map(join).fold(mine, Done::and)
    })
}

fn send_here(socket: &Socket, packets: &[&Packet], until: Instant) -> Done {
    let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet.bytes())]).collect();
    let addresses: Vec<_> = packets.iter().map(|packet| Some(address(packet.destination()))).collect();
    let mut headers = MultiHeaders::preallocate(packets.len().min(BATCH), None);
    let mut done = Done::default();
    let mut next = 0;
    while next < packets.len() && Instant::now() < until {
        let end = packets.len().min(next + BATCH);
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmmsg(socket.as_raw_fd(), &mut headers, &slices[next..end], &addresses[next..end], [], flags) {
            Ok(taken) => {
                let taken = taken.count();
                next += taken;
                done.sent += taken;
            }
            Err(Errno::EINTR) => {}
            Err(error @ (Errno::EAGAIN | Errno::ENOBUFS)) => {
                done.refused.get_or_insert(error);
                break;
            }
            Err(error) => {
                done.refused.get_or_insert(error);
                next += 1;
            }
        }
    }
    done
}

/// Port 0: a raw IPv6 socket takes no other.
fn address(ip: IpAddr) -> SockaddrStorage {
    SocketAddr::new(ip, 0).into()
}
