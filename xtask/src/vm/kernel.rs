//! A kernel that can be booted: its image, and its modules as a disk. Fetched once, below target/vm/kernels.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use conngate_testbed::step::step;

use super::{
    arch::Arch,
    archive::Archive,
    disk,
    offer::{FLAVOUR, Offer, choose},
    pins::{NEWEST, Pin},
};
use crate::{process::run, workspace::target};

/// So many kernels of a series are tried.
const ATTEMPTS: usize = 3;

/// A kernel.
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// The version of its packages.
    pub(crate) version: String,
    directory: PathBuf,
}

impl Kernel {
    /// The kernel that `pin` names, or the latest of its series where the archive no longer has that.
    pub(crate) fn get(pin: &Pin, arch: Arch) -> Result<Self> {
        let pinned = Self::of(&pin.release, &pin.version, arch);
        if pin.name != NEWEST && pinned.is_there() {
            return Ok(pinned);
        }
        let archive = Archive::open(&pin.suite, arch)?;
        for offer in choose(&archive.kernels()?, pin).iter().take(ATTEMPTS) {
            let kernel = Self::of(&offer.release, &offer.version, arch);
            let what = format!("kernel {} {}", kernel.release, kernel.version);
            // A mirror may name what it does not have.
            if !kernel.is_there()
                && let Err(error) = step(&what, || kernel.make(&archive, offer))
            {
                eprintln!("NOTE: {what} cannot be had: {error:#}");
                continue;
            }
            if (&offer.release, &offer.version) != (&pin.release, &pin.version) {
                let Pin { name, release, version, .. } = pin;
                eprintln!(
                    "NOTE: {name} is {} ({}) here, where {release} ({version}) is pinned",
                    offer.release, offer.version
                );
            }
            return Ok(kernel);
        }
        bail!("a kernel {} for {arch} cannot be had from {}", pin.name, pin.suite)
    }

    fn of(release: &str, version: &str, arch: Arch) -> Self {
        let release = format!("{release}-{FLAVOUR}-{}", arch.debian());
        let directory = target("vm/kernels").join(format!("{release}_{version}"));
        Self { release, version: version.to_owned(), directory }
    }

    /// What QEMU boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The disk that is mounted at /lib/modules; the last that is made.
    pub(crate) fn disk(&self) -> PathBuf {
        self.directory.join("modules.ext4")
    }

    /// The directory of the modules and their index.
    pub(crate) fn modules(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.release)
    }

    fn is_there(&self) -> bool {
        self.disk().is_file()
    }

    fn make(&self, archive: &Archive, offer: &Offer) -> Result<()> {
        let _ = fs::remove_dir_all(&self.directory);
        let unpacked = self.directory.join("unpacked");
        archive.unpack(&offer.packages, &unpacked)?;
        let within = |places: [String; 2]| {
            let mut paths = places.iter().map(|place| unpacked.join(place)).filter(|path| path.exists());
            paths.next().with_context(|| format!("{} is not in {}", places.join(" or "), offer.packages.join(", ")))
        };
        let release = &self.release;
        let image = within([format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")])?;
        moved(&image, &self.image())?;
        let modules = within([format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")])?;
        moved(&modules, &self.modules())?;
        run(Command::new("depmod").arg("--basedir").arg(&self.directory).arg(release))?;
        disk::make(&self.directory.join("lib/modules"), &self.disk(), 0)?;
        fs::remove_dir_all(&unpacked).with_context(|| format!("cannot remove {}", unpacked.display()))
    }
}

fn moved(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
    fs::rename(from, to).with_context(|| format!("cannot make {}", to.display()))
}
