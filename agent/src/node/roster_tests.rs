//! The roster, one rule a test: which acts follow from which halves of a pod.

use std::sync::Arc;

use conngate_common::{
    gate::{ContainerClass, Mode},
    id::CgroupId,
};

use super::*;
use crate::{
    cgroup::layout::Qos,
    pods::{
        defaults::Selection,
        pod::{Container, NamespaceMeta},
        testing,
    },
};

const GATE: CgroupId = CgroupId(7);
const CONTAINER: CgroupId = CgroupId(70);

fn cgroup(pod: &Pod, id: CgroupId) -> PodCgroup {
    PodCgroup { id, uid: pod.uid, qos: Qos::Burstable, path: "/kubepods/burstable/pod".into() }
}

fn asking(mode: &str) -> Pod {
    let mut pod = testing::pod("shop", "web");
    pod.annotations.insert("conngate.io/mode".to_owned(), mode.to_owned());
    for (name, kind) in
        [("setup", ContainerKind::Init), ("app", ContainerKind::App), ("istio-proxy", ContainerKind::App)]
    {
        pod.containers.retain(|container| container.name != name);
        pod.containers.push(Container { name: name.to_owned(), kind, ready: false, id: None });
    }
    pod
}

fn roster() -> Roster {
    Roster::new(Defaults::default())
}

/// A roster with `pod` and its cgroup.
fn joined(pod: &Pod) -> Roster {
    let mut roster = roster();
    roster.seen(Arc::new(pod.clone()));
    roster.appeared(cgroup(pod, GATE));
    roster
}

fn words(acts: &[Act]) -> Vec<String> {
    let word = |act: &Act| match act {
        Act::Enrol { gate, .. } => format!("enrol {}", gate.0),
        Act::Decline(gate) => format!("decline {}", gate.0),
        Act::Terminate(gate) => format!("terminate {}", gate.0),
        Act::ForgetContainer(container) => format!("forget {}", container.0),
        Act::Retire(gate) => format!("retire {}", gate.0),
        Act::Vouch { gate, ready } => format!("vouch {} {}", gate.0, ready.as_deref().unwrap_or("nobody")),
        Act::Reclassify(gate) => format!("reclassify {}", gate.0),
        Act::Refuse { bad, .. } => format!("refuse {bad}"),
        Act::Warn { unknown, .. } => format!("warn {}", unknown.join(",")),
    };
    acts.iter().map(word).collect()
}

#[test]
fn pod_that_asks_is_enrolled_whichever_half_comes_first() {
    let pod = asking("hold");
    let expected = ["enrol 7", "reclassify 7"];
    let mut first = roster();
    assert!(first.seen(Arc::new(pod.clone())).is_empty());
    assert_eq!(words(&first.appeared(cgroup(&pod, GATE))), expected);
    let mut second = roster();
    assert!(second.appeared(cgroup(&pod, GATE)).is_empty());
    assert_eq!(second.is_gated(GATE), None);
    assert_eq!(words(&second.seen(Arc::new(pod))), expected);
    assert_eq!(second.is_gated(GATE), Some(true));
}

#[test]
fn pod_seen_again_unchanged_asks_for_nothing() {
    let pod = asking("hold");
    assert!(joined(&pod).seen(Arc::new(pod.clone())).is_empty());
    assert!(joined(&pod).appeared(cgroup(&pod, GATE)).is_empty());
}

#[test]
fn pod_that_does_not_ask_is_declined_once() {
    let pod = testing::pod("shop", "web");
    let mut roster = roster();
    roster.appeared(cgroup(&pod, GATE));
    assert_eq!(words(&roster.seen(Arc::new(pod.clone()))), ["decline 7"]);
    assert!(roster.seen(Arc::new(pod)).is_empty());
    assert_eq!(roster.is_gated(GATE), Some(false));
}

#[test]
fn annotation_changed_on_a_running_pod_applies() {
    let mut roster = joined(&asking("hold"));
    assert_eq!(words(&roster.seen(Arc::new(asking("off")))), ["decline 7"]);
    assert_eq!(words(&roster.seen(Arc::new(asking("retry")))), ["enrol 7", "reclassify 7"]);
}

