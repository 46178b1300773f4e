//! Does somebody listen, or is bound, exactly where the mesh redirects a pod's connections and queries to?
//!
//! Knows nothing of readiness: a listener may answer everything with an error.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::net::sock_diag::{SockDiag, SockDiagError, Tuple};

/// `TCP_LISTEN` in include/net/tcp_states.h.
const LISTEN: u8 = 10;

/// `LOOPBACK_IFINDEX` in include/net/net_namespace.h, the same in every namespace.
const LOOPBACK: u32 = 1;

/// Whether a SYN to `address` would find a listener in `diag`'s network namespace.
pub fn listening(diag: &SockDiag, address: SocketAddr) -> Result<bool, SockDiagError> {
    let anybody: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let tuple = Tuple { local: address, remote: SocketAddr::new(anybody, 0), cookie: None, interface: LOOPBACK };
    Ok(diag.state(&tuple)? == Some(LISTEN))
}

/// Whether somebody listens everywhere where connections wait; where none does, on `port` of either loopback address.
pub fn listening_everywhere(
    diag: &SockDiag,
    waited_for: &BTreeSet<SocketAddr>,
    port: u16,
) -> Result<bool, SockDiagError> {
    if waited_for.is_empty() {
        let on = |loopback: IpAddr| listening(diag, SocketAddr::new(loopback, port));
        return Ok(on(Ipv4Addr::LOCALHOST.into())? || on(Ipv6Addr::LOCALHOST.into())?);
    }
    for address in waited_for {
        if !listening(diag, *address)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a datagram from `from` to `to` would find a socket in `diag`'s network namespace.
pub fn bound(diag: &SockDiag, from: SocketAddr, to: SocketAddr) -> Result<bool, SockDiagError> {
    Ok(diag.state(&Tuple { local: to, remote: from, cookie: None, interface: LOOPBACK })?.is_some())
}

/// Whether somebody is bound on `port` of either loopback address.
pub fn bound_on(diag: &SockDiag, port: u16) -> Result<bool, SockDiagError> {
    let on = |loopback: IpAddr| bound(diag, SocketAddr::new(loopback, 0), SocketAddr::new(loopback, port));
    Ok(on(Ipv4Addr::LOCALHOST.into())? || on(Ipv6Addr::LOCALHOST.into())?)
}
