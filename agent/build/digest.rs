//! The digest of the eBPF object's sources, committed beside the object.
//!
//! Knows nothing of what is in the files. `agent/build.rs` checks it and `cargo xtask build-ebpf` writes it: one
//! implementation, so that the two cannot differ.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// What the object is built from, relative to the checkout: directories whole, files alone.
const SOURCES: [&str; 3] = ["ebpf", "common/src", "common/Cargo.toml"];

/// Built there by a bare `cargo build` in ebpf/; no source.
const NOT_A_SOURCE: &str = "ebpf/target";

/// The sources below the checkout `root`: path relative to it, with `/`, to where it is; in the order of the digest.
pub(crate) fn sources(root: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for source in SOURCES {
        collect(root, source, &mut found)?;
    }
    Ok(found)
}

/// SHA-256 over path, NUL and content of every source, as lower-case hex.
pub(crate) fn digest(root: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for (name, path) in sources(root)? {
        hash.update(name);
        hash.update([0]);
        hash.update(fs::read(path)?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(root: &Path, name: &str, found: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    let path = root.join(name);
    if name == NOT_A_SOURCE {
        return Ok(());
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if !path.is_dir() {
        fs::metadata(&path).map_err(named)?;
        found.insert(name.to_owned(), path);
        return Ok(());
    }
    for entry in fs::read_dir(&path).map_err(named)? {
        let child = entry?.file_name();
        let child =
            child.to_str().ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("{child:?}: not UTF-8")))?;
        collect(root, &format!("{name}/{child}"), found)?;
    }
    Ok(())
}
