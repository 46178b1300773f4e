//! A pod as the core knows it: what follows from its object alone is decided here.

use std::collections::BTreeMap;

use conngate_common::gate::ContainerClass;
use conngate_core::pod::{Ask, Container, Pod as CorePod, Remark, Started};

use super::{
    annotations::{self, ask, unknown_keys},
    defaults::Defaults,
    no_gate::{AskedBy, NoGate, NotAsked},
    pod::{ContainerKind, PREFIX, Pod},
    presets::Proxy,
    sidecar::Sidecar,
};
use crate::clock;

/// What follows from a pod's object.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// For the core.
    pub core: CorePod,
    /// Why it cannot have the gate that it asks for, and who asks.
    pub cannot: Option<(NoGate, AskedBy)>,
    /// Its proxy, and whether that is a native sidecar; `None`: none of a mesh, or it asks for no gate.
    pub proxy: Option<(Proxy, bool)>,
    /// Where the gate's values come from, by the last part of the annotations' keys.
    pub origins: BTreeMap<String, String>,
}

/// What `pod` asks for, given the node's `defaults`, and what its containers are.
#[must_use]
pub fn resolve(pod: &Pod, defaults: &Defaults) -> Resolved {
    let (mut remarks, mut cannot) = (Vec::new(), None);
    let (gate, ask) = match ask(pod, defaults) {
        Ok(annotations::Ask::Gate(gate)) => {
            let spec = Box::new(gate.spec.clone());
            (Some(gate), Ask::Gate(spec))
        }
        Ok(annotations::Ask::None(why @ NotAsked::NamespaceUnknown)) => {
            (None, Ask::Undecided(why.explanation().to_owned()))
        }
        Ok(annotations::Ask::None(why)) => (None, Ask::None(why.explanation().to_owned())),
        Ok(annotations::Ask::Cannot(why, by)) => {
            cannot = Some((why, by));
            if by == AskedBy::Annotation {
                remarks.push(Remark::NotGated(why.explanation().to_owned()));
            }
            (None, Ask::None(why.explanation().to_owned()))
        }
        Err(bad) => {
            cannot = Some((NoGate::InvalidAnnotation, AskedBy::Annotation));
            remarks.push(Remark::NotGated(bad.to_string()));
            (None, Ask::None(bad.to_string()))
        }
    };
    let unknown = unknown_keys(pod);
    if !unknown.is_empty() {
        remarks.push(Remark::UnknownAnnotations(unknown));
    }
    let class = |name: &str, kind| gate.as_ref().map_or(ContainerClass::Exempt, |gate| gate.class_of(name, kind));
    let containers = pod.containers.iter().map(|container| Container {
        name: container.name.clone(),
        class: class(&container.name, container.kind),
        id: container.id.clone(),
        is_ready_proxy: container.ready && gate.as_ref().is_some_and(|gate| gate.is_proxy(&container.name)),
        started: container.started.as_ref().and_then(|(at, id)| {
            let at = clock::monotonic(*at)?;
            Some(Started { at, id: id.clone() })
        }),
    });
    let core = CorePod {
        uid: pod.uid,
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        ask,
        containers: containers.collect(),
        unlisted: class("", ContainerKind::Ephemeral),
        ending: pod.terminating || pod.finished,
        finished: pod.finished,
        remarks,
    };
    let proxy = gate.as_ref().and_then(|gate| gate.proxy).map(|proxy| {
        let is_native = |sidecar: &Sidecar| sidecar.proxy == proxy && sidecar.native;
        (proxy, pod.sidecars.iter().any(is_native))
    });
    let short = |key: &str| key.trim_start_matches(PREFIX).to_owned();
    let origins = gate.iter().flat_map(|gate| &gate.origins).map(|(key, origin)| (short(key), origin.to_string()));
    Resolved { core, cannot, proxy, origins: origins.collect() }
}

#[cfg(test)]
mod tests;
