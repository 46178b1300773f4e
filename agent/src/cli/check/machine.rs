//! What the machine offers: kernel, rights, cgroups, and the programs' own word.
//!
//! Knows nothing of a running agent. Loads the programs to have the kernel's own word, and attaches nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use conngate_common::counter::Program;
use nix::sys::utsname::uname;

use crate::{
    bpf::{
        features::kernel_version,
        load,
        load::{LoadError, without},
        object::Object,
        pins,
        query::{Hook, Neighbours, conflict, names, neighbours},
        v1, verifier,
    },
    capabilities::NEEDED,
    cli::Programs,
    errors::error_chain,
    printable::printable,
    proc::{
        hierarchy::{Hierarchy, HierarchyError},
        kubepods::Kubepods,
    },
    view::check::{Finding, Level, Subject},
};

/// All findings: of the own cgroup, which `conngate run` gates, and of `kubepods`, which the agent does.
pub(super) fn findings(options: &Programs, kubepods: Option<&Kubepods>, bpffs: &Path) -> Vec<Finding> {
    let mut findings = vec![kernel()];
    findings.extend(capabilities());
    let hierarchy = Hierarchy::find();
    findings.push(cgroup2(&hierarchy));
    findings.extend(programs(options));
    if let Ok(hierarchy) = &hierarchy {
        let known = Known { ours: pins::programs(bpffs), names: names() };
        match hierarchy.own() {
            Ok(own) => findings.extend(known.findings("this process's cgroup", &own, hierarchy)),
            Err(error) => {
                let means = "nothing can be attached";
                findings.push(Finding::new(Level::Fail, Subject::Neighbours, error_chain(&error), means));
            }
        }
        let pods = kubepods.into_iter();
        findings.extend(pods.flat_map(|kubepods| known.findings("kubepods", &kubepods.path, hierarchy)));
    }
    findings
}

fn kernel() -> Finding {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let level = if kernel_version() >= (5, 10) { Level::Ok } else { Level::Fail };
    Finding::new(
        level,
        Subject::Kernel,
        release,
        "5.10 or later is required; what counts is whether it accepts the programs",
    )
}

fn capabilities() -> Vec<Finding> {
    let effective = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
    let finding = |(capability, purpose): (caps::Capability, &str)| {
        let has = effective.contains(&capability);
        let (level, found) = if has { (Level::Ok, "present") } else { (Level::Fail, "missing") };
        Finding::new(level, Subject::Capability, format!("{capability} {found}"), format!("needed to {purpose}"))
    };
    NEEDED.into_iter().map(finding).collect()
}

fn cgroup2(hierarchy: &Result<Hierarchy, HierarchyError>) -> Finding {
    let failed = |error: &HierarchyError| {
        Finding::new(Level::Fail, Subject::Cgroup2, error_chain(error), "programs cannot be attached")
    };
    let hierarchy = match hierarchy {
        Ok(hierarchy) => hierarchy,
        Err(error) => return failed(error),
    };
    match hierarchy.own() {
        Ok(own) => {
            let found = format!("mounted at {}, own cgroup {}", hierarchy.mount.display(), own.display());
            Finding::new(Level::Ok, Subject::Cgroup2, found, "programs are attached there")
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
        Err(error) => {
            return vec![Finding::new(Level::Fail, Subject::Program, error_chain(&error), "nothing can be held")];
        }
    };
    let accepted = Program::ALL.iter().filter(|program| !loaded.is_refused(**program)).map(|program| {
        let cost = costs
            .get(program)
            .map(|cost| format!(", {} instructions verified, {} bytes of stack", cost.instructions, cost.stack));
        Finding::new(
            Level::Ok,
            Subject::Program,
            format!("{program}{}", cost.unwrap_or_default()),
            "accepted by the verifier",
        )
    });
    let accepted: Vec<_> = accepted.collect();
    let lacks = loaded.lacks().into_iter().map(|lack| (Level::Warn, lack));
    let lacks = lacks.chain(v1::lack().map(|lack| (Level::Fail, lack)));
    let lacks = lacks
        .map(|(level, lack)| Finding::new(level, Subject::Lacks, format!("{}, {}", lack.what, lack.why), lack.means));
    accepted.into_iter().chain(lacks).collect()
}

/// What is known of programs that are attached.
struct Known {
    /// The ids of those that an agent has pinned.
    ours: BTreeSet<u32>,
    /// The name of each.
    names: BTreeMap<u32, String>,
}

impl Known {
    /// Who else is attached above `gated`, which goes by the name of `place`: one finding where all share, and one for each
    /// hook where that is not so.
    fn findings(&self, place: &str, gated: &Path, hierarchy: &Hierarchy) -> Vec<Finding> {
        let (mut findings, mut others) = (Vec::new(), Vec::new());
        for hook in Hook::ALL {
            let finding =
                |level, found, means| Finding::new(level, Subject::Neighbours, format!("{place}: {found}"), means);
            let found = conflict(gated, &hierarchy.mount, hook)
                .and_then(|conflict| Ok((conflict, neighbours(gated, &hierarchy.mount, hook)?)));
            match found {
                Err(error) => {
                    findings.push(finding(
                        Level::Warn,
                        format!("{}: {error}", hook.name()),
                        "conflicts cannot be detected",
                    ));
                }
                Ok((None, found)) => others.extend(self.others(hook, &found)),
                Ok((Some(conflict), _)) => {
                    let level = if hook == Hook::Egress { Level::Fail } else { Level::Warn };
                    let program = Program::ALL.iter().find(|program| Hook::of(**program) == hook);
                    findings.push(finding(level, conflict, program.map_or("", |program| without(*program))));
                }
            }
        }
        if findings.is_empty() {
            let (found, means) = match others.as_slice() {
                [] => ("no other programs".to_owned(), "conngate is alone at its hooks"),
                others => (others.join(", "), "programs share the hooks"),
            };
            findings.push(Finding::new(Level::Ok, Subject::Neighbours, format!("{place}: {found}"), means));
        }
        findings
    }

    /// Those at `hook` that are not ours, in words.
    fn others(&self, hook: Hook, found: &[Neighbours]) -> Option<String> {
        let programs = found.iter().flat_map(|neighbours| &neighbours.programs);
        let others: Vec<_> = programs.filter(|id| !self.ours.contains(id)).map(|id| self.name(*id)).collect();
        (!others.is_empty()).then(|| format!("{} other at {} ({})", others.len(), hook.name(), others.join(", ")))
    }

    fn name(&self, id: u32) -> String {
        match self.names.get(&id) {
            Some(name) if !name.is_empty() => printable(name, 32),
            Some(_) | None => format!("program {id}"),
        }
    }
}
