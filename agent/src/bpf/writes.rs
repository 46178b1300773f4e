//! Writes of single entries: what failed is named, and is for the core to do again.

use conngate_common::{
    gate::{ContainerClass, ContainerEntry, GateEntry},
    id::CgroupId,
};

use super::{load::Loaded, maps::MapAccessError};
use crate::errors::error_chain;

impl Loaded {
    /// A pod's gate is this one, or there is none. False: the kernel has another one.
    #[must_use]
    pub fn set_gate(&mut self, gate: CgroupId, entry: Option<GateEntry>) -> bool {
        let written = match entry {
            Some(entry) => self.maps.write_gate(gate, entry),
            None => self.maps.remove_gate(gate),
        };
        self.is_written(gate, written)
    }

    /// A container is of this class, or is gone. False: the kernel has another one.
    #[must_use]
    pub fn set_container(&mut self, container: CgroupId, class: Option<ContainerClass>) -> bool {
        let written = match class {
            Some(class) => self.maps.write_container(container, ContainerEntry { class: class.code() }),
            None => self.maps.remove_container(container),
        };
        self.is_written(container, written)
    }

    /// Why the last write failed that did.
    #[must_use]
    pub fn write_error(&self) -> &str {
        &self.write_error
    }

    fn is_written(&mut self, cgroup: CgroupId, written: Result<(), MapAccessError>) -> bool {
        let Err(error) = written else { return true };
        let error = error_chain(&error);
        // It is tried again four times a second.
        if error != self.write_error {
            tracing::error!(cgroup = cgroup.0, error, "cannot write an entry to the kernel's map, will retry");
        }
        self.write_error = error;
        false
    }
}
