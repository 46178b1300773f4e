//! The guest's root: a small Debian as a disk, made once for each architecture, below target/vm/userland.
//!
//! Its packages are only unpacked: none of their scripts is run, so that it can be made for another architecture. What
//! the tests need of what those scripts do is done here. Of the machine's own release: see `conngate_testbed::debian`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use conngate_testbed::{debian, step::step};

use super::{arch::Arch, disk, mirror};
use crate::{process::output, workspace::target};

/// With what they depend on. The tests run the tools of the first line; the rest is what a host has.
const PACKAGES: &str = "iproute2,iptables,kmod,mount,python3-minimal,util-linux,\
    bash,busybox-static,coreutils,dash,findutils,grep,hostname,libc-bin,procps,sed";

/// What an installation chooses for iptables, by update-alternatives.
const IPTABLES: [&str; 6] =
    ["iptables", "iptables-restore", "iptables-save", "ip6tables", "ip6tables-restore", "ip6tables-save"];

/// Files that an installation writes.
const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost conngate-vm\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// Where things are mounted that are there before the first mount.
const DIRECTORIES: [&str; 8] = ["dev", "proc", "sys", "run", "tmp", "mnt", "root", "lib/modules"];

/// For what tests write.
const SPARE: u64 = 1 << 30;

/// The root.
pub(crate) struct Userland {
    directory: PathBuf,
}

impl Userland {
    /// Makes it, if need be.
    pub(crate) fn get(arch: Arch) -> Result<Self> {
        let release = debian::release()?;
        let userland = Self { directory: target("vm/userland").join(format!("{release}-{}", arch.debian())) };
        // What it was made from is written last.
        let stamp = userland.directory.join("stamp");
        let made_from = format!("{PACKAGES}\n{IPTABLES:?}\n{FILES:?}\n{DIRECTORIES:?}\n{SPARE}\n");
        if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_from) {
            return Ok(userland);
        }
        step(&format!("the guest's root: Debian {release} {} (once; 30 s)", arch.debian()), || {
            userland.make(&release, arch)
        })?;
        fs::write(&stamp, made_from).with_context(|| format!("cannot write {}", stamp.display()))?;
        Ok(userland)
    }

    /// The disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.directory.join("root.ext4")
    }

    /// A busybox without libraries, for the first process.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.directory.join("busybox")
    }

    fn make(&self, release: &str, arch: Arch) -> Result<()> {
        let _ = fs::remove_dir_all(&self.directory);
        fs::create_dir_all(&self.directory).with_context(|| format!("cannot make {}", self.directory.display()))?;
        let root = self.directory.join("root");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=extract", "--format=directory", "--skip=check/qemu"]);
        mmdebstrap.arg(format!("--architectures={}", arch.debian())).arg(format!("--include={PACKAGES}"));
        mmdebstrap.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
        mmdebstrap.args(debian::LEFT_OUT.map(|paths| format!("--dpkgopt=path-exclude={paths}")));
        // What it says of single packages is of no use.
        output(mmdebstrap.arg(release).arg(&root).arg(mirror::source(release, release)?.trim_end()))?;
        configure(&root).context("cannot configure the guest's root")?;
        fs::copy(root.join("bin/busybox"), self.busybox()).context("cannot copy busybox")?;
        disk::make(&root, &self.disk(), SPARE)?;
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
    }
}

/// Does what the packages' own scripts would have done.
fn configure(root: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    for (path, content) in FILES {
        fs::write(root.join(path), content)?;
    }
    for name in IPTABLES {
        symlink(name.replace("tables", "tables-nft"), root.join("usr/sbin").join(name))?;
    }
    Ok(())
}
