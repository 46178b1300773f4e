//! A network namespace of our own.
//!
//! Knows nothing of what is connected to it. It is held by a file descriptor and by its processes, not by a name below
//! /run/netns: so it is gone with this process even after SIGKILL, nothing has to be swept, and no mount is made.
//! To look inside while a test runs: `nsenter --net=$(path)`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use super::{process, tool};

/// TCP_LISTEN in include/net/tcp_states.h, as /proc/net/tcp writes it.
const LISTEN: &str = "0A";

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    /// Made here, and not somebody else's.
    is_own: bool,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.is_own {
            // What a queue of its loopback keeps is charged to sockets that the kernel has but one of for each processor
            // (ipv4_tcp_sk in net/ipv4/tcp_ipv4.c): a full one, and nobody on the machine is refused any more.
            let _ = self.ip("link set lo down");
        }
    }
}

impl Namespace {
    /// Makes a namespace. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
    pub fn new() -> Result<Self> {
        // A thread of its own: its namespace changes for good.
        let fd = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
                File::open("/proc/thread-self/ns/net").context("cannot open the new network namespace")
            });
            made.join().expect("making a namespace does not panic")
        })?
        .into();
        let namespace = Self { fd, is_own: true };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The namespace at `path`, which somebody else has made, such as `/proc/PID/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fd = File::open(path).with_context(|| format!("cannot open the network namespace {}", path.display()))?;
        Ok(Self { fd: fd.into(), is_own: false })
    }

    /// A path that other programs can open while this process lives, `/proc/PID/fd/N`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()))
    }

    /// A command that will run `program` inside, with this process's mounts (so /sys stays as it is), marked.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        process::mark(&mut command);
        // The hook keeps the namespace open until the command is started.
        let fd = self.fd.try_clone().expect("a file descriptor is to be had");
        let join = move || Ok(setns(fd.as_fd(), CloneFlags::CLONE_NEWNET)?);
        // SAFETY: runs between fork and exec; setns is a plain system call on a descriptor that the closure owns, and
        // nothing allocates or locks.
        unsafe { command.pre_exec(join) };
        command
    }

    /// Runs `work` inside, on a thread that ends afterwards. Sockets made there stay there; a panic is passed on.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).expect("our own namespace can be entered");
                work()
            });
            inside.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs `ip -batch` inside, one command per line of `lines`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = self.command("ip");
        ip.args(["-batch", "-"]);
        tool::feed(ip, lines).map(drop)
    }

    /// Runs `iptables RULE` inside. The lock that it waits for is the machine's.
    pub fn iptables(&self, rule: &str) -> Result<()> {
        let mut iptables = self.command("iptables");
        iptables.arg("-w").args(rule.split(' '));
        tool::feed(iptables, "").map(drop)
    }

    /// Adds `rules` to the tables of `iptables` or `ip6tables`.
    pub fn restore(&self, tables: &str, rules: &str) -> Result<()> {
        let mut restore = self.command(format!("{tables}-restore"));
        restore.args(["--noflush", "--wait"]);
        tool::feed(restore, rules).map(drop)
    }

    /// Sets `/proc/sys/net/NAME` inside, such as `ipv4/tcp_fastopen`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.enter(|| fs::write(&path, value)).with_context(|| format!("cannot write {value} to {path}"))
    }

    /// Whether some socket inside listens on `port`, by IPv4 or IPv6.
    #[must_use]
    pub fn listens_on(&self, port: u16) -> bool {
        let suffix = format!(":{port:04X}");
        self.enter(|| {
            ["tcp", "tcp6"].iter().any(|table| {
                let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
                table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|fields| {
                    fields.get(1).is_some_and(|local| local.ends_with(&suffix)) && fields.get(3) == Some(&LISTEN)
                })
            })
        })
    }
}
