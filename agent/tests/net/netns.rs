//! The worker makes sockets where it is told to, or none.

use std::{fs, os::unix::fs::MetadataExt as _, process};

use conngate::net::netns::{Netns, NetnsError};
use socket2::{Domain, Type};

use crate::fixture::{Pod, worker};

/// The inode of the network namespace that the worker's thread is in now.
fn worker_namespace() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let worker =
        tasks.into_iter().find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == "netns\n"));
    fs::metadata(worker.unwrap().join("ns/net")).unwrap().ino()
}

#[test]
#[ignore = "needs root"]
fn socket_belongs_to_the_namespace_it_was_asked_for() {
    let (one, other) = (Pod::bare(), Pod::bare());
    let listener = one.listen("127.0.0.1:4242");
    let address = listener.local_addr().unwrap();
    one.tcp(address.as_socket().unwrap()).connect(&address).unwrap();
    other.tcp(address.as_socket().unwrap()).connect(&address).unwrap_err();
}

#[test]
#[ignore = "needs root"]
fn namespaces_have_their_own_cookies() {
    let (one, other) = (Pod::bare(), Pod::bare());
    let home = Netns::current(worker()).unwrap();
    let same = Netns::of_process(worker(), process::id()).unwrap();
    assert_eq!(home.cookie(), same.cookie());
    assert_ne!(one.netns.cookie(), other.netns.cookie());
    assert_ne!(one.netns.cookie(), home.cookie());
    assert_ne!(one.netns.cookie().0, 0);
}

#[test]
#[ignore = "needs root"]
fn worker_is_at_home_and_usable_after_an_error() {
    let pod = Pod::bare();
    let home = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let error = worker().socket(&pod.netns, Domain::from(255), Type::STREAM, None).unwrap_err();
    assert!(matches!(error, NetnsError::Socket { domain: 255, .. }), "{error}");
    let error = Netns::of_process(worker(), u32::MAX).unwrap_err();
    assert!(matches!(error, NetnsError::Open { .. }), "{error}");
    worker().socket(&pod.netns, Domain::IPV4, Type::STREAM, None).unwrap();
    crate::fixture::wait_for("the worker to be at home", || (worker_namespace() == home).then_some(()));
}
