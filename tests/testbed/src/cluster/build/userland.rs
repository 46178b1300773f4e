//! A small Debian as a tar: the layer that all images share.
//!
//! Knows nothing of images. Of the machine's own release, because the client in it is linked to that C library.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::{
    super::place::shared,
    stamp::{Digest, Stamp},
};
use crate::{
    debian::{LEFT_OUT, release},
    step::step,
};

/// Beyond the essential ones. catatonit is the pause container's process.
const PACKAGES: &str = "ca-certificates,catatonit,curl,iproute2,iptables,nftables,python3-minimal";

/// The tar, made if need be, and the digest of what it was made from.
pub(super) fn build() -> Result<(PathBuf, Digest)> {
    let release = release()?;
    let digest = Digest::default().text(&release).text(PACKAGES).text(&LEFT_OUT.join(" "));
    let path = shared("userland.tar");
    let stamp = Stamp::new("userland")?;
    if stamp.fits(&digest) && path.is_file() {
        return Ok((path, digest));
    }
    step(&format!("mmdebstrap of Debian {release} (once; 16 s)"), || {
        let unfinished = path.with_extension("unfinished");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=minbase", "--format=tar"]).arg(format!("--include={PACKAGES}"));
        mmdebstrap.args(LEFT_OUT.map(|paths| format!("--dpkgopt=path-exclude={paths}")));
        mmdebstrap.arg(&release).arg(&unfinished);
        let status = mmdebstrap.status().context("cannot start mmdebstrap (Debian package mmdebstrap)")?;
        if !status.success() {
            bail!("mmdebstrap ended with {status}");
        }
        fs::rename(&unfinished, &path).with_context(|| format!("cannot make {}", path.display()))
    })?;
    stamp.set(&digest)?;
    Ok((path, digest))
}
