//! The kernel knows who listens on a capture port.

use std::{collections::BTreeSet, net::SocketAddr};

use conngate::net::{listener::listening_everywhere, sock_diag::SockDiag};

use crate::fixture::{CAPTURE_PORT, Pod, wait_for, worker};

/// Whether a SYN to either loopback address would find somebody, where none waits yet.
fn anybody(diag: &SockDiag) -> bool {
    listening_everywhere(diag, &BTreeSet::new(), CAPTURE_PORT).unwrap()
}

#[test]
#[ignore = "needs root"]
fn listener_on_the_capture_port_is_seen_whatever_it_is_bound_to() {
    for address in ["0.0.0.0:15001", "127.0.0.1:15001", "[::]:15001", "[::1]:15001"] {
        let pod = Pod::bare();
        let diag = SockDiag::open(worker(), &pod.netns).unwrap();
        assert!(!anybody(&diag));
        let listener = pod.listen(address);
        assert!(anybody(&diag), "{address}");
        drop(listener);
        // Not at once: a program that another test starts just now holds a copy of the descriptor until it is executed.
        wait_for("the listener's end", || (!anybody(&diag)).then_some(()));
    }
}

#[test]
#[ignore = "needs root"]
fn listener_elsewhere_is_none() {
    let (pod, other) = (Pod::bare(), Pod::bare());
    pod.run("ip addr add 10.1.2.3/32 dev lo");
    let diag = SockDiag::open(worker(), &pod.netns).unwrap();
    let _listeners = [pod.listen("127.0.0.1:15002"), pod.listen("10.1.2.3:15001"), other.listen("0.0.0.0:15001")];
    let bound = pod.tcp(([127, 0, 0, 1], CAPTURE_PORT).into());
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], CAPTURE_PORT)).into()).unwrap();
    assert!(!anybody(&diag));
    bound.listen(1).unwrap();
    assert!(anybody(&diag));
}

#[test]
#[ignore = "needs root"]
fn listener_counts_for_connections_to_its_very_address_and_for_all_of_them_or_none() {
    let pod = Pod::bare();
    let diag = SockDiag::open(worker(), &pod.netns).unwrap();
    let waited_for = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
    let counts = |addresses| listening_everywhere(&diag, &waited_for(addresses), CAPTURE_PORT).unwrap();
    let _dns = pod.listen("127.0.0.1:15053");
    assert!(counts(&["127.0.0.1:15053"]));
    assert!(!counts(&["127.0.0.1:15001"]) && !counts(&["127.0.0.1:15001", "127.0.0.1:15053"]) && !counts(&[]));
    let _envoy = pod.listen("127.0.0.1:15001");
    assert!(counts(&["127.0.0.1:15001", "127.0.0.1:15053"]) && !counts(&["[::1]:15001"]));
}
