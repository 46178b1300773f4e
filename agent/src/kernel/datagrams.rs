//! Pods whose resolvers wait: the setsockopt program at the pod's own cgroup, while its gate is closed for datagrams.
//!
//! Knows nothing of gates but their cgroups. There, the program needs to ask nobody whose socket it is; pinned, it outlives
//! the agent as the hold does.

use std::{fs::File, io, path::Path};

use conngate_common::{counter::Program as Name, gate::GateState, id::CgroupId};

use super::{
    attach::unpin,
    link::Link,
    load::{Loaded, program},
    query::Hook,
};
use crate::app::error_chain;

impl Loaded {
    /// Lets resolvers in `pod` wait for an answer, where a datagram of theirs is dropped. False: they would not, and nothing
    /// is to be dropped.
    pub fn hold_datagrams(&mut self, gate: CgroupId, pod: &Path) -> bool {
        if !self.attached.contains_key(&Name::SetSockOpt) {
            return false;
        }
        if !self.datagrams.contains_key(&gate) {
            match self.attach_to_pod(gate, pod) {
                Ok(link) => drop(self.datagrams.insert(gate, link)),
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(pod = %pod.display(), error, "DNS lookups over UDP are not held");
                    return false;
                }
            }
        }
        true
    }

    /// The gate is open, or gone.
    pub fn release_datagrams(&mut self, gate: CgroupId) {
        if self.datagrams.remove(&gate).is_some()
            && let Some(pins) = &self.pins
            && let Err(error) = unpin(&pins.datagrams(gate))
        {
            tracing::warn!(gate = gate.0, %error, "the setsockopt program stays attached to the pod");
        }
    }

    /// Detaches what an earlier agent left at pods whose gate is not closed.
    pub fn forget_datagrams(&mut self) {
        let Some(pins) = self.pins.clone() else { return };
        for gate in pins.datagram_gates() {
            if self.maps.gate(gate).is_ok_and(|entry| entry.state == GateState::Holding.code()) {
                continue;
            }
            if let Err(error) = unpin(&pins.datagrams(gate)) {
                tracing::warn!(gate = gate.0, %error, "the setsockopt program stays attached to a pod");
            }
        }
    }

    /// The link, where it is not pinned.
    fn attach_to_pod(&mut self, gate: CgroupId, pod: &Path) -> io::Result<Option<Link>> {
        let path = self.pins.as_ref().map(|pins| pins.datagrams(gate));
        if let Some(path) = &path {
            if self.take_over(Name::SetSockOpt, pod, path)? {
                return Ok(None);
            }
            unpin(path)?;
        }
        let program = program(&mut self.ebpf, Name::SetSockOpt).map_err(io::Error::other)?;
        let program = program.fd().map_err(io::Error::other)?;
        let link = Link::create(&File::open(pod)?, program, Hook::SetSockOpt.attach_type())?;
        match path {
            Some(path) => link.pin(&path).map(|()| None),
            None => Ok(Some(link)),
        }
    }
}