#[test]
fn annotation_that_is_wrong_is_refused_once_and_has_no_gate() {
    let mut roster = joined(&asking("hold"));
    let bad = asking("hodl");
    let said = words(&roster.seen(Arc::new(bad.clone())));
    assert!(said[0].contains("conngate.io/mode") && said[0].contains("hodl"), "{said:?}");
    assert_eq!(said[1..], ["decline 7"]);
    assert!(roster.seen(Arc::new(bad)).is_empty());
}

#[test]
fn annotation_key_that_means_nothing_is_warned_of_once() {
    let mut pod = asking("hold");
    pod.annotations.insert("conngate.io/tiemout".to_owned(), "3s".to_owned());
    let mut roster = joined(&asking("hold"));
    assert_eq!(words(&roster.seen(Arc::new(pod.clone()))), ["warn conngate.io/tiemout"]);
    assert!(roster.seen(Arc::new(pod)).is_empty());
}

#[test]
fn proxy_ready_by_status_is_vouched_for_by_its_container_and_a_new_gate_begins_closed() {
    let ready = |id: &str| {
        let mut pod = asking("hold");
        let proxy = pod.containers.last_mut().unwrap();
        (proxy.ready, proxy.id) = (true, Some(format!("containerd://{id}")));
        Arc::new(pod)
    };
    let mut roster = roster();
    roster.seen(ready("before-the-reboot"));
    let acts = roster.appeared(cgroup(&ready("before-the-reboot"), GATE));
    assert_eq!(words(&acts), ["enrol 7", "reclassify 7", "vouch 7 containerd://before-the-reboot"]);
    assert_eq!(words(&roster.seen(ready("now"))), ["vouch 7 containerd://now"]);
    assert_eq!(words(&roster.seen(Arc::new(asking("hold")))), ["vouch 7 nobody"]);
}

#[test]
fn pod_whose_namespace_is_not_known_yet_is_neither_gated_nor_declined() {
    let selection = Selection::of_mode(Mode::Hold, Some("mesh=on".parse().unwrap()));
    let mut roster = Roster::new(Defaults { namespace_annotations: false, selections: vec![selection] });
    let pod = |labels: Option<&[(&str, &str)]>| {
        let mut pod = asking("hold");
        pod.annotations.clear();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pod.namespace_meta = labels
            .map(|labels| NamespaceMeta { labels: labels.iter().map(owned).collect(), ..NamespaceMeta::default() });
        Arc::new(pod)
    };
    roster.appeared(cgroup(&pod(None), GATE));
    assert!(roster.seen(pod(None)).is_empty());
    assert_eq!((roster.is_gated(GATE), roster.undecided().count()), (None, 1));
    assert!(roster.why_not(GATE).unwrap().contains("not known yet"));
    assert_eq!(words(&roster.seen(pod(Some(&[("mesh", "on")])))), ["enrol 7", "reclassify 7"]);
    assert!(roster.seen(pod(None)).is_empty(), "what was decided stays");
    assert_eq!(words(&roster.seen(pod(Some(&[])))), ["decline 7"]);
}

#[test]
fn pod_being_deleted_is_terminated_and_retired_with_its_cgroup() {
    let mut pod = asking("hold");
    let mut roster = joined(&pod);
    pod.terminating = true;
    assert_eq!(words(&roster.seen(Arc::new(pod.clone()))), ["terminate 7"]);
    assert_eq!(roster.is_gated(GATE), Some(false));
    assert!(roster.gone(pod.uid).is_empty());
    assert_eq!(words(&roster.vanished(pod.uid, GATE)), ["retire 7"]);
    assert!(roster.cgroup(GATE).is_none() && roster.members.is_empty() && roster.gates.is_empty());
}

