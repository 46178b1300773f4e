//! What Debian this machine is.
//!
//! Knows nothing of what is made of its packages.

use std::fs;

use anyhow::{Context, Result, bail};

/// Not needed to run anything; the paths of `dpkg --path-exclude`.
pub const LEFT_OUT: [&str; 4] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/// The code name of the machine's Debian release. Programs that are built here run on that one: they are linked to its C
/// library.
pub fn release() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let field = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    if field("ID") != Some("debian") {
        bail!("images are made of the machine's own Debian packages: this machine is no Debian");
    }
    Ok(field("VERSION_CODENAME").context("/etc/os-release names no VERSION_CODENAME")?.to_owned())
}
