//! `conngate check`: can this machine hold connections? One line per finding, with what it means.
//!
//! Knows nothing of a running agent. Loads the programs to have the kernel's own word, and attaches nothing.

use std::io;

use clap::{Args, ValueEnum};
use conngate_common::counter::Program;
use nix::sys::utsname::uname;
use serde_json::json;

use super::{Common, Output};
use crate::{
    app::error_chain,
    capabilities::NEEDED,
    cgroup::hierarchy::{Hierarchy, HierarchyError},
    exit::Exit,
    kernel::{
        features::Features,
        load::{self, LoadError},
        object::Object,
        query::{Hook, neighbours},
    },
};

/// Version of the JSON shape.
const SHAPE: u32 = 1;

/// Options of `conngate check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 when nothing fails (warnings included), 1 otherwise.")]
pub struct Options {
    /// What every verb understands.
    #[command(flatten)]
    pub common: Common,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// As it should be.
    Ok,
    /// Something works less well; the finding says what.
    Warn,
    /// conngate cannot hold connections here.
    Fail,
}

struct Finding {
    level: Level,
    subject: &'static str,
    found: String,
    means: String,
}

impl Finding {
    fn new(level: Level, subject: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level, subject, found: found.into(), means: means.into() }
    }

    const fn word(&self) -> &'static str {
        match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// Prints all findings.
#[must_use]
pub fn check(options: &Options) -> Exit {
    let mut findings = vec![kernel()];
    findings.extend(capabilities());
    let hierarchy = Hierarchy::find();
    findings.push(cgroup2(&hierarchy));
    let probed = Features::probe();
    findings.push(btf(&probed));
    findings.push(programs(&options.common));
    if let Ok(hierarchy) = &hierarchy {
        findings.extend(Hook::ALL.map(|hook| neighbour(hierarchy, hook)));
    }
    findings.extend(probed.iter().flat_map(features));
    print(options.common.output, &findings);
    if findings.iter().any(|finding| finding.level == Level::Fail) { Exit::CheckFailed } else { Exit::Success }
}

fn kernel() -> Finding {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let level = if version >= (5, 10) { Level::Ok } else { Level::Fail };
    Finding::new(level, "kernel", release, "5.10 or later is needed")
}

fn capabilities() -> Vec<Finding> {
    let effective = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
    let finding = |(capability, purpose): (caps::Capability, &str)| {
        let has = effective.contains(&capability);
        let (level, found) = if has { (Level::Ok, "present") } else { (Level::Fail, "missing") };
        Finding::new(level, "capability", format!("{capability} {found}"), format!("needed to {purpose}"))
    };
    NEEDED.into_iter().map(finding).collect()
}

fn cgroup2(hierarchy: &Result<Hierarchy, HierarchyError>) -> Finding {
    let failed = |error: &HierarchyError| {
        Finding::new(Level::Fail, "cgroup2", error_chain(error), "programs cannot be attached")
    };
    let hierarchy = match hierarchy {
        Ok(hierarchy) => hierarchy,
        Err(error) => return failed(error),
    };
    match hierarchy.own() {
        Ok(own) => {
            let found = format!("mounted at {}, own cgroup {}", hierarchy.mount.display(), own.display());
            Finding::new(Level::Ok, "cgroup2", found, "programs are attached there")
        }
        Err(error) => failed(&error),
    }
}

fn btf(probed: &io::Result<Features>) -> Finding {
    match probed {
        Ok(_) => Finding::new(Level::Ok, "btf", "readable", "describes the kernel's types"),
        Err(error) => Finding::new(Level::Fail, "btf", error.to_string(), "CONFIG_DEBUG_INFO_BTF=y is needed"),
    }
}

fn programs(common: &Common) -> Finding {
    let loaded = Object::open(common.programs.bpf_object.as_deref())
        .map_err(LoadError::from)
        .and_then(|object| load::load(&object, common.programs.bpf_log, None));
    match loaded {
        Ok(_) => {
            let names: Vec<_> = Program::ALL.iter().map(|program| program.word()).collect();
            Finding::new(Level::Ok, "programs", names.join(", "), "accepted by the verifier")
        }
        Err(error) => Finding::new(Level::Fail, "programs", error_chain(&error), "nothing can be held"),
    }
}

fn neighbour(hierarchy: &Hierarchy, hook: Hook) -> Finding {
    let own = match hierarchy.own() {
        Ok(own) => own,
        Err(error) => return Finding::new(Level::Fail, "neighbours", error_chain(&error), "nothing can be attached"),
    };
    let name = hook.name();
    match neighbours(&own, &hierarchy.mount, hook) {
        Err(error) => Finding::new(Level::Warn, "neighbours", format!("{name}: {error}"), "conflicts cannot be seen"),
        Ok(found) => match found.iter().find(|neighbour| neighbour.exclusive) {
            None => {
                let programs: u32 = found.iter().map(|neighbour| neighbour.programs).sum();
                Finding::new(Level::Ok, "neighbours", format!("{name}: {programs} other"), "programs share the hook")
            }
            Some(exclusive) => {
                let found = format!("{name}: {} holds it for itself", exclusive.cgroup.display());
                match hook {
                    Hook::Connect4 | Hook::Connect6 => Finding::new(
                        Level::Warn,
                        "neighbours",
                        found,
                        "held connections are not attributed to a process",
                    ),
                    Hook::Egress | Hook::SockOps => {
                        Finding::new(Level::Fail, "neighbours", found, "nothing can be held below it")
                    }
                }
            }
        },
    }
}

fn features(features: &Features) -> [Finding; 2] {
    let listeners = if features.netns_cookie {
        Finding::new(Level::Ok, "listeners", "told apart by network namespace", "a listener wakes only its own gate")
    } else {
        Finding::new(
            Level::Warn,
            "listeners",
            "kernel before 5.15",
            "a listener wakes every gate, which costs a probe each",
        )
    };
    let budget = if features.syn_retries_offset != 0 {
        Finding::new(Level::Ok, "syn budget", "TCP_SYNCNT is visible", "the application's own value is kept")
    } else {
        let means =
            "held connections follow the kernel's own back-off, up to 2 minutes between attempts without conngate";
        Finding::new(Level::Warn, "syn budget", "TCP_SYNCNT is not visible", means)
    };
    [listeners, budget]
}

fn print(output: Output, findings: &[Finding]) {
    match output {
        Output::Text => {
            for finding in findings {
                println!("{:<5} {:<11} {}: {}", finding.word(), finding.subject, finding.found, finding.means);
            }
        }
        Output::Json => {
            let findings: Vec<_> = findings
                .iter()
                .map(|finding| {
                    json!({
                        "level": finding.word(),
                        "subject": finding.subject,
                        "found": finding.found,
                        "means": finding.means,
                    })
                })
                .collect();
            println!("{}", json!({ "version": SHAPE, "findings": findings }));
        }
    }
}
