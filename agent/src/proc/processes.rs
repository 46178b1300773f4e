//! The processes in a cgroup and in those below it, by their numbers in our pid namespace.
//!
//! Knows nothing of containers. What a pod can make long (cgroups in its own, processes) is read up to a limit.
//!
//! Invariant: a [`Process`] is one process for ever. It holds the process's directory in /proc, which never becomes
//! another's, however numbers are used again.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use procfs::{ProcError, process::Process};

use super::{hierarchy, mountinfo};

/// Cgroups that are looked into, processes that are listed, threads that are tried. The kernel lists those first that joined
/// first.
const MAX: usize = 64;

/// Bytes of one cgroup.procs that are read: more than [`MAX`] numbers.
const MAX_BYTES: u64 = 1 << 10;

/// The processes of a cgroup and those below cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessesError {
    /// The cgroup cannot be read; it may be gone.
    #[error("cannot list the processes of the cgroup {path}")]
    Read {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its processes have no number here.
    #[error("the processes in {path} are not in this pid namespace: the agent needs hostPID")]
    OtherPidNamespace {
        /// Its directory.
        path: PathBuf,
    },
}

/// The processes in `cgroup` and below, at most 64.
///
/// # Errors
/// When it cannot be read, or all its processes are in a pid namespace that we do not see.
pub fn all(cgroup: &Path) -> Result<Vec<i32>, ProcessesError> {
    let mut open = VecDeque::from([cgroup.to_owned()]);
    let (mut pids, mut left) = (Vec::new(), MAX);
    while let Some(directory) = open.pop_front().filter(|_| pids.len() < MAX) {
        match members(&directory) {
            Ok(found) => pids.extend(found),
            Err(source) if directory == cgroup => return Err(ProcessesError::Read { path: directory, source }),
            // Gone meanwhile, or threaded (EOPNOTSUPP): then the cgroup above lists its processes.
            Err(_) => {}
        }
        let below = hierarchy::children(&directory).unwrap_or_default().into_iter().take(left);
        left -= below.len();
        open.extend(below.map(|child| child.path));
    }
    let listed = !pids.is_empty();
    // The kernel writes 0 for a process that has no number here.
    pids.retain(|pid| *pid != 0);
    pids.truncate(MAX);
    if listed && pids.is_empty() {
        return Err(ProcessesError::OtherPidNamespace { path: cgroup.to_owned() });
    }
    Ok(pids)
}

/// The process in `cgroup` or below that was started first: of a container, the one that the runtime started. `None`:
/// there is no process.
///
/// # Errors
/// As [`all`].
pub fn first(cgroup: &Path) -> Result<Option<Process>, ProcessesError> {
    let oldest = |first: Option<(u64, Process)>, pid: i32| {
        let started = Process::new(pid).and_then(|process| Ok((process.stat()?.starttime, process)));
        match (first, started) {
            (Some(first), Ok(other)) if (other.0, other.1.pid()) < (first.0, first.1.pid()) => Some(other),
            (None, started) => started.ok(),
            (first, _) => first,
        }
    };
    let first = all(cgroup)?.into_iter().fold(None, oldest);
    // Its number was read before its directory was opened, and may have been used again in between.
    Ok(first.map(|(_, process)| process).filter(|process| contains(cgroup, process)))
}

/// The group of `uid`'s processes in `cgroup` and below; `None` where they are not of one mind, there are none, or too many to ask.
#[must_use]
pub fn group(cgroup: &Path, uid: u32) -> Option<u32> {
    let pids = all(cgroup).ok().filter(|pids| pids.len() < MAX)?;
    let statuses = pids.into_iter().filter_map(|pid| Process::new(pid).and_then(|process| process.status()).ok());
    let mut groups = statuses.filter(|status| status.fuid == uid).map(|status| status.fgid);
    let first = groups.next()?;
    groups.all(|group| group == first).then_some(first)
}

/// Whether `process` is alive and in `cgroup` or below.
#[must_use]
pub fn contains(cgroup: &Path, process: &Process) -> bool {
    // Alive after the list was read means that the number in the list was this process's.
    all(cgroup).is_ok_and(|pids| pids.contains(&process.pid())) && process.stat().is_ok()
}

/// What the kernel says of one thread of a process, which may end meanwhile.
#[derive(Debug)]
pub struct View<'a> {
    process: &'a Process,
    /// In the process's directory in /proc.
    thread: PathBuf,
}

impl<'a> View<'a> {
    /// By a thread that lives: the main one of a program may have ended (`pthread_exit` in `main`), and then shows nothing.
    #[must_use]
    pub fn of(process: &'a Process) -> Self {
        let is_zombie = |stat: procfs::ProcResult<procfs::process::Stat>| stat.is_ok_and(|stat| stat.state == 'Z');
        let living = || {
            let threads = process.tasks().ok()?.flatten().take(MAX);
            threads
                .into_iter()
                .find(|thread| thread.stat().is_ok_and(|stat| stat.state != 'Z'))
                .map(|thread| thread.tid)
        };
        let tid = if is_zombie(process.stat()) { living() } else { None };
        Self { process, thread: tid.map_or_else(PathBuf::new, |tid| Path::new("task").join(tid.to_string())) }
    }

    /// Its mounts.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it has ended.
    pub fn mountinfo(&self) -> io::Result<Vec<u8>> {
        mountinfo::read(self.open("mountinfo")?)
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// As [`View::mountinfo`].
    pub fn netns(&self) -> io::Result<File> {
        self.open("ns/net")
    }

    fn open(&self, file: &str) -> io::Result<File> {
        self.process.open_relative(self.thread.join(file)).map_err(|error| match error {
            ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
            ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
            ProcError::Io(source, _) => source,
            other @ (ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_)) => {
                io::Error::other(other)
            }
        })
    }
}

fn members(cgroup: &Path) -> io::Result<Vec<i32>> {
    let mut text = String::new();
    File::open(cgroup.join("cgroup.procs"))?.take(MAX_BYTES).read_to_string(&mut text)?;
    // The last line may have been cut.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole.lines().filter_map(|line| line.parse().ok()).collect())
}
