//! A pod as the core knows it: what follows from its object alone is decided here.

use conngate_common::gate::ContainerClass;
use conngate_core::pod::{Ask, Container, Pod as Resolved, Remark};

use super::{
    annotations::{self, NotAsked, ask, unknown_keys},
    defaults::Defaults,
    pod::{ContainerKind, Pod},
};

/// What `pod` asks for, given the node's `defaults`, and what its containers are.
#[must_use]
pub fn resolve(pod: &Pod, defaults: &Defaults) -> Resolved {
    let mut remarks = Vec::new();
    let (gate, ask) = match ask(pod, defaults) {
        Ok(annotations::Ask::Gate(gate)) => {
            let spec = Box::new(gate.spec.clone());
            (Some(gate), Ask::Gate(spec))
        }
        Ok(annotations::Ask::None(why @ NotAsked::NamespaceUnknown)) => {
            (None, Ask::Undecided(why.explanation().to_owned()))
        }
        Ok(annotations::Ask::None(why)) => (None, Ask::None(why.explanation().to_owned())),
        Err(bad) => {
            remarks.push(Remark::InvalidAnnotation(bad.to_string()));
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
        is_ready_proxy: container.ready && gate.as_ref().is_some_and(|gate| gate.proxy.runs_in(&container.name)),
    });
    Resolved {
        uid: pod.uid,
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        ask,
        containers: containers.collect(),
        unlisted: class("", ContainerKind::Ephemeral),
        ending: pod.terminating || pod.finished,
        finished: pod.finished,
        remarks,
    }
}
