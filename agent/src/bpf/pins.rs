//! Pins: the programs' attachments and the maps, kept in a BPF file system while no agent runs.
//!
//! Knows nothing of what they do. Below `BPFFS/conngate/v<ABI>`: an agent of another ABI never touches these maps, it
//! makes its own and then removes the others.
//!
//! Invariants:
//! - One agent at a time has them.
//! - No directory that somebody else can write to is used, no symbolic link is followed below `BPFFS`, and nothing outside of
//!   `BPFFS/conngate` is removed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Metadata, TryLockError},
    io,
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aya_obj::generated::bpf_cmd;
use conngate_common::{ABI_VERSION, counter::Program, id::CgroupId};
use nix::{
    libc,
    sys::statfs::{BPF_FS_MAGIC, statfs},
    unistd::Uid,
};

use super::{
    link::Link,
    syscall::{attributes, bpf},
};

/// Our directory in the BPF file system.
const DIRECTORY: &str = "conngate";

/// What hangs on single pods, in the directory of this ABI.
const DATAGRAMS: &str = "datagrams";

/// The maps that outlive an agent.
pub(super) const MAPS: [&str; 7] = ["GATES", "CONTAINERS", "AGENT", "HOLDS", "COUNTERS", "HOLD_DURATION", "EVENTS"];

/// Why nothing can be pinned or removed.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The directory is not on a BPF file system.
    #[error("{0} is not a BPF file system: mount -t bpf -o mode=0700 bpf {0}, or name another one with --bpffs")]
    NotBpffs(PathBuf),
    /// Others could put there what they like.
    #[error("others can write to {path} (mode {mode:04o}): chmod 0700 {path}")]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody else has made it.
    #[error("{0} is not this user's own directory: remove it, or name another BPF file system with --bpffs")]
    Foreign(PathBuf),
    /// Another agent works with these pins.
    #[error("an agent{} has the pins in {path}: end it first", holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// `BPFFS/conngate`.
        path: PathBuf,
        /// Its process, where this one can see it.
        holder: Option<i32>,
    },
    /// Something in it cannot be read, made or removed.
    #[error("cannot {what} {path}")]
    Access {
        /// The attempt.
        what: &'static str,
        /// At what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The pins of this ABI, for this process alone while a clone of it lives.
#[derive(Clone, Debug)]
pub struct Pins {
    /// `BPFFS/conngate`.
    base: PathBuf,
    /// `BPFFS/conngate/v<ABI>`.
    directory: PathBuf,
    /// Of `BPFFS/conngate`.
    _lock: Arc<File>,
}

impl Pins {
    /// Makes sure of the directories below `bpffs`, and that nobody else works there.
    ///
    /// # Errors
    /// When `bpffs` is no BPF file system, others can write to it, it cannot be written to, or another agent has it.
    pub fn open(bpffs: &Path) -> Result<Self, PinsError> {
        let base = base(bpffs)?;
        own(bpffs, fs::metadata(bpffs))?;
        make(&base)?;
        let lock = lock(&base)?;
        let directory = base.join(format!("v{ABI_VERSION}"));
        for path in [directory.clone(), directory.join("maps"), directory.join("links"), directory.join(DATAGRAMS)] {
            make(&path)?;
        }
        Ok(Self { base, directory, _lock: Arc::new(lock) })
    }

    /// Where the map `name` is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join("maps").join(name)
    }

    /// Where the link of `program` is pinned.
    pub(super) fn link(&self, program: Program) -> PathBuf {
        self.directory.join("links").join(program.word())
    }

    /// Where the link of the setsockopt program to a pod's cgroup is pinned.
    pub(super) fn datagrams(&self, pod: CgroupId) -> PathBuf {
        self.directory.join(DATAGRAMS).join(pod.0.to_string())
    }

    /// The pods to which the setsockopt program is attached.
    pub(super) fn datagram_gates(&self) -> Vec<CgroupId> {
        let pods = children(&self.directory.join(DATAGRAMS)).unwrap_or_default();
        pods.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).map(CgroupId).collect()
    }

    /// Removes what agents of other ABIs have pinned. To be called when this agent's programs are attached.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(super) fn remove_others(&self) -> Result<(), PinsError> {
        for path in children(&self.base)?.into_iter().filter(|path| *path != self.directory) {
            remove(&path).map_err(access("remove", &path))?;
        }
        Ok(())
    }
}

