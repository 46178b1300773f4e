//! What the machine offers: kernel, rights, cgroups, and the programs' own word.
//!
//! Knows nothing of a running agent. Loads the programs to have the kernel's own word, and attaches nothing.

use std::{io, path::Path};

use conngate_common::counter::Program;
use nix::sys::utsname::uname;

use super::{Finding, Level};
use crate::{
    app::error_chain,
    capabilities::NEEDED,
    cgroup::{
        hierarchy::{Hierarchy, HierarchyError},
        kubepods::Kubepods,
    },
    cli::Programs,
    kernel::{
        features::Features,
        load::{self, LoadError},
        object::Object,
        query::{Hook, neighbours},
    },
};

/// All findings: of the own cgroup, which `conngate run` gates, and of `kubepods`, which the agent does.
pub(super) fn findings(options: &Programs, kubepods: Option<&Kubepods>) -> Vec<Finding> {
    let mut findings = vec![kernel()];
    findings.extend(capabilities());
    let hierarchy = Hierarchy::find();
    findings.push(cgroup2(&hierarchy));
    let probed = Features::probe();
    findings.push(btf(&probed));
    findings.push(programs(options));
    if let Ok(hierarchy) = &hierarchy {
        match hierarchy.own() {
            Ok(own) => findings.extend(Hook::ALL.map(|hook| neighbour(&own, hierarchy, hook))),
            Err(error) => {
                let means = "nothing can be attached";
                findings.push(Finding::new(Level::Fail, "neighbours", error_chain(&error), means));
            }
        }
        let pods = kubepods.into_iter().flat_map(|kubepods| Hook::ALL.map(|hook| (&kubepods.path, hook)));
        findings.extend(pods.map(|(path, hook)| neighbour(path, hierarchy, hook)));
    }
    findings.extend(probed.iter().flat_map(features));
    findings
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

fn programs(programs: &Programs) -> Finding {
    let loaded = Object::open(programs.bpf_object.as_deref())
        .map_err(LoadError::from)
        .and_then(|object| load::load(&object, programs.bpf_log, None, None));
    match loaded {
        Ok(_) => {
            let names: Vec<_> = Program::ALL.iter().map(|program| program.word()).collect();
            Finding::new(Level::Ok, "programs", names.join(", "), "accepted by the verifier")
        }
        Err(error) => Finding::new(Level::Fail, "programs", error_chain(&error), "nothing can be held"),
    }
}

/// Who else is attached at `hook` above the cgroup that is to be gated.
fn neighbour(gated: &Path, hierarchy: &Hierarchy, hook: Hook) -> Finding {
    let name = format!("{} at {}", hook.name(), gated.display());
    match neighbours(gated, &hierarchy.mount, hook) {
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
                    Hook::SetSockOpt => Finding::new(Level::Warn, "neighbours", found, "DNS lookups are not held"),
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
