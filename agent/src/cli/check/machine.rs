//! What the machine offers: kernel, rights, cgroups, and the programs' own word.
//!
//! Knows nothing of a running agent. Loads the programs to have the kernel's own word, and attaches nothing.

use std::path::Path;

use conngate_common::counter::Program;
use nix::sys::utsname::uname;

use super::{Finding, Level};
use crate::{
    bpf::{
        features::kernel_version,
        load,
        load::{LoadError, without},
        object::Object,
        query::{Hook, conflict, neighbours},
        v1, verifier,
    },
    capabilities::NEEDED,
    cli::Programs,
    errors::error_chain,
    proc::{
        hierarchy::{Hierarchy, HierarchyError},
        kubepods::Kubepods,
    },
};

/// All findings: of the own cgroup, which `conngate run` gates, and of `kubepods`, which the agent does.
pub(super) fn findings(options: &Programs, kubepods: Option<&Kubepods>) -> Vec<Finding> {
    let mut findings = vec![kernel()];
    findings.extend(capabilities());
    let hierarchy = Hierarchy::find();
    findings.push(cgroup2(&hierarchy));
    findings.extend(programs(options));
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
    findings
}

fn kernel() -> Finding {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let level = if kernel_version() >= (5, 10) { Level::Ok } else { Level::Fail };
    Finding::new(level, "kernel", release, "5.10 or later is needed; what counts is whether it accepts the programs")
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

/// What the kernel says of the programs, and what it lacks beside them.
fn programs(programs: &Programs) -> Vec<Finding> {
    let loaded = Object::open(programs.bpf_object.as_deref()).map_err(LoadError::from).and_then(|object| {
        let options = load::Options { log_level: programs.bpf_log, ..Default::default() };
        let (loaded, _ring) = load::load(&object, &options)?;
        Ok((verifier::costs(&object, &loaded.features)?, loaded))
    });
    let (costs, loaded) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return vec![Finding::new(Level::Fail, "program", error_chain(&error), "nothing can be held")],
    };
    let accepted = Program::ALL.iter().filter(|program| !loaded.is_refused(**program)).map(|program| {
        let cost = costs
            .get(program)
            .map(|cost| format!(", {} instructions verified, {} bytes of stack", cost.instructions, cost.stack));
        Finding::new(Level::Ok, "program", format!("{program}{}", cost.unwrap_or_default()), "accepted by the verifier")
    });
    let accepted: Vec<_> = accepted.collect();
    let lacks = loaded.lacks().into_iter().map(|lack| (Level::Warn, lack));
    let lacks = lacks.chain(v1::lack().map(|lack| (Level::Fail, lack)));
    let lacks =
        lacks.map(|(level, lack)| Finding::new(level, "lacks", format!("{}, {}", lack.what, lack.why), lack.means));
    accepted.into_iter().chain(lacks).collect()
}

/// Who else is attached at `hook` above the cgroup that is to be gated.
fn neighbour(gated: &Path, hierarchy: &Hierarchy, hook: Hook) -> Finding {
    let name = format!("{} at {}", hook.name(), gated.display());
    let finding = |level, found, means| Finding::new(level, "neighbours", found, means);
    let found = conflict(gated, &hierarchy.mount, hook)
        .and_then(|conflict| Ok((conflict, neighbours(gated, &hierarchy.mount, hook)?)));
    match found {
        Err(error) => finding(Level::Warn, format!("{name}: {error}"), "conflicts cannot be seen"),
        Ok((None, others)) => {
            let programs: u32 = others.iter().map(|neighbour| neighbour.programs).sum();
            finding(Level::Ok, format!("{name}: {programs} other"), "programs share the hook")
        }
        Ok((Some(conflict), _)) => {
            let level = if hook == Hook::Egress { Level::Fail } else { Level::Warn };
            let program = Program::ALL.iter().find(|program| Hook::of(**program) == hook);
            finding(level, format!("{name}: {conflict}"), program.map_or("", |program| without(*program)))
        }
    }
}
