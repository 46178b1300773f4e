//! `check`: what was found, what it means, and what to do about it.

use serde::{Deserialize, Serialize};

/// The result of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Checked {
    /// [`super::VERSION`].
    pub version: u32,
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// With these findings.
    #[must_use]
    pub const fn new(findings: Vec<Finding>) -> Self {
        Self { version: super::VERSION, findings }
    }

    /// Whether nothing fails; warnings are fine.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != Level::Fail)
    }
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was checked.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What that means.
    pub means: String,
    /// What to do about it; null: nothing.
    #[serde(default)]
    pub hint: Option<String>,
    /// The page that says more.
    #[serde(default)]
    pub link: String,
}

impl Finding {
    /// A finding about `subject`, with its hint where there is something to do.
    #[must_use]
    pub fn new(level: Level, subject: Subject, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.word().to_owned(),
            found: found.into(),
            means: means.into(),
            hint: (level != Level::Ok).then(|| subject.hint().to_owned()),
            link: format!("{DOCS}{}", subject.page()),
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something works less well; the finding says what.
    Warn,
    /// conngate cannot hold connections there.
    Fail,
}

impl Level {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// The documents of this version.
const DOCS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/v", env!("CARGO_PKG_VERSION"), "/docs/");

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The kernel's version.
    Kernel,
    /// A capability of this process.
    Capability,
    /// The cgroup2 hierarchy.
    Cgroup2,
    /// One of the eBPF programs.
    Program,
    /// A feature of the kernel.
    Lacks,
    /// Programs of others at our hooks.
    Neighbours,
    /// The cgroup of the node's pods.
    Kubepods,
    /// What outlives an agent.
    Pins,
    /// One agent.
    Agent,
    /// The agents as a whole.
    Agents,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Kernel,
        Self::Capability,
        Self::Cgroup2,
        Self::Program,
        Self::Lacks,
        Self::Neighbours,
        Self::Kubepods,
        Self::Pins,
        Self::Agent,
        Self::Agents,
    ];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Capability => "capability",
            Self::Cgroup2 => "cgroup2",
            Self::Program => "program",
            Self::Lacks => "lacks",
            Self::Neighbours => "neighbours",
            Self::Kubepods => "kubepods",
            Self::Pins => "pins",
            Self::Agent => "agent",
            Self::Agents => "agents",
        }
    }

    /// What to do about one that is not as it should be.
    const fn hint(self) -> &'static str {
        match self {
            Self::Kernel => "use a node image with Linux 5.10 or later",
            Self::Capability => "run conngate as root, or give its container the capabilities that the chart sets",
            Self::Cgroup2 => "mount -t cgroup2 none /sys/fs/cgroup; start a container with --cgroupns=host",
            Self::Program => {
                "get the verifier's log with conngate check --bpf-log 1, and report it with conngate bugreport"
            }
            Self::Lacks => "a later kernel has it; the rest works without it",
            Self::Neighbours => {
                "whose it is: bpftool cgroup tree. Upgrade what holds the hook, and do not detach it: services may \
                 depend on it"
            }
            Self::Kubepods => "name the cgroup of this node's pods with --cgroup-root (chart: cgroupRoot)",
            Self::Pins => "mount -t bpf -o mode=0700 bpf /sys/fs/bpf, or name another BPF file system with --bpffs",
            Self::Agent => "conngate status says what it waits for, and its log why",
            Self::Agents => "kubectl -n NAMESPACE describe daemonset/conngate, and its pods",
        }
    }

    /// The page, and the part of it, that says more.
    const fn page(self) -> &'static str {
        match self {
            Self::Kernel => "kernel-support.md#where-the-tests-have-run",
            Self::Capability => "install.md#what-it-asks-for-and-why",
            Self::Cgroup2 => "install.md#what-it-needs",
            Self::Program => "runbook.md#conngateprogramsmissing",
            Self::Lacks => "kernel-support.md#what-may-be-missing",
            Self::Neighbours | Self::Kubepods => "install.md#where-things-are-different",
            Self::Pins => "upgrade.md#what-happens-on-a-node",
            Self::Agent => "runbook.md#conngatenotready",
            Self::Agents => "runbook.md#conngateagentdown",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The name by which a heading is linked to, as GitHub makes it.
    fn anchor(heading: &str) -> String {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    }

    #[test]
    fn link_of_every_subject_leads_to_a_heading() {
        for subject in Subject::ALL {
            let (page, part) = subject.page().split_once('#').unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
            let text = fs::read_to_string(&path).unwrap();
            let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
            assert!(headings.map(anchor).any(|there| there == part), "{}", subject.page());
        }
    }

    #[test]
    fn finding_that_is_well_has_a_link_and_no_hint() {
        let finding = Finding::new(Level::Ok, Subject::Pins, "none", "nothing");
        assert_eq!(finding.hint, None);
        assert!(
            finding.link.starts_with("https://") && finding.link.ends_with("docs/upgrade.md#what-happens-on-a-node")
        );
        assert!(Finding::new(Level::Warn, Subject::Pins, "none", "nothing").hint.is_some());
    }

    #[test]
    fn finding_of_an_agent_without_hints_is_read() {
        let old = r#"{"level":"warn","subject":"pins","found":"a","means":"b"}"#;
        let finding: Finding = serde_json::from_str(old).unwrap();
        assert_eq!((finding.level, finding.hint, finding.link.as_str()), (Level::Warn, None, ""));
    }
}