#[test]
fn pod_gone_by_force_while_its_cgroup_lives_is_terminated() {
    let pod = asking("hold");
    let mut roster = joined(&pod);
    assert_eq!(words(&roster.gone(pod.uid)), ["terminate 7"]);
}

#[test]
fn cgroup_made_anew_is_another_gate() {
    let pod = asking("hold");
    let mut roster = joined(&pod);
    let acts = words(&roster.appeared(cgroup(&pod, CgroupId(8))));
    assert_eq!(acts, ["retire 7", "enrol 8", "reclassify 8"]);
    assert!(roster.vanished(pod.uid, GATE).is_empty());
    assert_eq!(roster.is_gated(CgroupId(8)), Some(true));
}

#[test]
fn container_is_exempt_by_kind_and_by_being_the_proxy() {
    let roster = joined(&asking("hold"));
    for (name, class) in [
        ("app", ContainerClass::Gated),
        ("added-later", ContainerClass::Gated),
        ("setup", ContainerClass::Exempt),
        ("istio-proxy", ContainerClass::Exempt),
    ] {
        assert_eq!(roster.class_of(GATE, name), Some(class), "{name}");
    }
    assert_eq!(joined(&asking("off")).class_of(GATE, "app"), Some(ContainerClass::Exempt));
}

#[test]
fn containers_annotation_changed_reclassifies_those_that_were_told_apart() {
    let mut pod = asking("hold");
    pod.containers.push(Container { name: "other".to_owned(), kind: ContainerKind::App, ready: false, id: None });
    let mut roster = joined(&pod);
    roster.identified(GATE, CONTAINER, "app".to_owned(), ContainerClass::Gated);
    pod.annotations.insert("conngate.io/containers".to_owned(), "other".to_owned());
    assert_eq!(words(&roster.seen(Arc::new(pod))), ["enrol 7", "reclassify 7"]);
    assert_eq!(roster.reclassify(GATE), [(CONTAINER, ContainerClass::Exempt)]);
    assert_eq!(roster.known(GATE, CONTAINER), Some(ContainerClass::Exempt));
    assert!(roster.reclassify(GATE).is_empty());
}

#[test]
fn container_that_is_no_longer_there_is_forgotten() {
    let mut roster = joined(&asking("hold"));
    roster.identified(GATE, CONTAINER, "app".to_owned(), ContainerClass::Gated);
    assert!(roster.forget_containers(GATE, &[CONTAINER].into()).is_empty());
    assert_eq!(roster.forget_containers(GATE, &BTreeSet::new()), [CONTAINER]);
    assert_eq!(roster.known(GATE, CONTAINER), None);
}

#[test]
fn containers_of_a_pod_that_is_gone_are_forgotten_with_it() {
    let pod = asking("hold");
    let mut roster = joined(&pod);
    roster.identified(GATE, CONTAINER, "app".to_owned(), ContainerClass::Gated);
    assert_eq!(words(&roster.vanished(pod.uid, GATE)), ["forget 70", "retire 7"]);
}

#[test]
fn pod_that_nobody_has_told_of_is_undecided() {
    let pod = asking("off");
    let mut roster = roster();
    assert_eq!(roster.undecided().count(), 0);
    roster.appeared(cgroup(&pod, GATE));
    assert_eq!(roster.undecided().count(), 1);
    roster.seen(Arc::new(pod));
    assert_eq!(roster.undecided().count(), 0);
}

#[test]
fn container_is_named_by_its_status() {
    let mut pod = asking("hold");
    pod.containers[1].id = Some("containerd://c0ffee".to_owned());
    let name = pod.containers[1].name.clone();
    let roster = joined(&pod);
    assert_eq!(roster.name_by_status(GATE, "c0ffee"), Some(name.as_str()));
    assert_eq!(roster.name_by_status(GATE, "c0ff"), None);
}

#[test]
fn finished_pod_that_was_never_seen_takes_no_room() {
    let mut pod = asking("hold");
    pod.finished = true;
    let mut roster = roster();
    assert!(roster.seen(Arc::new(pod)).is_empty());
    assert!(roster.members.is_empty());
}
