//! `conngate.io/capture-ports`: `15001,15053/udp`.
//!
//! Knows nothing of what the ports are for.

use conngate_common::gate::{CapturePorts, MAX_CAPTURE_PORTS};

use crate::values::slots;

/// What the value may be.
pub(super) const ALLOWED: &str =
    "ports from 1 to 65535, /tcp or /udp behind, separated by commas: at least one of TCP, at most 8 of each";

const _: () = assert!(MAX_CAPTURE_PORTS == 8, "the number in `ALLOWED`");

/// Where connections and datagrams are redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Connections.
    pub tcp: CapturePorts,
    /// Datagrams.
    pub udp: CapturePorts,
}

/// The ports of a list; `None` when it is none.
pub(super) fn parse(text: &str) -> Option<Ports> {
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for item in text.split(',') {
        let (port, protocol) = item.trim().split_once('/').unwrap_or((item.trim(), "tcp"));
        let list = match protocol {
            "tcp" => &mut tcp,
            "udp" => &mut udp,
            _ => return None,
        };
        // u16's own parser takes a leading `+`.
        let port: u16 = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        if port == 0 {
            return None;
        }
        if !list.contains(&port) {
            list.push(port);
        }
    }
    of(&tcp, &udp)
}

/// Ports from lists; `None` when they do not fit.
pub(super) fn of(tcp: &[u16], udp: &[u16]) -> Option<Ports> {
    let ports = |list: &[u16]| slots("capture port", list, 0).ok().map(CapturePorts);
    if tcp.is_empty() { None } else { Some(Ports { tcp: ports(tcp)?, udp: ports(udp)? }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_lists_are_split_by_protocol_and_said_once() {
        let ports = parse("15001, 15053/udp,15053/tcp,15001").unwrap();
        assert_eq!(ports.tcp, CapturePorts([15001, 15053, 0, 0, 0, 0, 0, 0]));
        assert_eq!(ports.udp, CapturePorts([15053, 0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn parse_other_text_is_refused() {
        for text in
            ["", ",", "0", "+1", "65536", "http", "15001/sctp", "15001/", "/tcp", "1;2", "15053/udp", "15001,,2"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("1,2,3,4,5,6,7,8,9"), None);
        assert!(parse("1,2,3,4,5,6,7,8").is_some());
    }

    proptest! {
        #[test]
        fn parse_of_written_ports_gives_them_back(
            tcp in prop::collection::btree_set(1_u16.., 1..=8), udp in prop::collection::btree_set(1_u16.., 0..=8),
        ) {
            let written: Vec<_> =
                tcp.iter().map(u16::to_string).chain(udp.iter().map(|port| format!("{port}/udp"))).collect();
            let ports = parse(&written.join(",")).unwrap();
            prop_assert!(tcp.iter().all(|port| ports.tcp.contains(*port)));
            prop_assert!(udp.iter().all(|port| ports.udp.contains(*port)));
        }

        #[test]
        fn parse_of_anything_does_not_panic(text in "[0-9a-z,/ +]{0,40}|\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
