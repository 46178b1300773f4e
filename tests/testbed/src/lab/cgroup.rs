//! A cgroup of our own, below the one that this process is in.
//!
//! Knows nothing of controllers. The cgroup2 mount is found in mountinfo: on a hybrid host it is not /sys/fs/cgroup.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::wait::wait_until;

/// How long the kernel may take to let go of a killed process.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is mounted where this thread is: a session has mounts of its own.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// Of the names of our cgroups; the maker's pid and a number follow.
const PREFIX: &str = "cg-";

static MADE: AtomicU32 = AtomicU32::new(0);

/// A cgroup; when dropped, its processes are killed and it is removed with all below it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Held for as long as its maker lives, in whatever pid namespace that is.
    _lock: Option<Flock<File>>,
}

impl Cgroup {
    /// Makes a cgroup below this process's own.
    pub fn new() -> Result<Self> {
        let parent = own()?;
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
            // Who sweeps at this very moment may have taken it for a dead one's.
            if let Some(lock) = lock(&path).filter(|_| path.exists()) {
                return Ok(Self { path, _lock: Some(lock) });
            }
        }
    }

    /// Makes the cgroup `name` below this one, which removes it as well, or finds it removed.
    pub fn child(&self, name: impl AsRef<Path>) -> Result<Self> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        Ok(Self { path, _lock: None })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id, as `bpf_skb_ancestor_cgroup_id` gives it.
    pub fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }

    /// Lets `command` start inside. Added before any change of identity: joining needs root.
    pub fn join(&self, command: &mut Command) -> Result<()> {
        let mut members = File::options().write(true).open(self.path.join("cgroup.procs"))?;
        let join = move || members.write_all(b"0");
        // SAFETY: runs between fork and exec; a write to a descriptor that the closure owns, and nothing allocates or
        // locks.
        unsafe { command.pre_exec(join) };
        Ok(())
    }

    /// The processes inside, those of cgroups below included.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let directories = below(&self.path).into_iter().chain([self.path.clone()]);
        directories
            .filter_map(|directory| fs::read_to_string(directory.join("cgroup.procs")).ok())
            .flat_map(|pids| pids.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect::<Vec<_>>())
            .collect()
    }

    /// Kills the processes inside and removes it with all below it.
    pub fn remove(&self) -> Result<()> {
        wait_until(PATIENCE, "the cgroup is empty", || self.try_remove().ok())
    }

    fn try_remove(&self) -> io::Result<()> {
        // cgroup.kill is there since Linux 5.14.
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            for pid in self.processes() {
                // It may have ended by itself.
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        for directory in below(&self.path).into_iter().chain([self.path.clone()]) {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("{} is left behind: {error}", self.path.display());
        }
    }
}

/// Removes the cgroups of laboratories that were killed before they could.
pub(super) fn sweep() -> Result<()> {
    for entry in fs::read_dir(own()?).context("cannot list this process's cgroup")?.flatten() {
        let path = entry.path();
        if maker(&entry.file_name().to_string_lossy()).is_some_and(|maker| !Path::new("/proc").join(maker).exists())
            && let Some(lock) = lock(&path)
        {
            drop(Cgroup { path, _lock: Some(lock) });
        }
    }
    Ok(())
}

/// The lock of a cgroup's directory; none: it is held, or the cgroup is gone.
fn lock(path: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// The pid in the name of one of our cgroups.
fn maker(name: &str) -> Option<&str> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    [pid, number].iter().all(|digits| digits.parse::<u32>().is_ok()).then_some(pid)
}

/// The cgroups below `directory`, the deepest first.
pub(crate) fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let children = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    children
        .flat_map(|child| {
            let mut paths = below(&child.path());
            paths.push(child.path());
            paths
        })
        .collect()
}

/// The ids of the cgroups that are neither this process's own nor below it.
pub(super) fn others() -> Result<BTreeSet<u64>> {
    let own = own()?;
    let is_cgroup = |directory: &&Path| directory.join("cgroup.procs").exists();
    let top = own.ancestors().take_while(is_cgroup).last().unwrap_or(&own);
    let others = below(top).into_iter().chain([top.to_owned()]).filter(|directory| !directory.starts_with(&own));
    Ok(others.filter_map(|directory| Some(fs::metadata(directory).ok()?.ino())).collect())
}

/// Where the cgroup hierarchies are mounted whole, those of version 1 and 2 alike.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>> {
    let mountinfo = mountinfo()?;
    Ok(whole(&mountinfo))
}

pub(super) fn mountinfo() -> Result<String> {
    fs::read_to_string(MOUNTINFO).with_context(|| format!("cannot read {MOUNTINFO}"))
}

/// `mountinfo` is as in proc_pid_mountinfo(5).
fn whole(mountinfo: &str) -> Vec<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (fields, filesystem) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let is_cgroup = filesystem.starts_with("cgroup ") || filesystem.starts_with("cgroup2 ");
        (is_cgroup && root == "/").then(|| PathBuf::from(mount))
    });
    mounts.collect()
}

/// The directory of this process's cgroup in the cgroup2 hierarchy.
pub fn own() -> Result<PathBuf> {
    let mountinfo = mountinfo()?;
    let membership = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    locate(&mountinfo, &membership).context("no cgroup2 hierarchy is mounted")
}

/// `mountinfo` and `membership` are as in proc_pid_mountinfo(5) and cgroups(7).
fn locate(mountinfo: &str, membership: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (root, mount) = mountinfo.lines().find_map(|line| {
        let (fields, filesystem) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        filesystem.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    })?;
    let relative = Path::new(path).strip_prefix(root).ok()?;
    Some(Path::new(mount).join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";

    #[test]
    fn locate_hybrid_host_finds_the_unified_mount() {
        let mountinfo = format!("{V1}41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n");
        let membership = "4:memory:/elsewhere\n0::/user.slice/a\n";
        assert_eq!(locate(&mountinfo, membership), Some("/sys/fs/cgroup/unified/user.slice/a".into()));
    }

    #[test]
    fn whole_hybrid_host_are_the_hierarchies_of_both_versions() {
        let mountinfo = "30 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 30 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu\n\
            33 30 0:30 /a /elsewhere/part rw - cgroup cgroup rw,pids\n\
            41 30 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(whole(mountinfo), ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from));
    }

    #[test]
    fn locate_mount_of_a_part_strips_its_root() {
        let mountinfo = "41 31 0:38 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(locate(mountinfo, "0::/docker/x/y\n"), Some("/sys/fs/cgroup/y".into()));
    }

    #[test]
    fn maker_foreign_name_is_nobody() {
        assert_eq!(maker("cg-17-0"), Some("17"));
        for foreign in ["cg-17", "cg-a-0", "system.slice", "cg-../1-0"] {
            assert_eq!(maker(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn locate_only_version_1_finds_nothing() {
        assert_eq!(locate(V1, "4:memory:/\n"), None);
    }
}
