//! Pins: the programs' attachments and the maps, kept in a BPF file system while no agent runs.
//!
//! Knows nothing of what they do. Below `BPFFS/conngate/v<ABI>`: an agent of another ABI never touches these maps, it
//! makes its own and then removes the others.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use conngate_common::{ABI_VERSION, counter::Program, id::CgroupId};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

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
    #[error("{0} is no BPF file system: mount -t bpf -o mode=0700 bpf {0}, or name another one with --bpffs")]
    NotBpffs(PathBuf),
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

/// The pins of this ABI.
#[derive(Clone, Debug)]
pub struct Pins {
    /// `BPFFS/conngate`.
    base: PathBuf,
    /// `BPFFS/conngate/v<ABI>`.
    directory: PathBuf,
}

impl Pins {
    /// Makes sure of the directories below `bpffs`.
    ///
    /// # Errors
    /// When `bpffs` is no BPF file system, or cannot be written to.
    pub fn open(bpffs: &Path) -> Result<Self, PinsError> {
        let base = base(bpffs)?;
        let directory = base.join(format!("v{ABI_VERSION}"));
        for path in ["maps", "links", DATAGRAMS].map(|name| directory.join(name)) {
            fs::create_dir_all(&path).map_err(access("make", &path))?;
        }
        Ok(Self { base, directory })
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
    pub fn remove_others(&self) -> Result<(), PinsError> {
        for path in children(&self.base)? {
            if path != self.directory {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the pins of this agent: what no process holds is detached and gone.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<(), PinsError> {
        remove(&self.directory)
    }
}

/// What is pinned below `bpffs`: for each ABI how many programs and maps.
///
/// # Errors
/// When `bpffs` is no BPF file system, or cannot be read.
pub fn pinned(bpffs: &Path) -> Result<Vec<String>, PinsError> {
    let base = base(bpffs)?;
    if !base.exists() {
        return Ok(Vec::new());
    }
    let count = |directory: PathBuf| children(&directory).map_or(0, |children| children.len());
    let pinned = children(&base)?.into_iter().map(|version| {
        let name = version.file_name().unwrap_or_default().display().to_string();
        format!("{name}: {} programs, {} maps", count(version.join("links")), count(version.join("maps")))
    });
    Ok(pinned.collect())
}

/// Removes every pin of every conngate below `bpffs`; whether there were any.
///
/// # Errors
/// When `bpffs` is no BPF file system, or something cannot be removed.
pub fn remove_all(bpffs: &Path) -> Result<bool, PinsError> {
    let base = base(bpffs)?;
    let there = base.exists();
    if there {
        remove(&base)?;
    }
    Ok(there)
}

fn base(bpffs: &Path) -> Result<PathBuf, PinsError> {
    let statfs = statfs(bpffs).map_err(|errno| access("look at", bpffs)(errno.into()))?;
    if statfs.filesystem_type() != BPF_FS_MAGIC {
        return Err(PinsError::NotBpffs(bpffs.to_owned()));
    }
    Ok(bpffs.join(DIRECTORY))
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, PinsError> {
    let entries = fs::read_dir(directory).map_err(access("list", directory))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Links go first: a program without its maps' pins still works, maps without a program are of no use.
fn remove(path: &Path) -> Result<(), PinsError> {
    if !path.is_dir() {
        return fs::remove_file(path).map_err(access("remove", path));
    }
    let mut children = children(path)?;
    children.sort();
    children.iter().try_for_each(|child| remove(child))?;
    fs::remove_dir(path).map_err(access("remove", path))
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
