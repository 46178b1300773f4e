//! The programs as they hang on a cgroup whose gate is open: attached, and no gate closed.
//!
//! Knows nothing of the load. Dropped, they are detached and freed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, loaded_programs};
use conngate::{
    bpf::{load, load::Loaded, object::Object, records::Ring},
    proc::hierarchy::Hierarchy,
};
use conngate_common::{counter::Program, id::CgroupId};
use conngate_testbed::lab::Cgroup;

use crate::entries;

/// The programs of a gate whose cost everybody pays.
pub(super) const PROGRAMS: [Program; 4] = [Program::SockOps, Program::Egress, Program::Connect4, Program::Connect6];

/// Attached programs.
pub(super) struct Attached {
    _loaded: Loaded,
    _ring: Ring,
    /// The kernel's numbers of them.
    ids: BTreeSet<u32>,
}

/// What the kernel counted of one program since it was loaded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    pub(super) calls: u64,
    pub(super) nanoseconds: u64,
}

impl Attached {
    /// As the agent leaves them once everything is open.
    pub(super) fn to(cgroup: &Cgroup) -> Result<Self> {
        let others = ids();
        let hierarchy = Hierarchy::find()?;
        let (mut loaded, ring) = load::load(&Object::open(None)?, &load::Options::default())?;
        loaded.maps.write_agent(entries::agent(hierarchy.level(cgroup.path())))?;
        loaded.maps.write_gate(CgroupId(cgroup.id()?), entries::open_gate())?;
        loaded.attach(&PROGRAMS, cgroup.path(), &hierarchy.mount)?;
        let ids = ids().difference(&others).copied().collect();
        Ok(Self { _loaded: loaded, _ring: ring, ids })
    }

    /// The egress program.
    pub(super) fn egress(&self) -> Result<ProgramFd> {
        let mut programs = loaded_programs().flatten().filter(|program| self.ids.contains(&program.id()));
        let egress = programs.find(|program| program.name_as_str() == Some(Program::Egress.word()));
        Ok(egress.context("egress is not loaded")?.fd()?)
    }
}

/// What the kernel counts of the programs that are loaded while this lives, by their names.
pub(super) struct Counting {
    others: BTreeSet<u32>,
}

impl Counting {
    /// From before they are loaded.
    pub(super) fn start() -> Self {
        Self { others: ids() }
    }

    /// Since they were loaded.
    pub(super) fn statistics(&self) -> Result<BTreeMap<String, Statistics>> {
        let mut statistics = BTreeMap::new();
        for program in loaded_programs() {
            let program = program?;
            let name = program.name_as_str().unwrap_or_default().to_owned();
            if !self.others.contains(&program.id()) && PROGRAMS.iter().any(|known| known.word() == name) {
                let nanoseconds = u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX);
                statistics.insert(name, Statistics { calls: program.run_count(), nanoseconds });
            }
        }
        Ok(statistics)
    }
}

fn ids() -> BTreeSet<u32> {
    loaded_programs().flatten().map(|program| program.id()).collect()
}
