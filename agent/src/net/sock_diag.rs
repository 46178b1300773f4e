//! Questions to the kernel about one TCP or UDP socket of a network namespace (sock_diag(7)), and the order to end one.
//!
//! Knows nothing of records or gates. A question is one lookup, as for a packet, not a walk over all sockets.
//!
//! Invariant: every request has exactly one reply, which is there when the request returns, so that nothing ever blocks.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use conngate_common::id::SocketCookie;
use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use nix::{errno::Errno, libc};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::netns::{Netns, NetnsError, NetnsWorker};

/// Why the kernel did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SockDiagError {
    /// No netlink socket.
    #[error("no sock_diag socket")]
    Socket(#[source] NetnsError),
    /// The kernel cannot be asked about TCP sockets (CONFIG_INET_DIAG) or UDP sockets (CONFIG_INET_UDP_DIAG), or cannot end them
    /// (CONFIG_INET_DIAG_DESTROY).
    #[error("the kernel was built without {0}")]
    Unsupported(&'static str),
    /// Sending or receiving failed.
    #[error("cannot talk to sock_diag")]
    Io(#[source] io::Error),
    /// A reply that is none.
    #[error("sock_diag answered with something unknown")]
    Reply(#[source] DecodeError),
    /// The kernel refuses.
    #[error("sock_diag refused")]
    Refused(#[source] Errno),
}

/// Which socket.
#[derive(Clone, Copy, Debug)]
pub struct Tuple {
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's, of the same family; all zero for a listener.
    pub remote: SocketAddr,
    /// Its cookie; `None`: whichever it is.
    pub cookie: Option<SocketCookie>,
    /// The interface that its packets come in by; 0: any. A socket that is bound to an interface is found by no other.
    pub interface: u32,
}

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// No socket at all.
const NOTHING: Tuple = Tuple { local: NOBODY, remote: NOBODY, cookie: None, interface: 0 };

/// A netlink socket in one network namespace; it keeps the namespace alive.
#[derive(Debug)]
pub struct SockDiag {
    socket: Socket,
    /// `IPPROTO_*` of the sockets that it is asked about.
    protocol: i32,
}

impl SockDiag {
    /// Opens it for questions about TCP sockets, and checks that the kernel can be asked.
    pub fn open(worker: &NetnsWorker, netns: &Netns) -> Result<Self, SockDiagError> {
        Self::about(libc::IPPROTO_TCP, "CONFIG_INET_DIAG", worker, netns)
    }

    /// As [`SockDiag::open`], for UDP sockets.
    pub fn udp(worker: &NetnsWorker, netns: &Netns) -> Result<Self, SockDiagError> {
        Self::about(libc::IPPROTO_UDP, "CONFIG_INET_UDP_DIAG", worker, netns)
    }

    fn about(asked: i32, needs: &'static str, worker: &NetnsWorker, netns: &Netns) -> Result<Self, SockDiagError> {
        let (domain, protocol) = (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_SOCK_DIAG));
        let socket =
            worker.socket(netns, domain, Type::DGRAM.nonblocking(), Some(protocol)).map_err(SockDiagError::Socket)?;
        let diag = Self { socket, protocol: asked };
        // ENOENT is both "no such socket" and "no such question": dump no state at all, which only the second refuses.
        match diag.ask(NLM_F_DUMP, SockDiagMessage::InetRequest(diag.request(&NOTHING))) {
            Ok(_) => Ok(diag),
            Err(SockDiagError::Refused(Errno::ENOENT)) => Err(SockDiagError::Unsupported(needs)),
            Err(error) => Err(error),
        }
    }

    /// The state (`TCP_*` of include/net/tcp_states.h) of the socket that a packet from `remote` to `local` would find.
    pub fn state(&self, tuple: &Tuple) -> Result<Option<u8>, SockDiagError> {
        match self.ask(0, SockDiagMessage::InetRequest(self.request(tuple))) {
            Err(SockDiagError::Refused(Errno::ENOENT)) => Ok(None),
            state => state,
        }
    }

    /// Ends the socket: its owner sees `ECONNABORTED`. False: there is none. Needs `CAP_NET_ADMIN` in the namespace.
    pub fn destroy(&self, tuple: &Tuple) -> Result<bool, SockDiagError> {
        let request = SockDiagDestroy::new(SockDiagMessage::InetRequest(self.request(tuple)));
        match self.ask(NLM_F_ACK, request) {
            Ok(_) => Ok(true),
            Err(SockDiagError::Refused(Errno::ENOENT)) => Ok(false),
            Err(SockDiagError::Refused(Errno::EOPNOTSUPP)) => {
                Err(SockDiagError::Unsupported("CONFIG_INET_DIAG_DESTROY"))
            }
            Err(error) => Err(error),
        }
    }

    /// One request, one reply: a socket's state, or nothing.
    fn ask<T: NetlinkSerializable>(&self, flags: u16, request: T) -> Result<Option<u8>, SockDiagError> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes).map_err(SockDiagError::Io)?;

        let mut reply = [0; 8192];
        let len = io::Read::read(&mut &self.socket, &mut reply).map_err(SockDiagError::Io)?;
        let reply = NetlinkMessage::<SockDiagMessage>::deserialize(&reply[..len]).map_err(SockDiagError::Reply)?;
        let code = match reply.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                return Ok(Some(socket.header.state));
            }
            NetlinkPayload::Error(error) => error.raw_code(),
            NetlinkPayload::Done(done) => done.code,
            NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | NetlinkPayload::InnerMessage(_) | _ => {
                return Err(SockDiagError::Reply("not about an inet socket".into()));
            }
        };
        if code == 0 { Ok(None) } else { Err(SockDiagError::Refused(Errno::from_raw(-code))) }
    }

    fn request(&self, tuple: &Tuple) -> InetRequest {
        let family = if tuple.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // Of UDP the two ends are swapped, "for historical reasons" (udp_dump_one in net/ipv4/udp_diag.c).
        let [source, destination] = match self.protocol {
            libc::IPPROTO_UDP => [tuple.remote, tuple.local],
            _ => [tuple.local, tuple.remote],
        };
        InetRequest {
            family: family.try_into().unwrap_or_default(),
            protocol: self.protocol.try_into().unwrap_or_default(),
            extensions: ExtensionFlags::empty(),
            states: StateFlags::empty(),
            socket_id: SocketId {
                source_port: source.port(),
                destination_port: destination.port(),
                source_address: source.ip(),
                destination_address: destination.ip(),
                interface_id: tuple.interface,
                // Two words, the low one first (programs and agent are little-endian); all ones: INET_DIAG_NOCOOKIE.
                cookie: tuple.cookie.map_or(u64::MAX, |cookie| cookie.0).to_le_bytes(),
            },
        }
    }
}

/// Whether the kernel ends connections for others: it is asked to end one that does not exist. In doubt it does.
#[must_use]
pub fn can_destroy() -> bool {
    let (domain, protocol) = (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_SOCK_DIAG));
    let Ok(socket) = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol)) else { return true };
    !matches!(SockDiag { socket, protocol: libc::IPPROTO_TCP }.destroy(&NOTHING), Err(SockDiagError::Unsupported(_)))
}
