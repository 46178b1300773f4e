//! One layer: an uncompressed tar, known by its digest.
//!
//! Knows nothing of images.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// A layer's tar. It must not change as long as the layer is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub(super) tar: PathBuf,
    /// SHA-256 of the tar, in hexadecimal.
    pub(super) digest: String,
}

impl Layer {
    /// The layer that is the tar at `path`.
    pub fn of(path: &Path) -> Result<Self> {
        let mut digest = Sha256::new();
        let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut digest));
        read.with_context(|| format!("cannot read the layer {}", path.display()))?;
        Ok(Self { tar: path.to_owned(), digest: format!("{:x}", digest.finalize()) })
    }

    /// A layer of `files`, executable for all, each a path in the image and the file on this machine that is copied;
    /// written to `tar`.
    pub fn of_files(tar: &Path, files: &[(&str, &Path)]) -> Result<Self> {
        let write = || {
            let mut builder = Builder::new(File::create(tar)?);
            for (path, source) in files {
                let mut header = Header::new_gnu();
                header.set_size(fs::metadata(source)?.len());
                header.set_mode(0o755);
                builder.append_data(&mut header, path.trim_start_matches('/'), File::open(source)?)?;
            }
            builder.finish()
        };
        write().with_context(|| format!("cannot write the layer {} of {files:?}", tar.display()))?;
        Self::of(tar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_files_same_files_same_digest() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        fs::write(&source, "content").unwrap();
        let layer = |name: &str, path: &str| Layer::of_files(&directory.path().join(name), &[(path, &source)]).unwrap();
        assert_eq!(layer("a", "/bin/x").digest, layer("b", "/bin/x").digest);
        assert_ne!(layer("a", "/bin/x").digest, layer("b", "/bin/y").digest);
        let mut archive = tar::Archive::new(File::open(directory.path().join("a")).unwrap());
        let paths: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(paths, [Path::new("bin/x")]);
    }
}
