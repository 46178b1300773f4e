//! A scope: a cgroup of our own for one command and all its children, removed when the last of them is gone.
//!
//! Knows nothing of what is attached to it. A scope is locked (flock on its directory) while anybody looks after it, so
//! that one which nobody looks after any more is recognised and swept by the next.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use conngate_common::id::CgroupId;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::hierarchy;

const PREFIX: &str = "conngate-run-";

/// How often a scope is made anew that others sweep before it is locked, and how long they are given each time: they take
/// microseconds.
const TRIES: u32 = 100;
const MOMENT: Duration = Duration::from_millis(10);

/// A scope could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the cgroup {path}")]
pub struct ScopeError {
    /// What was tried.
    pub action: &'static str,
    /// Its directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A cgroup for one command.
pub struct Scope {
    path: PathBuf,
    events: File,
    _lock: Flock<File>,
}

impl Scope {
    /// Makes a scope below `parent`, after removing those that nobody looks after any more.
    ///
    /// # Errors
    /// When the directory cannot be made or opened; nothing is left behind.
    pub fn create(parent: &Path) -> Result<Self, ScopeError> {
        use io::ErrorKind::{AlreadyExists, NotFound, WouldBlock};
        sweep(parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        let mut tries = TRIES;
        loop {
            match Self::make(&path) {
                // Until it is locked, whoever else begins at this moment takes it for one that nobody looks after.
                Err(error) if tries > 0 && matches!(error.source.kind(), AlreadyExists | NotFound | WouldBlock) => {
                    tries -= 1;
                    thread::sleep(MOMENT);
                }
                made => return made,
            }
        }
    }

    fn make(path: &Path) -> Result<Self, ScopeError> {
        let failed = |action| move |source| ScopeError { action, path: path.to_owned(), source };
        fs::create_dir(path).map_err(failed("create"))?;
        let made = File::open(path).and_then(|directory| {
            let lock = Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
            Ok(Self { path: path.to_owned(), events: File::open(path.join("cgroup.events"))?, _lock: lock })
        });
        made.inspect_err(|_| drop(fs::remove_dir(path))).map_err(failed("open"))
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id.
    ///
    /// # Errors
    /// When the directory is gone.
    pub fn id(&self) -> Result<CgroupId, hierarchy::HierarchyError> {
        hierarchy::id(&self.path)
    }

    /// The file into which a process writes `0` to move itself in.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn door(&self) -> Result<File, ScopeError> {
        let path = self.path.join("cgroup.procs");
        OpenOptions::new().write(true).open(path).map_err(|source| self.error("open", source))
    }

    /// Whether any process is in it or below.
    ///
    /// # Errors
    /// When the directory is gone.
    pub fn is_populated(&self) -> Result<bool, ScopeError> {
        populated(&self.path).map_err(|source| self.error("read", source))
    }

    /// Sleeps until the last process is gone.
    ///
    /// # Errors
    /// When the directory is gone.
    pub fn wait_until_empty(&self) -> Result<(), ScopeError> {
        while self.is_populated()? {
            // The kernel reports a change of cgroup.events as POLLPRI; one that came before the poll ends it at once.
            let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut fds, PollTimeout::from(1000u16)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.error("watch", errno.into())),
            }
        }
        Ok(())
    }

    /// Removes it and whatever cgroups the command made below; one that is gone already is fine.
    ///
    /// # Errors
    /// When a process is still in it.
    pub fn remove(&self) -> Result<(), ScopeError> {
        remove_tree(&self.path).map_err(|source| self.error("remove", source))
    }

    fn error(&self, action: &'static str, source: io::Error) -> ScopeError {
        ScopeError { action, path: self.path.clone(), source }
    }
}

/// Removes empty scopes below `parent` whose keeper was killed. Best effort: they do no harm.
fn sweep(parent: &Path) {
    let Ok(children) = fs::read_dir(parent) else { return };
    for child in children.flatten() {
        let path = child.path();
        let ours = child.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours
            && let Ok(directory) = File::open(&path)
            && let Ok(_lock) = Flock::lock(directory, FlockArg::LockExclusiveNonblock)
            && populated(&path).is_ok_and(|populated| !populated)
        {
            let _ = remove_tree(&path);
        }
    }
}

fn populated(path: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(path.join("cgroup.events"))?.lines().any(|line| line == "populated 1"))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let children = match fs::read_dir(path) {
        Ok(children) => children,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for child in children.flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&child.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
