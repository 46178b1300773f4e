//! A disk with an ext4 file system that is made of a directory, without mounting anything.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::process::{output, run};

/// For the tables of the file system, and blocks that are not full.
const OVERHEAD: u64 = 64 << 20;

/// Makes the disk `image` of what is below `directory`, with `spare` bytes that are free. It appears when it is complete.
pub(crate) fn make(directory: &Path, image: &Path, spare: u64) -> Result<()> {
    let unfinished = image.with_extension("unfinished");
    let size = size(directory)?;
    let file = File::create(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    file.set_len(size + size / 8 + OVERHEAD + spare)?;
    let mut mke2fs = Command::new("mke2fs");
    // Without a journal: a guest's writes are thrown away with it.
    mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "root_owner=0:0", "-d"]);
    run(mke2fs.arg(directory).arg(&unfinished))?;
    fs::rename(&unfinished, image).with_context(|| format!("cannot make {}", image.display()))
}

/// What is below `directory` on this machine's disk, in bytes.
fn size(directory: &Path) -> Result<u64> {
    let said = output(Command::new("du").args(["--summarize", "--block-size=1"]).arg(directory))?;
    said.split_whitespace().next().and_then(|number| number.parse().ok()).context("du gives a number")
}
