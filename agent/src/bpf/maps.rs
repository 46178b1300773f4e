//! The maps that the agent writes: gates, containers, itself.
//!
//! Knows nothing of when to write what.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError},
};
use conngate_common::{
    Shared,
    gate::{AgentEntry, ContainerEntry, GateEntry},
    id::CgroupId,
};

/// How full a map is.
#[derive(Clone, Debug)]
pub struct MapFill {
    /// Its name.
    pub map: &'static str,
    /// Entries.
    pub entries: u64,
    /// Entries that it has room for.
    pub capacity: u64,
}

/// A shared value as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

// SAFETY: `Shared` guarantees that the value is plain bytes without padding; `Raw` is transparent.
unsafe impl<T: Shared> aya::Pod for Raw<T> {}

/// A map could not be found, read or written.
#[derive(Debug, thiserror::Error)]
#[error("map {map}")]
pub struct MapAccessError {
    /// Which.
    pub map: &'static str,
    /// Why.
    pub source: MapError,
}

impl MapAccessError {
    pub(super) fn of(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self { map, source }
    }
}

/// Takes `name` out of the loaded object.
pub(super) fn take<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, MapAccessError> {
    let map = ebpf.take_map(name).ok_or(MapError::InvalidName { name: name.to_owned() });
    map.and_then(T::try_from).map_err(MapAccessError::of(name))
}

/// How many entries the map has room for.
fn capacity(ebpf: &Ebpf, name: &'static str) -> Result<u64, MapAccessError> {
    let info = match ebpf.map(name) {
        Some(Map::HashMap(data)) => data.info(),
        _ => Err(MapError::InvalidName { name: name.to_owned() }),
    };
    info.map(|info| info.max_entries().into()).map_err(MapAccessError::of(name))
}

/// A map's descriptor.
#[expect(clippy::wildcard_enum_match_arm, reason = "aya has many kinds of maps, and the object has these")]
pub(super) fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(map) | Map::HashMap(map) | Map::PerCpuArray(map) | Map::RingBuf(map) | Map::SkStorage(map) => {
            Some(map.fd().as_fd())
        }
        _ => None,
    }
}

/// A descriptor of our own of the map `name`.
pub(super) fn duplicate(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, MapAccessError> {
    let map = ebpf.map(name).and_then(descriptor).ok_or(MapError::InvalidName { name: name.to_owned() });
    map.and_then(|map| Ok(map.try_clone_to_owned()?)).map_err(MapAccessError::of(name))
}

/// The maps that the agent writes.
pub struct Maps {
    gates: HashMap<MapData, u64, Raw<GateEntry>>,
    containers: HashMap<MapData, u64, Raw<ContainerEntry>>,
    agent: Array<MapData, Raw<AgentEntry>>,
    /// Of the first two.
    capacities: [u64; 2],
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapAccessError> {
        let capacities = [capacity(ebpf, "GATES")?, capacity(ebpf, "CONTAINERS")?];
        let (gates, containers) = (take(ebpf, "GATES")?, take(ebpf, "CONTAINERS")?);
        Ok(Self { gates, containers, agent: take(ebpf, "AGENT")?, capacities })
    }

    /// What an earlier agent said about itself; `None`: there was none.
    #[must_use]
    pub fn agent(&self) -> Option<AgentEntry> {
        self.agent.get(&0, 0).ok().map(|raw| raw.0).filter(|entry| entry.abi != 0)
    }

    /// Every gate that the kernel has.
    #[must_use]
    pub fn gates(&self) -> Vec<(CgroupId, GateEntry)> {
        self.gates.iter().flatten().map(|(id, raw)| (CgroupId(id), raw.0)).collect()
    }

    /// How full the maps of pods are.
    #[must_use]
    pub fn fill(&self) -> [MapFill; 2] {
        let count = |entries: usize| u64::try_from(entries).unwrap_or(u64::MAX);
        let [gates, containers] = self.capacities;
        [
            MapFill { map: "GATES", entries: count(self.gates.keys().flatten().count()), capacity: gates },
            MapFill { map: "CONTAINERS", entries: count(self.containers().len()), capacity: containers },
        ]
    }

    /// Every container that the kernel knows.
    #[must_use]
    pub fn containers(&self) -> Vec<CgroupId> {
        self.containers.keys().flatten().map(CgroupId).collect()
    }

    /// Writes a pod's gate.
    ///
    /// # Errors
    /// When the map is full.
    pub fn write_gate(&mut self, gate: CgroupId, entry: GateEntry) -> Result<(), MapAccessError> {
        self.gates.insert(gate.0, Raw(entry), 0).map_err(MapAccessError::of("GATES"))
    }

    /// Removes a pod's gate; it may be gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_gate(&mut self, gate: CgroupId) -> Result<(), MapAccessError> {
        gone(self.gates.remove(&gate.0)).map_err(MapAccessError::of("GATES"))
    }

    /// A pod's gate as the kernel has it.
    ///
    /// # Errors
    /// When there is none.
    pub fn gate(&self, gate: CgroupId) -> Result<GateEntry, MapAccessError> {
        self.gates.get(&gate.0, 0).map(|raw| raw.0).map_err(MapAccessError::of("GATES"))
    }

    /// Writes a container's class.
    ///
    /// # Errors
    /// When the map is full.
    pub fn write_container(&mut self, container: CgroupId, entry: ContainerEntry) -> Result<(), MapAccessError> {
        self.containers.insert(container.0, Raw(entry), 0).map_err(MapAccessError::of("CONTAINERS"))
    }

    /// Removes a container; it may be gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_container(&mut self, container: CgroupId) -> Result<(), MapAccessError> {
        gone(self.containers.remove(&container.0)).map_err(MapAccessError::of("CONTAINERS"))
    }

    /// Writes what the agent says about itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn write_agent(&mut self, entry: AgentEntry) -> Result<(), MapAccessError> {
        self.agent.set(0, Raw(entry), 0).map_err(MapAccessError::of("AGENT"))
    }
}

fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
