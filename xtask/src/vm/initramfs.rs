//! The guest's first root: a busybox, the modules for its disks, and the job that it hands over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{cpio::Cpio, job::Job, kernel::Kernel, modules, userland::Userland};

/// The first process, and what it starts (in order).
const INIT: &str = include_str!("../../vm/initramfs.sh");
const NEXT: [(&str, &str); 2] =
    [("init.sh", include_str!("../../vm/init.sh")), ("job.sh", include_str!("../../vm/job.sh"))];

/// Writes it into `directory`; its path.
pub(crate) fn write(directory: &Path, kernel: &Kernel, userland: &Userland, job: &Job) -> Result<PathBuf> {
    let mut cpio = Cpio::default();
    for directory in ["bin", "modules", "job"] {
        cpio.directory(directory);
    }
    cpio.file("init", INIT.as_bytes());
    cpio.file("bin/busybox", &fs::read(userland.busybox()).context("cannot read busybox")?);
    for (number, (name, content)) in modules::early(&kernel.modules())?.into_iter().enumerate() {
        cpio.file(&format!("modules/{number:02}-{name}.ko"), &content);
    }
    for (name, content) in NEXT.iter().chain(&[("environment", job.environment.as_str()), ("runs", &job.runs)]) {
        cpio.file(&format!("job/{name}"), content.as_bytes());
    }
    let path = directory.join("initramfs");
    fs::write(&path, cpio.finish()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
