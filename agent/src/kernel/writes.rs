//! What should be in the maps: a write that failed is tried again until it succeeds, or a later one of the same key does.
//!
//! Knows nothing of what it means.

use std::collections::BTreeMap;

use conngate_common::{
    gate::{ContainerClass, ContainerEntry, GateEntry},
    id::CgroupId,
};

use super::{load::Loaded, maps::MapAccessError};
use crate::app::error_chain;

/// The writes that failed, each with the last error; `None`: the entry is to go.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    gates: BTreeMap<CgroupId, (Option<GateEntry>, String)>,
    containers: BTreeMap<CgroupId, (Option<ContainerClass>, String)>,
}

impl Loaded {
    /// A pod's gate is this one, or there is none.
    pub fn set_gate(&mut self, gate: CgroupId, entry: Option<GateEntry>) {
        let written = match entry {
            Some(entry) => self.maps.write_gate(gate, entry),
            None => self.maps.remove_gate(gate),
        };
        keep(&mut self.unwritten.gates, gate, entry, written);
    }

    /// A container is of this class, or is gone.
    pub fn set_container(&mut self, container: CgroupId, class: Option<ContainerClass>) {
        let written = match class {
            Some(class) => self.maps.write_container(container, ContainerEntry { class: class.code() }),
            None => self.maps.remove_container(container),
        };
        keep(&mut self.unwritten.containers, container, class, written);
    }

    /// Tries again what failed.
    pub fn write_again(&mut self) {
        for (gate, (entry, _)) in self.unwritten.gates.clone() {
            self.set_gate(gate, entry);
        }
        for (container, (class, _)) in self.unwritten.containers.clone() {
            self.set_container(container, class);
        }
    }

    /// What the maps lack, and why; `None`: nothing.
    #[must_use]
    pub fn unwritten(&self) -> Option<String> {
        let Unwritten { gates, containers } = &self.unwritten;
        let why = gates.values().map(|(_, why)| why).chain(containers.values().map(|(_, why)| why)).next()?;
        Some(format!("not written, and tried again: {} gates, {} containers: {why}", gates.len(), containers.len()))
    }
}

/// Remembers a write that failed, and forgets one that did not. Said in the log when it is news.
fn keep<T>(
    unwritten: &mut BTreeMap<CgroupId, (T, String)>,
    key: CgroupId,
    entry: T,
    written: Result<(), MapAccessError>,
) {
    match written {
        Ok(()) => drop(unwritten.remove(&key)),
        Err(error) => {
            let error = error_chain(&error);
            if unwritten.insert(key, (entry, error.clone())).is_none() {
                tracing::error!(cgroup = key.0, error, "the kernel's entry stays as it was, and is tried again");
            }
        }
    }
}
