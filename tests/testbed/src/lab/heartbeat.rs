//! An agent's heartbeat as the kernel's programs see it: in the pinned map `AGENT`, whether the agent answers or not.

use std::mem::offset_of;

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use conngate_common::{ABI_VERSION, gate::AgentEntry};

use super::kubelet::Node;
use crate::clock::mono_ns;

/// The map.
pub struct Heartbeat(Array<MapData, [u8; size_of::<AgentEntry>()]>);

impl Heartbeat {
    /// That of the agent on `node`, which has pinned its maps.
    pub fn open(node: &Node) -> Result<Self> {
        let path = node.bpffs().join(format!("conngate/v{ABI_VERSION}/maps/AGENT"));
        let data = MapData::from_pin(&path).with_context(|| format!("no map is pinned at {}", path.display()))?;
        Ok(Self(Map::Array(data).try_into()?))
    }

    /// For how long the agent has said nothing.
    pub fn silent_ns(&self) -> Result<u64> {
        Ok(mono_ns().saturating_sub(self.word(offset_of!(AgentEntry, heartbeat))?))
    }

    /// After how long without a word the programs take the agent for dead.
    pub fn stale_after_ns(&self) -> Result<u64> {
        self.word(offset_of!(AgentEntry, stale_after_ns))
    }

    fn word(&self, at: usize) -> Result<u64> {
        let entry = self.0.get(&0, 0)?;
        Ok(u64::from_ne_bytes(entry[at..at + 8].try_into().context("eight bytes")?))
    }
}
