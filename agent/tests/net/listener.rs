//! The kernel knows who listens on a capture port.

use conngate::{kernel::sock_diag::SockDiag, ready::listener::listening};
use conngate_common::gate::CapturePorts;

use crate::fixture::{CAPTURE_PORT, Pod, wait_for, worker};

const PORTS: CapturePorts = CapturePorts([15006, CAPTURE_PORT, 0, 0, 0, 0, 0, 0]);

#[test]
#[ignore = "needs root"]
fn listener_on_a_capture_port_is_seen_whatever_it_is_bound_to() {
    for address in ["0.0.0.0:15001", "127.0.0.1:15001", "[::]:15001", "[::1]:15006"] {
        let pod = Pod::bare();
        let diag = SockDiag::open(worker(), &pod.netns).unwrap();
        assert!(!listening(&diag, &PORTS).unwrap());
        let listener = pod.listen(address);
        assert!(listening(&diag, &PORTS).unwrap(), "{address}");
        drop(listener);
        // Not at once: a program that another test starts just now holds a copy of the descriptor until it is executed.
        wait_for("the listener's end", || (!listening(&diag, &PORTS).unwrap()).then_some(()));
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
    bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], CAPTURE_PORT)).into()).unwrap();
    assert!(!listening(&diag, &PORTS).unwrap());
    bound.listen(1).unwrap();
    assert!(listening(&diag, &PORTS).unwrap());
}
