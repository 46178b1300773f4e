//! A network namespace like a pod's: two routed addresses, and REDIRECT of all TCP to a capture port.
//!
//! It exists only through file descriptors: nothing is left behind, however the test ends.

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use conngate::{
    net::netns::{Netns, NetnsWorker, Owner},
    shortage::Shortages,
};
use conngate_testbed::lab::{Namespace, tool, wait_until};
use socket2::{Domain, Socket, Type};

pub(crate) const CAPTURE_PORT: u16 = 15001;

/// SYNs of sockets with this mark are dropped on their way in to the capture port: after NAT and conntrack, as by egress.
pub(crate) const HELD_MARK: u32 = 7;

/// Who the tests are.
pub(crate) const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// A deadline that nothing here misses.
pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Polls until `ready` has something.
pub(crate) fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_until(Duration::from_secs(30), what, ready).unwrap()
}

pub(crate) fn worker() -> &'static NetnsWorker {
    static WORKER: OnceLock<NetnsWorker> = OnceLock::new();
    WORKER.get_or_init(|| NetnsWorker::start(Shortages::default()).unwrap())
}

pub(crate) struct Pod {
    pub(crate) netns: Netns,
    namespace: Namespace,
}

impl Pod {
    /// A namespace with nothing but a loopback device that is up.
    pub(crate) fn bare() -> Self {
        // The worker's home is where it is started: not in here.
        let worker = worker();
        let namespace = Namespace::new().unwrap();
        Self { netns: namespace.enter(|| Netns::current(worker)).unwrap(), namespace }
    }

    /// A namespace with routes, redirect, and the rule for [`HELD_MARK`].
    pub(crate) fn captured() -> Self {
        let pod = Self::bare();
        for command in [
            "ip link add v0 type veth peer name v1",
            "ip link set v0 up",
            "ip link set v1 up",
            "ip addr add 10.77.0.2/24 dev v0",
            "ip route add default dev v0",
            "ip -6 addr add fd00:77::2/64 dev v0 nodad",
            "ip -6 route add default dev v0",
        ] {
            pod.run(command);
        }
        for iptables in ["iptables", "ip6tables"] {
            pod.run(&format!("{iptables} -w -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports {CAPTURE_PORT}"));
            pod.run(&format!(
                "{iptables} -w -A INPUT -p tcp --syn --dport {CAPTURE_PORT} -m mark --mark {HELD_MARK} -j DROP"
            ));
        }
        pod
    }

    /// Runs a command in the namespace.
    pub(crate) fn run(&self, command: &str) {
        let mut words = command.split_whitespace();
        let mut command = self.namespace.command(words.next().unwrap());
        command.args(words);
        tool::feed(command, "").unwrap();
    }

    pub(crate) fn tcp(&self, address: SocketAddr) -> Socket {
        worker().socket(&self.netns, Domain::for_address(address), Type::STREAM, None).unwrap()
    }

    pub(crate) fn listen(&self, address: &str) -> Socket {
        let address: SocketAddr = address.parse().unwrap();
        let socket = self.tcp(address);
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(128).unwrap();
        socket
    }

    /// A non-blocking connect() whose SYNs are all dropped at the capture port.
    pub(crate) fn connect_held(&self, socket: Socket, address: SocketAddr) -> Socket {
        socket.set_mark(HELD_MARK).unwrap();
        socket.set_nonblocking(true).unwrap();
        let error = socket.connect(&address.into()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EINPROGRESS), "{error}");
        socket
    }
}
