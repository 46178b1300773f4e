//! Network namespaces, and the one thread that enters them to make sockets there.
//!
//! Knows nothing of what the sockets are for: a socket stays in the namespace that it was made in, whoever uses it.
//!
//! Invariants:
//! - No thread but the worker's ever enters another namespace, and that thread runs no other work.
//! - A socket is made only after setns() succeeded for that very job; a failed job leaves the worker usable.
//! - Between jobs the worker is at home, so that it keeps nobody's namespace alive. A [`Netns`] and each socket do.
//! - It is another user only while it makes that user's socket, and only to the file system: its capabilities for the network stay.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use conngate_common::id::NetnsCookie;
use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, setns},
    sys::{socket::getsockopt, stat::fstat},
    unistd::{Gid, Uid, setfsgid, setfsuid},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use crate::shortage::Shortages;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The namespace's file cannot be opened: no such process, or no right to look at it (`CAP_SYS_PTRACE`).
    #[error("cannot open the network namespace {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// setns() failed (needs `CAP_SYS_ADMIN`).
    #[error("cannot enter the network namespace")]
    Enter(#[source] Errno),
    /// The thread cannot become the socket's user (needs `CAP_SETUID` and `CAP_SETGID`).
    #[error("cannot create a socket as user {} and group {}", .0.uid, .0.gid)]
    Become(Owner),
    /// socket() failed in the namespace.
    #[error("cannot create a socket of family {domain}, type {kind} in the network namespace")]
    Socket {
        /// `AF_*`.
        domain: i32,
        /// `SOCK_*`.
        kind: i32,
        /// Why.
        source: io::Error,
    },
    /// The worker's thread did not start.
    #[error("cannot start the namespace thread")]
    Spawn(#[source] io::Error),
    /// The worker's thread is gone.
    #[error("the namespace thread has ended")]
    Gone,
}

/// A network namespace, kept alive by this handle and its clones.
#[derive(Clone, Debug)]
pub struct Netns {
    fd: Arc<OwnedFd>,
    cookie: NetnsCookie,
}

impl Netns {
    /// The calling thread's namespace.
    pub fn current(worker: &NetnsWorker) -> Result<Self, NetnsError> {
        Self::open(worker, "/proc/thread-self/ns/net".as_ref())
    }

    /// The namespace of process `pid`. That the process is still the one that the caller means is for the caller to check.
    pub fn of_process(worker: &NetnsWorker, pid: u32) -> Result<Self, NetnsError> {
        Self::open(worker, format!("/proc/{pid}/ns/net").as_ref())
    }

    /// The kernel's name for it; 0 where the kernel has none (before 5.14).
    #[must_use]
    pub fn cookie(&self) -> NetnsCookie {
        self.cookie
    }

    /// What tells it from all others that are open; `None`: it cannot be seen.
    #[must_use]
    pub fn id(&self) -> Option<conngate_core::workload::Netns> {
        let stat = fstat(self).ok()?;
        Some(conngate_core::workload::Netns { cookie: self.cookie, device: stat.st_dev, inode: stat.st_ino })
    }

    fn open(worker: &NetnsWorker, path: &Path) -> Result<Self, NetnsError> {
        let file = worker.shortages.checked(File::open(path));
        let file = file.map_err(|source| NetnsError::Open { path: path.to_owned(), source })?;
        Self::of_file(worker, file)
    }

    /// The namespace that `file` (`/proc/PID/ns/net`, opened) leads to.
    pub fn of_file(worker: &NetnsWorker, file: File) -> Result<Self, NetnsError> {
        let mut netns = Self { fd: Arc::new(file.into()), cookie: NetnsCookie(0) };
        let socket = worker.socket(&netns, Domain::UNIX, Type::DGRAM, None)?;
        netns.cookie = NetnsCookie(getsockopt(&socket, NetnsCookieOption).unwrap_or(0));
        Ok(netns)
    }
}

/// As whom a socket is made, in the initial user namespace: netfilter's rules by owner see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Owner {
    /// Makes the calling thread this user to the file system.
    fn take(self) -> Result<(), NetnsError> {
        // The group first: whoever is not root any longer may not change it.
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setfsgid(gid);
        setfsuid(uid);
        // Neither call can fail in words; each answers what was so before it.
        if setfsuid(uid) == uid && setfsgid(gid) == gid { Ok(()) } else { Err(NetnsError::Become(self)) }
    }

    /// Makes the calling thread itself again.
    fn give_back() {
        setfsuid(Uid::effective());
        setfsgid(Gid::effective());
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether two descriptors are of one namespace; while both are open neither's inode becomes another's.
#[must_use]
pub fn same(one: impl AsFd, other: impl AsFd) -> bool {
    let [one, other] = [fstat(one), fstat(other)].map(|stat| stat.map(|stat| (stat.st_dev, stat.st_ino)));
    one.is_ok() && one == other
}

/// The handle of the one thread that enters namespaces; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct NetnsWorker {
    jobs: mpsc::Sender<Job>,
    shortages: Shortages,
}

impl NetnsWorker {
    /// Starts the thread, which tells `shortages` why it fails. A process needs one.
    pub fn start(shortages: Shortages) -> Result<Self, NetnsError> {
        let path = PathBuf::from("/proc/thread-self/ns/net");
        let home = File::open(&path).map_err(|source| NetnsError::Open { path, source })?;
        let (jobs, queue) = mpsc::channel();
        let told = shortages.clone();
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || serve(&home, &queue, &told))
            .map_err(NetnsError::Spawn)?;
        Ok(Self { jobs, shortages })
    }

    /// Makes a socket in `netns` (close-on-exec). Blocks for the thread's turn, tens of microseconds.
    pub fn socket(
        &self,
        netns: &Netns,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> Result<Socket, NetnsError> {
        self.make(netns, None, domain, kind, protocol)
    }

    /// As [`NetnsWorker::socket`], owned by `owner`.
    pub fn socket_of(
        &self,
        netns: &Netns,
        owner: Owner,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> Result<Socket, NetnsError> {
        self.make(netns, Some(owner), domain, kind, protocol)
    }

    fn make(
        &self,
        netns: &Netns,
        owner: Option<Owner>,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> Result<Socket, NetnsError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let reply = Box::new(move |made| drop(reply.send(made)));
        self.submit(Job { netns: netns.fd.clone(), owner, domain, kind, protocol, reply })?;
        answer.recv().map_err(|_| NetnsError::Gone)?
    }

    /// As [`NetnsWorker::socket`], without blocking the caller's thread.
    pub async fn socket_async(
        &self,
        netns: &Netns,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> Result<Socket, NetnsError> {
        let (reply, answer) = oneshot::channel();
        // A caller that gave up drops the socket with its channel.
        let reply = Box::new(move |made| drop(reply.send(made)));
        self.submit(Job { netns: netns.fd.clone(), owner: None, domain, kind, protocol, reply })?;
        answer.await.map_err(|_| NetnsError::Gone)?
    }

    fn submit(&self, job: Job) -> Result<(), NetnsError> {
        self.jobs.send(job).map_err(|_| NetnsError::Gone)
    }
}

struct Job {
    netns: Arc<OwnedFd>,
    owner: Option<Owner>,
    domain: Domain,
    kind: Type,
    protocol: Option<Protocol>,
    reply: Box<dyn FnOnce(Result<Socket, NetnsError>) + Send>,
}

impl Job {
    fn make(&self, shortages: &Shortages) -> Result<Socket, NetnsError> {
        setns(&self.netns, CloneFlags::CLONE_NEWNET).map_err(NetnsError::Enter)?;
        let Some(owner) = self.owner else { return self.socket(shortages) };
        let made = owner.take().and_then(|()| self.socket(shortages));
        Owner::give_back();
        made
    }

    fn socket(&self, shortages: &Shortages) -> Result<Socket, NetnsError> {
        let made = shortages.checked(Socket::new(self.domain, self.kind, self.protocol));
        made.map_err(|source| NetnsError::Socket { domain: self.domain.into(), kind: self.kind.into(), source })
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("netns", &self.netns).finish_non_exhaustive()
    }
}

fn serve(home: &File, queue: &mpsc::Receiver<Job>, shortages: &Shortages) {
    for job in queue {
        let made = job.make(shortages);
        if let Err(error) = setns(home, CloneFlags::CLONE_NEWNET) {
            tracing::warn!(%error, "cannot leave a pod's network namespace: it stays alive until the next job");
        }
        (job.reply)(made);
    }
}

/// `SO_NETNS_COOKIE` (kernel 5.14 and later), which nix does not have.
#[derive(Clone, Copy)]
struct NetnsCookieOption;

nix::getsockopt_impl!(
    NetnsCookieOption,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    nix::sys::socket::sockopt::GetStruct<u64>
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that setns() refuses, whoever asks.
    fn no_netns() -> Netns {
        let file = File::open("/proc/thread-self/ns/uts").unwrap();
        Netns { fd: Arc::new(file.into()), cookie: NetnsCookie(0) }
    }

    #[test]
    fn namespace_that_cannot_be_entered_gives_no_socket_and_leaves_the_worker_usable() {
        let worker = NetnsWorker::start(Shortages::default()).unwrap();
        for _ in 0..3 {
            let error = worker.socket(&no_netns(), Domain::UNIX, Type::DGRAM, None).unwrap_err();
            assert!(matches!(error, NetnsError::Enter(Errno::EINVAL)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn async_caller_gets_the_same_answer() {
        let worker = NetnsWorker::start(Shortages::default()).unwrap();
        let netns = no_netns();
        let error = worker.socket_async(&netns, Domain::UNIX, Type::DGRAM, None).await.unwrap_err();
        assert!(matches!(error, NetnsError::Enter(Errno::EINVAL)), "{error:?}");
    }
}
