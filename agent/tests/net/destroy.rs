//! A held connection is ended, and no other.

use std::net::SocketAddr;

use conngate::net::{
    destroy::{Destroyed, destroy},
    replay::{raw::Replayer, syn},
    sock_diag::SockDiag,
};
use conngate_common::id::SocketCookie;
use nix::libc;

use crate::{
    fixture::{CAPTURE_PORT, Pod, ROOT, later, wait_for, worker},
    replay::{Capture, now},
};

#[test]
#[ignore = "needs root"]
fn held_connection_is_aborted_once() {
    let pod = Pod::captured();
    let (capture, diag) = (Capture::of(&pod), SockDiag::open(worker(), &pod.netns).unwrap());
    for destination in ["10.99.0.5:80", "[fd00:99::5]:80"] {
        let destination: SocketAddr = destination.parse().unwrap();
        let client = pod.connect_held(pod.tcp(destination), destination);
        let mut record = capture.park(&client, destination);

        record.header.socket.0 += 1;
        assert_eq!(destroy(&diag, &record).unwrap(), Destroyed::NotWaiting, "another socket's cookie");
        assert!(client.take_error().unwrap().is_none());

        record.header.socket = SocketCookie(client.cookie().unwrap());
        assert_eq!(destroy(&diag, &record).unwrap(), Destroyed::Ended);
        assert_eq!(client.take_error().unwrap().unwrap().raw_os_error(), Some(libc::ECONNABORTED));
        assert_eq!(destroy(&diag, &record).unwrap(), Destroyed::NotWaiting);
    }
}

#[test]
#[ignore = "needs root"]
fn connected_socket_is_left_alone() {
    let pod = Pod::captured();
    let (capture, diag) = (Capture::of(&pod), SockDiag::open(worker(), &pod.netns).unwrap());
    let _listener = pod.listen(&format!("[::]:{CAPTURE_PORT}"));
    let destination = "10.99.0.5:80".parse().unwrap();
    let client = pod.connect_held(pod.tcp(destination), destination);
    let record = capture.park(&client, destination);
    Replayer::open(worker(), &pod.netns, ROOT)
        .unwrap()
        .send(&[syn::rebuild(&record, now()).unwrap()], later())
        .unwrap();
    wait_for("the connection", || client.peer_addr().ok());
    assert_eq!(destroy(&diag, &record).unwrap(), Destroyed::NotWaiting);
    assert!(client.peer_addr().is_ok());
}
