//! One suite of Debian's archive, asked with an apt configuration of its own: the machine's apt state is left alone.
//!
//! What is fetched is verified by apt. The machine's settings for reaching the archive (a proxy) hold here too.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use conngate_testbed::{debian, step::step};

use super::{arch::Arch, mirror, offer};
use crate::{
    process::{output, run},
    workspace::target,
};

/// A suite whose lists are there.
pub(crate) struct Archive {
    directory: PathBuf,
    arch: Arch,
}

impl Archive {
    /// Fetches the lists of `suite`.
    pub(crate) fn open(suite: &str, arch: Arch) -> Result<Self> {
        let directory = target("vm/apt").join(format!("{suite}-{}", arch.debian()));
        for name in ["state/lists/partial", "cache/archives/partial"] {
            let directory = directory.join(name);
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        fs::write(directory.join("sources.list"), mirror::source(suite, &debian::release()?)?)?;
        fs::write(directory.join("apt.conf"), configuration(&directory.display().to_string(), arch))?;
        let archive = Self { directory, arch };
        step(&format!("apt-get update: {suite} {}", arch.debian()), || {
            run(archive.apt("apt-get").args(["-qq", "update"]).stdout(std::io::stderr()))
        })?;
        Ok(archive)
    }

    /// The kernels that it has.
    pub(crate) fn kernels(&self) -> Result<Vec<offer::Offer>> {
        let names = output(self.apt("apt-cache").args(["pkgnames", "linux-"]))?;
        let names: Vec<_> = names.lines().filter(|name| offer::release(name, self.arch).is_some()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(offer::offered(&output(self.apt("apt-cache").arg("madison").args(names))?, self.arch))
    }

    /// Fetches `packages` (`NAME=VERSION`) and unpacks them below `into`.
    pub(crate) fn unpack(&self, packages: &[String], into: &PathBuf) -> Result<()> {
        let scratch = into.with_extension("packages");
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let mut download = self.apt("apt-get");
        download.args(["-qq", "download"]).args(packages).current_dir(&scratch).stdout(std::io::stderr());
        run(&mut download)?;
        for package in fs::read_dir(&scratch)? {
            run(Command::new("dpkg-deb").arg("--extract").arg(package?.path()).arg(into))?;
        }
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.arg("--config-file").arg(self.directory.join("apt.conf"));
        apt
    }
}

/// Read after the machine's own configuration, of which it leaves only what is not set here.
fn configuration(directory: &str, arch: Arch) -> String {
    let arch = arch.debian();
    format!(
        r#"Dir::State "{directory}/state";
Dir::State::status "/dev/null";
Dir::Cache "{directory}/cache";
Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
"#
    )
}
