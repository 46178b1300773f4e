//! Pods whose resolvers wait: the setsockopt program at the pod's own cgroup, while its gate is closed for datagrams.
//!
//! Knows nothing of gates but their cgroups. There, the program needs to ask nobody whose socket it is; pinned, it outlives
//! the agent as the hold does.

use std::path::Path;

use conngate_common::{counter::Program as Name, gate::CapturePorts, id::CgroupId};

use super::{
    attach::AttachError,
    link::Link,
    load::Loaded,
    pins::{self, Pins},
};
use crate::errors::error_chain;

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
            && let Err(error) = pins::remove(&pins.datagrams(gate))
        {
            tracing::warn!(gate = gate.0, %error, "the setsockopt program stays attached to the pod");
        }
    }

    /// The pods whose datagrams are not held, and to which the program is attached all the same: an earlier agent left it.
    pub(super) fn stale_datagrams(&self, pins: &Pins) -> impl Iterator<Item = CgroupId> {
        let held = |gate| self.maps.gate(gate).is_ok_and(|entry| entry.datagram_ports != CapturePorts::default());
        pins.datagram_gates().into_iter().filter(move |gate| !self.datagrams.contains_key(gate) && !held(*gate))
    }

    /// The link, where it is not pinned.
    fn attach_to_pod(&mut self, gate: CgroupId, pod: &Path) -> Result<Option<Link>, AttachError> {
        let path = self.pins.as_ref().map(|pins| pins.datagrams(gate));
        if path.as_ref().is_some_and(|path| self.take_over(Name::SetSockOpt, pod, path)) {
            return Ok(None);
        }
        let link = self.link(Name::SetSockOpt, pod)?;
        // Where that fails, `Loaded::pin` tries again, and says so.
        let pinned = path.is_some_and(|path| pins::pin(&link, &path).is_ok());
        Ok((!pinned).then_some(link))
    }
}