/// What is pinned below `bpffs`: for each ABI how many programs and maps.
///
/// # Errors
/// When an agent could not use it, other than because one does.
pub fn pinned(bpffs: &Path) -> Result<Vec<String>, PinsError> {
    let base = base(bpffs)?;
    own(bpffs, fs::metadata(bpffs))?;
    if !is_own(&base)? {
        return Ok(Vec::new());
    }
    let count = |directory: PathBuf| children(&directory).map_or(0, |children| children.len());
    let pinned = children(&base)?.into_iter().map(|version| {
        let name = version.file_name().unwrap_or_default().display().to_string();
        format!("{name}: {} programs, {} maps", count(version.join("links")), count(version.join("maps")))
    });
    Ok(pinned.collect())
}

/// The ids of the programs whose links are pinned below `bpffs`, by agents of any ABI; none where nothing can be read.
#[must_use]
pub fn programs(bpffs: &Path) -> BTreeSet<u32> {
    let list = |directory: &Path| children(directory).unwrap_or_default();
    let versions = list(&bpffs.join(DIRECTORY));
    let links = versions.iter().flat_map(|version| [version.join("links"), version.join(DATAGRAMS)]);
    let links = links.flat_map(|directory| list(&directory));
    links.filter_map(|link| Link::open(&link).ok()??.program().ok()).collect()
}

/// Removes every pin of every conngate below `bpffs`; whether there were any.
///
/// # Errors
/// When `bpffs` is no BPF file system, our directory in it is not our own, an agent works with it, or something cannot be
/// removed.
pub fn remove_all(bpffs: &Path) -> Result<bool, PinsError> {
    let base = base(bpffs)?;
    if !is_own(&base)? {
        return Ok(false);
    }
    let _lock = lock(&base)?;
    remove(&base).map_err(access("remove", &base))?;
    Ok(true)
}

/// Whether something is pinned at `path`.
///
/// # Errors
/// When there is something else.
pub(super) fn is_pin(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(io::Error::other("no pin")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Pins a map or a link at `path`, in the place of what is there.
pub(super) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    remove(path)?;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attributes();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = object.as_fd().as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Removes what is at `path`, if anything, with all in it. Of a symbolic link, only the link.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        // It follows no link either, even one that somebody puts there meanwhile.
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn base(bpffs: &Path) -> Result<PathBuf, PinsError> {
    let statfs = statfs(bpffs).map_err(|errno| access("inspect", bpffs)(errno.into()))?;
    if statfs.filesystem_type() != BPF_FS_MAGIC {
        return Err(PinsError::NotBpffs(bpffs.to_owned()));
    }
    Ok(bpffs.join(DIRECTORY))
}

/// Makes the directory at `path`, unless there is one that only this user can write to.
fn make(path: &Path) -> Result<(), PinsError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => own(path, fs::symlink_metadata(path)),
        made => made.map_err(access("make", path)),
    }
}

/// Whether there is a directory at `path`, which only this user can write to.
fn is_own(path: &Path) -> Result<bool, PinsError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        metadata => own(path, metadata).map(|()| true),
    }
}

fn own(path: &Path, metadata: io::Result<Metadata>) -> Result<(), PinsError> {
    let metadata = metadata.map_err(access("inspect", path))?;
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_dir() || metadata.uid() != Uid::effective().as_raw() {
        Err(PinsError::Foreign(path.to_owned()))
    } else if mode & 0o022 != 0 {
        Err(PinsError::Writable { path: path.to_owned(), mode })
    } else {
        Ok(())
    }
}

/// Takes the directory `base` for this process. The lock is the node's: every mount of this file system shows the same
/// directory.
fn lock(base: &Path) -> Result<File, PinsError> {
    let directory = File::open(base).map_err(access("open", base))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(PinsError::Held { path: base.to_owned(), holder: holder(&directory) }),
        Err(TryLockError::Error(source)) => Err(access("lock", base)(source)),
    }
}

fn holder(directory: &File) -> Option<i32> {
    let metadata = directory.metadata().ok()?;
    let device = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let locks = procfs::locks().ok()?;
    locks.iter().find(|lock| (lock.devmaj, lock.devmin, lock.inode) == (device.0, device.1, metadata.ino()))?.pid
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, PinsError> {
    let entries = fs::read_dir(directory).map_err(access("list", directory))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn access(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinsError {
    let path = path.to_owned();
    move |source| PinsError::Access { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_outside_of_a_bpf_file_system_are_refused_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let error = Pins::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("mount -t bpf -o mode=0700 bpf {}", directory.path().display())), "{error}");
        assert!(remove_all(directory.path()).is_err());
        assert!(matches!(Pins::open(Path::new("/nonexistent")), Err(PinsError::Access { .. })));
    }
}
