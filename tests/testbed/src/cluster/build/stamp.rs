//! What a file was built from, so that it is built again when that changes.
//!
//! Knows nothing of what is built.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::super::place::shared;

/// SHA-256 of everything that was given, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest(Sha256);

impl Digest {
    /// With `text`.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        self
    }

    /// With the name and the content of the file at `path`.
    pub(super) fn file(self, path: &Path) -> Result<Self> {
        let mut with = self.text(&path.display().to_string());
        let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut with.0));
        let length = copied.with_context(|| format!("cannot read {}", path.display()))?;
        with.0.update(length.to_le_bytes());
        Ok(with)
    }

    /// With the digest `other`.
    pub(super) fn digest(self, other: &Self) -> Self {
        self.text(&other.hex())
    }

    /// In hexadecimal.
    pub(super) fn hex(&self) -> String {
        format!("{:x}", self.0.clone().finalize())
    }
}

/// The note of what something was built from.
#[derive(Debug)]
pub(super) struct Stamp(PathBuf);

impl Stamp {
    /// Of the thing `name`.
    pub(super) fn new(name: &str) -> Result<Self> {
        let directory = shared("stamps");
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self(directory.join(name)))
    }

    /// Whether the thing was built from what `digest` is of.
    pub(super) fn fits(&self, digest: &Digest) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|stamp| stamp == digest.hex())
    }

    /// Notes that the thing is built.
    pub(super) fn set(&self, digest: &Digest) -> Result<()> {
        fs::write(&self.0, digest.hex()).with_context(|| format!("cannot write {}", self.0.display()))
    }
}
