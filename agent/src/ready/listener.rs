//! Does somebody listen where the mesh redirects connections to?
//!
//! Knows nothing of readiness: a listener may answer everything with an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use conngate_common::gate::CapturePorts;

use crate::kernel::sock_diag::{SockDiag, SockDiagError, Tuple};

/// `TCP_LISTEN` in include/net/tcp_states.h.
const LISTEN: u8 = 10;

/// `LOOPBACK_IFINDEX` in include/net/net_namespace.h, the same in every namespace.
const LOOPBACK: u32 = 1;

/// Whether a captured SYN to one of `ports` would find a listener in `diag`'s network namespace.
pub fn listening(diag: &SockDiag, ports: &CapturePorts) -> Result<bool, SockDiagError> {
    let loopback: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into()),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()),
    ];
    for port in ports.0.into_iter().filter(|port| *port != 0) {
        for (local, anybody) in loopback {
            let tuple = Tuple {
                local: SocketAddr::new(local, port),
                remote: SocketAddr::new(anybody, 0),
                cookie: None,
                interface: LOOPBACK,
            };
            if diag.state(&tuple)? == Some(LISTEN) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
