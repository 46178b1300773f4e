//! xtask/vm/kernels.toml: the kernels, the tests that are left out on them, and the core of the tests.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::accelerator::Accelerator;
use crate::workspace::root;

/// Where it is, relative to the checkout.
pub(crate) const FILE: &str = "xtask/vm/kernels.toml";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Pins {
    kernel: Vec<Pin>,
    #[serde(default)]
    left_out: Vec<LeftOut>,
    /// The tests of `--core`.
    core: BTreeSet<String>,
}

/// A kernel as it was last run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// What it is called on the command line: its series, or [`NEWEST`].
    pub(crate) name: String,
    /// The suite of Debian's archive that has it.
    pub(crate) suite: String,
    /// What `uname -r` says, without the flavour.
    pub(crate) release: String,
    /// The version of its packages.
    pub(crate) version: String,
}

/// The kernel that is the latest of its suite, whatever its series.
pub(crate) const NEWEST: &str = "newest";

/// A test that is not run in a guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeftOut {
    /// Its program and its name, with a `/` between.
    pub(crate) test: String,
    pub(crate) why: String,
    /// On which kernels; on all when absent.
    #[serde(default)]
    pub(crate) kernels: BTreeSet<String>,
    /// Only where the guest is emulated.
    #[serde(default)]
    pub(crate) emulated: bool,
}

impl Pins {
    /// Reads the file.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text).with_context(|| FILE.to_owned())
    }

    fn parse(text: &str) -> Result<Self> {
        let pins: Self = toml::from_str(text)?;
        let names: BTreeSet<_> = pins.kernel.iter().map(|pin| &pin.name).collect();
        if names.len() != pins.kernel.len() {
            bail!("two kernels have one name");
        }
        for left_out in &pins.left_out {
            if let Some(unknown) = left_out.kernels.iter().find(|name| !names.contains(name)) {
                bail!("{} is left out on {unknown:?}, which is no kernel here", left_out.test);
            }
        }
        Ok(pins)
    }

    /// The kernels of these names, in the order of the file; all for `all`, the newest for no names.
    pub(crate) fn chosen(&self, names: &[String], all: bool) -> Result<Vec<&Pin>> {
        let newest = [NEWEST.to_owned()];
        let names = if names.is_empty() { &newest } else { names };
        if let Some(unknown) = names.iter().find(|name| self.kernel.iter().all(|pin| pin.name != **name)) {
            let known: Vec<_> = self.kernel.iter().map(|pin| pin.name.as_str()).collect();
            bail!("no kernel {unknown:?}; there are {}", known.join(", "));
        }
        Ok(self.kernel.iter().filter(|pin| all || names.contains(&pin.name)).collect())
    }

    /// The names of all kernels, in the order of the file.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.kernel.iter().map(|pin| pin.name.as_str()).collect()
    }

    /// What is left out of the tests on the kernel `name`.
    pub(crate) fn left_out(&self, name: &str, accelerator: Accelerator) -> BTreeSet<String> {
        let applies = |left_out: &&LeftOut| {
            (left_out.kernels.is_empty() || left_out.kernels.contains(name))
                && (!left_out.emulated || accelerator == Accelerator::Tcg)
        };
        self.left_out.iter().filter(applies).map(|left_out| left_out.test.clone()).collect()
    }

    /// Every test that is left out somewhere.
    pub(crate) fn exceptions(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The tests of `--core`.
    pub(crate) fn core(&self) -> &BTreeSet<String> {
        &self.core
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        core = ["kernel/hold::a"]
        [[kernel]]
        name = "6.1"
        suite = "s"
        release = "6.1.0-56"
        version = "6.1.192-2"
        [[kernel]]
        name = "newest"
        suite = "t"
        release = "7.3.4+deb13"
        version = "7.3.4-1"
        [[left-out]]
        test = "kernel/hold::b"
        why = "no browser"
        [[left-out]]
        test = "kernel/hold::c"
        why = "slow"
        kernels = ["6.1"]
        emulated = true
    "#;

    fn names(pins: &[&Pin]) -> Vec<String> {
        pins.iter().map(|pin| pin.name.clone()).collect()
    }

    #[test]
    fn read_committed_file_is_well_formed() {
        let pins = Pins::read().unwrap();
        assert!(!pins.core.is_empty());
        assert!(pins.names().contains(&NEWEST));
    }

    #[test]
    fn chosen_names_all_or_the_newest() {
        let pins = Pins::parse(TEXT).unwrap();
        assert_eq!(names(&pins.chosen(&[], false).unwrap()), ["newest"]);
        assert_eq!(names(&pins.chosen(&["6.1".to_owned()], false).unwrap()), ["6.1"]);
        assert_eq!(names(&pins.chosen(&[], true).unwrap()), ["6.1", "newest"]);
        let error = pins.chosen(&["4.19".to_owned()], false).unwrap_err().to_string();
        assert_eq!(error, "no kernel \"4.19\"; there are 6.1, newest");
    }

    #[test]
    fn left_out_depends_on_kernel_and_accelerator() {
        let pins = Pins::parse(TEXT).unwrap();
        assert_eq!(pins.left_out("6.1", Accelerator::Tcg).len(), 2);
        assert_eq!(pins.left_out("6.1", Accelerator::Kvm).len(), 1);
        assert_eq!(pins.left_out("newest", Accelerator::Tcg).len(), 1);
    }

    #[test]
    fn parse_left_out_on_an_unknown_kernel_is_an_error() {
        assert!(Pins::parse(&TEXT.replace(r#"kernels = ["6.1"]"#, r#"kernels = ["6.2"]"#)).is_err());
        assert!(Pins::parse(&TEXT.replace("emulated", "emulates")).is_err());
    }
}
