//! The pods, one rule a test: which changes follow from which halves of a pod.

use std::time::Duration;

use conngate_common::gate::{CapturePorts, Mode, NO_UID};

use super::*;
use crate::{
    gate::{OnTimeout, Policy, Readiness},
    pod::Container,
};

const GATE: CgroupId = CgroupId(7);
const APP: CgroupId = CgroupId(70);
const PROXY: CgroupId = CgroupId(71);

fn uid() -> PodUid {
    "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".parse().unwrap()
}

fn spec(mode: Mode) -> Box<GateSpec> {
    Box::new(GateSpec {
        policy: Policy {
            mode,
            timeout: Duration::from_secs(60),
            on_timeout: OnTimeout::Release,
            readiness: Readiness::Listener,
            regate: None,
        },
        capture_ports: CapturePorts([15001, 0, 0, 0, 0, 0, 0, 0]),
        datagram_ports: CapturePorts::default(),
        dns_truncate: true,
        exempt_uids: [NO_UID; 4],
        default_class: ContainerClass::Unknown,
        ready_url: None,
    })
}

fn container(name: &str, class: ContainerClass) -> Container {
    Container { name: name.to_owned(), class, id: None, is_ready_proxy: false, started: None }
}

fn pod(ask: Ask) -> Pod {
    Pod {
        uid: uid(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        ask,
        containers: vec![
            container("setup", ContainerClass::Exempt),
            container("app", ContainerClass::Gated),
            container("istio-proxy", ContainerClass::Exempt),
        ],
        unlisted: ContainerClass::Gated,
        ending: false,
        finished: false,
        remarks: Vec::new(),
    }
}

fn asking(mode: Mode) -> Pod {
    pod(Ask::Gate(spec(mode)))
}

fn declining() -> Pod {
    pod(Ask::None("it does not ask".to_owned()))
}

fn undecided() -> Pod {
    pod(Ask::Undecided("its namespace is not known yet".to_owned()))
}

/// A pod that asks, whose last status calls the proxy's container `id` ready.
fn ready(id: &str) -> Arc<Pod> {
    let mut pod = asking(Mode::Hold);
    let proxy = pod.containers.last_mut().unwrap();
    (proxy.is_ready_proxy, proxy.id) = (true, Some(format!("containerd://{id}")));
    Arc::new(pod)
}

/// A table with `pod` and its cgroup.
fn joined(pod: &Pod) -> PodTable {
    let mut pods = PodTable::default();
    pods.seen(Arc::new(pod.clone()));
    pods.appeared(uid(), GATE);
    pods
}

fn there<const N: usize>(containers: [(CgroupId, &str); N]) -> BTreeMap<CgroupId, Option<String>> {
    containers.into_iter().map(|(id, name)| (id, Some(name.to_owned()))).collect()
}

fn enrol(mode: Mode) -> Change {
    Change::Enrol(GATE, spec(mode))
}

#[test]
fn pod_that_asks_is_enrolled_whichever_half_comes_first() {
    let mut first = PodTable::default();
    assert_eq!(first.seen(Arc::new(asking(Mode::Hold))), []);
    assert_eq!(first.appeared(uid(), GATE), [enrol(Mode::Hold)]);
    let mut second = PodTable::default();
    assert_eq!(second.appeared(uid(), GATE), []);
    assert_eq!(second.is_gated(GATE), None);
    assert_eq!(second.seen(Arc::new(asking(Mode::Hold))), [enrol(Mode::Hold)]);
    assert_eq!(second.is_gated(GATE), Some(true));
}

#[test]
fn pod_told_again_unchanged_asks_for_nothing() {
    let mut pods = joined(&asking(Mode::Hold));
    assert_eq!(pods.seen(Arc::new(asking(Mode::Hold))), []);
    assert_eq!(pods.appeared(uid(), GATE), []);
}

#[test]
fn pod_that_does_not_ask_is_declined_once() {
    let mut pods = PodTable::default();
    pods.appeared(uid(), GATE);
    assert_eq!(pods.seen(Arc::new(declining())), [Change::Decline(GATE)]);
    assert_eq!(pods.seen(Arc::new(declining())), []);
    assert_eq!(pods.is_gated(GATE), Some(false));
    assert_eq!(pods.why_not(GATE).as_deref(), Some("it does not ask"));
}

#[test]
fn pod_that_asks_for_something_else_is_declined_and_enrolled_anew() {
    let mut pods = joined(&asking(Mode::Hold));
    assert_eq!(pods.why_not(GATE), None);
    assert_eq!(pods.seen(Arc::new(declining())), [Change::Decline(GATE)]);
    assert_eq!(pods.seen(Arc::new(asking(Mode::Retry))), [enrol(Mode::Retry)]);
}

#[test]
fn remark_is_passed_on_once_and_again_when_it_is_another() {
    let remarked = |text: &str| {
        let remark = Remark::NotGated(text.to_owned());
        Arc::new(Pod { remarks: vec![remark.clone()], ..declining() })
    };
    let said = |text: &str| Change::Remark(GATE, Remark::NotGated(text.to_owned()));
    let mut pods = joined(&asking(Mode::Hold));
    assert_eq!(pods.seen(remarked("hodl")), [said("hodl"), Change::Decline(GATE)]);
    assert_eq!(pods.seen(remarked("hodl")), []);
    assert_eq!(pods.seen(remarked("hlod")), [said("hlod")]);
    assert_eq!(pods.seen(Arc::new(declining())), []);
    assert_eq!(pods.seen(remarked("hlod")), [said("hlod")], "it was mended and is wrong again");
}

#[test]
fn remark_of_a_pod_without_a_cgroup_waits_for_its_gate() {
    let keys = Remark::UnknownAnnotations(vec!["conngate.io/tiemout".to_owned()]);
    let mut pods = PodTable::default();
    assert_eq!(pods.seen(Arc::new(Pod { remarks: vec![keys.clone()], ..asking(Mode::Hold) })), []);
    assert_eq!(pods.appeared(uid(), GATE), [Change::Remark(GATE, keys), enrol(Mode::Hold)]);
}

#[test]
fn proxy_ready_by_status_is_vouched_for_only_while_its_container_is_there() {
    let mut pods = joined(&ready("before-the-reboot"));
    assert_eq!(pods.listed(GATE, there([(PROXY, "now")])).1, [], "a status of an earlier life");
    assert_eq!(pods.seen(ready("now")), [Change::Vouch(GATE, true)]);
    assert_eq!(pods.seen(ready("now")), []);
    assert_eq!(pods.listed(GATE, there([(PROXY, "now"), (APP, "app")])).1, []);
    assert_eq!(pods.listed(GATE, there([(APP, "app")])).1, [Change::Vouch(GATE, false)]);
}

#[test]
fn proxy_whose_container_is_listed_after_its_status_is_vouched_for_then() {
    let mut pods = joined(&ready("now"));
    assert_eq!(pods.listed(GATE, there([(PROXY, "now")])).1, [Change::Vouch(GATE, true)]);
    assert_eq!(pods.seen(Arc::new(asking(Mode::Hold))), [Change::Vouch(GATE, false)]);
}

#[test]
fn container_with_another_id_that_begins_alike_is_not_vouched_for() {
    let mut pods = joined(&ready("c0ffee"));
    assert_eq!(pods.listed(GATE, there([(PROXY, "c0ff"), (APP, "")])).1, []);
    assert_eq!(pods.listed(GATE, BTreeMap::from([(PROXY, None)])).1, []);
}

#[test]
fn cgroup_made_anew_is_not_vouched_for_by_the_containers_of_the_last() {
    let mut pods = joined(&ready("now"));
    pods.listed(GATE, there([(PROXY, "now")]));
    let changes = pods.appeared(uid(), CgroupId(8));
    assert_eq!(changes, [Change::Retire(GATE), Change::Enrol(CgroupId(8), spec(Mode::Hold))]);
    assert_eq!(pods.listed(CgroupId(8), there([(PROXY, "now")])).1, [Change::Vouch(CgroupId(8), true)]);
}

#[test]
fn pod_that_cannot_be_decided_yet_is_neither_gated_nor_declined() {
    let mut pods = PodTable::default();
    pods.appeared(uid(), GATE);
    assert_eq!(pods.seen(Arc::new(undecided())), []);
    assert_eq!((pods.is_gated(GATE), pods.undecided().collect::<Vec<_>>()), (None, vec![GATE]));
    assert_eq!(pods.untold().count(), 0);
    assert_eq!(pods.why_not(GATE).as_deref(), Some("its namespace is not known yet"));
    assert_eq!(pods.seen(Arc::new(asking(Mode::Hold))), [enrol(Mode::Hold)]);
    assert_eq!(pods.undecided().count(), 0);
}

#[test]
fn pod_that_was_decided_stays_so_while_nobody_can_say() {
    let mut pods = joined(&asking(Mode::Hold));
    assert_eq!(pods.seen(Arc::new(undecided())), []);
    assert_eq!((pods.is_gated(GATE), pods.undecided().count()), (Some(true), 0));
    assert_eq!(pods.seen(Arc::new(declining())), [Change::Decline(GATE)]);
}

#[test]
fn pod_that_nobody_has_told_of_is_undecided() {
    let mut pods = PodTable::default();
    assert_eq!(pods.undecided().count(), 0);
    pods.appeared(uid(), GATE);
    assert_eq!((pods.undecided().count(), pods.untold().count()), (1, 1));
    assert_eq!(pods.why_not(GATE).as_deref(), Some("no source has reported it"));
    pods.seen(Arc::new(declining()));
    assert_eq!((pods.undecided().count(), pods.untold().count()), (0, 0));
}

#[test]
fn pod_being_deleted_is_terminated_and_retired_with_its_cgroup() {
    let mut pods = joined(&asking(Mode::Hold));
    let ending = Arc::new(Pod { ending: true, ..asking(Mode::Hold) });
    assert_eq!(pods.seen(ending.clone()), [Change::Terminate(GATE)]);
    assert_eq!(pods.seen(ending), []);
    assert_eq!(pods.is_gated(GATE), Some(false));
    assert_eq!(pods.gone(uid()), []);
    assert_eq!(pods.vanished(uid(), GATE), [Change::Retire(GATE)]);
    assert!(pods.uid(GATE).is_none() && pods.entries.is_empty() && pods.gates.is_empty());
}

#[test]
fn pod_gone_by_force_while_its_cgroup_lives_is_terminated() {
    let mut pods = joined(&asking(Mode::Hold));
    assert_eq!(pods.gone(uid()), [Change::Terminate(GATE)]);
    assert_eq!(joined(&declining()).gone(uid()), []);
    assert_eq!(pods.is_gated(GATE), Some(false));
}

#[test]
fn pod_gone_before_it_had_a_cgroup_is_forgotten() {
    let mut pods = PodTable::default();
    pods.seen(Arc::new(asking(Mode::Hold)));
    assert_eq!(pods.gone(uid()), []);
    assert!(pods.entries.is_empty());
}

#[test]
fn cgroup_made_anew_is_another_gate() {
    let mut pods = joined(&asking(Mode::Hold));
    let changes = pods.appeared(uid(), CgroupId(8));
    assert_eq!(changes, [Change::Retire(GATE), Change::Enrol(CgroupId(8), spec(Mode::Hold))]);
    assert_eq!(pods.vanished(uid(), GATE), [], "it went before");
    assert_eq!((pods.is_gated(GATE), pods.is_gated(CgroupId(8))), (None, Some(true)));
}

#[test]
fn container_is_what_its_pod_lists_and_one_that_was_added_what_the_pod_says_of_those() {
    let mut pods = joined(&asking(Mode::Hold));
    for (name, class) in [
        ("app", ContainerClass::Gated),
        ("added-later", ContainerClass::Gated),
        ("setup", ContainerClass::Exempt),
        ("istio-proxy", ContainerClass::Exempt),
        ("", ContainerClass::Exempt),
    ] {
        assert_eq!(pods.identified(GATE, APP, name.into()), class, "`{name}`");
        assert_eq!(pods.class(GATE, APP), Some(class));
    }
    let exempting = Pod { unlisted: ContainerClass::Exempt, ..asking(Mode::Hold) };
    assert_eq!(joined(&exempting).identified(GATE, APP, "added-later".into()), ContainerClass::Exempt);
    assert_eq!(joined(&declining()).identified(GATE, APP, "app".into()), ContainerClass::Exempt);
    assert_eq!(PodTable::default().identified(GATE, APP, "app".into()), ContainerClass::Exempt);
}

#[test]
fn containers_that_are_of_another_class_now_are_told() {
    let mut pods = joined(&asking(Mode::Hold));
    pods.identified(GATE, APP, "app".into());
    let mut other = asking(Mode::Hold);
    other.containers[1].class = ContainerClass::Exempt;
    let exempt = Change::Container(APP, Some(ContainerClass::Exempt));
    assert_eq!(pods.seen(Arc::new(other.clone())), [enrol(Mode::Hold), exempt], "what it asks for is another");
    assert_eq!(pods.seen(Arc::new(other)), []);
    assert_eq!(pods.class(GATE, APP), Some(ContainerClass::Exempt));
    assert_eq!(pods.class_of_cgroup(APP), Some(ContainerClass::Exempt));
}

#[test]
fn container_identified_while_its_pod_declined_is_told_anew_when_it_asks() {
    let mut pods = joined(&declining());
    pods.identified(GATE, APP, "app".into());
    let gated = Change::Container(APP, Some(ContainerClass::Gated));
    assert_eq!(pods.seen(Arc::new(asking(Mode::Hold))), [enrol(Mode::Hold), gated]);
}

#[test]
fn containers_that_waited_in_vain_pass_until_they_are_held_again() {
    let mut pods = joined(&asking(Mode::Hold));
    pods.listed(GATE, there([(APP, "app"), (PROXY, "proxy")]));
    pods.identified(GATE, APP, "app".into());
    pods.identified(GATE, PROXY, "istio-proxy".into());
    assert_eq!(pods.let_pass(GATE), [Change::Container(APP, Some(ContainerClass::Exempt))]);
    assert_eq!(pods.let_pass(GATE), []);
    assert_eq!(pods.seen(Arc::new(asking(Mode::Hold))), [], "they still pass");
    assert_eq!(pods.identified(GATE, CgroupId(72), "app".into()), ContainerClass::Gated, "what starts now waits");
    assert_eq!(pods.hold_again(GATE), [Change::Container(APP, Some(ContainerClass::Gated))]);
    assert_eq!(pods.hold_again(GATE), []);
}

#[test]
fn container_that_ended_while_it_passed_leaves_nothing_behind() {
    let mut pods = joined(&asking(Mode::Hold));
    pods.listed(GATE, there([(APP, "app")]));
    pods.identified(GATE, APP, "app".into());
    pods.let_pass(GATE);
    assert_eq!(pods.listed(GATE, there([])).1, [Change::Container(APP, None)]);
    assert_eq!(pods.hold_again(GATE), []);
    assert!(pods.entries[&uid()].passed.is_empty());
}

#[test]
fn containers_listed_say_whether_some_came_and_whether_they_are_others() {
    let mut pods = joined(&asking(Mode::Hold));
    let mut listed = |there| {
        let Containers { came, changed } = pods.listed(GATE, there).0;
        (came, changed)
    };
    assert_eq!(listed(there([(APP, "app")])), (false, true), "nobody knows since when");
    assert_eq!(listed(there([(APP, "app")])), (false, false));
    assert_eq!(listed(there([(APP, "app"), (PROXY, "proxy")])), (true, true));
    assert_eq!(listed(there([(PROXY, "proxy")])), (false, true));
    assert_eq!(listed(there([(APP, "app")])), (true, true));
    assert_eq!(pods.there().collect::<Vec<_>>(), [(GATE, APP)]);
    let unknown = pods.listed(CgroupId(8), there([(CgroupId(80), "app")]));
    assert_eq!(unknown, (Containers::default(), Vec::new()), "nobody's");
}

#[test]
fn container_that_is_no_longer_there_is_forgotten() {
    let mut pods = joined(&asking(Mode::Hold));
    pods.identified(GATE, APP, "app".into());
    assert_eq!(pods.listed(GATE, there([(APP, "app")])).1, []);
    assert_eq!(pods.container_name(GATE, APP).map(|name| &**name), Some("app"));
    assert_eq!(pods.listed(GATE, there([])).1, [Change::Container(APP, None)]);
    assert_eq!((pods.class(GATE, APP), pods.class_of_cgroup(APP)), (None, None));
}

#[test]
fn containers_of_a_pod_that_is_gone_are_forgotten_with_it() {
    let mut pods = joined(&asking(Mode::Hold));
    pods.identified(GATE, APP, "app".into());
    assert_eq!(pods.vanished(uid(), GATE), [Change::Container(APP, None), Change::Retire(GATE)]);
}

#[test]
fn pod_is_meant_by_its_name_its_path_and_until_it_is_told_of_by_its_uid() {
    let mut pods = PodTable::default();
    pods.appeared(uid(), GATE);
    let by_uid = vec![(uid().to_string(), Some(GATE))];
    assert_eq!((pods.meant_by(&uid().to_string()), pods.meant_by("web")), (by_uid, vec![]));
    pods.seen(Arc::new(declining()));
    let by_name = vec![("shop/web".to_owned(), Some(GATE))];
    assert_eq!([pods.meant_by("web"), pods.meant_by("shop/web")], [by_name.clone(), by_name]);
    assert_eq!((pods.meant_by("shop"), pods.meant_by("")), (vec![], vec![]));
}

#[test]
fn finished_pod_that_was_never_seen_takes_no_room() {
    let mut pods = PodTable::default();
    assert_eq!(pods.seen(Arc::new(Pod { finished: true, ending: true, ..asking(Mode::Hold) })), []);
    assert!(pods.entries.is_empty());
}

#[test]
fn pod_beyond_the_room_is_not_taken_in_and_one_that_is_known_still_is() {
    let mut pods = PodTable::default();
    let numbered = |number: usize| {
        let uid = format!("{number:032x}").parse().unwrap();
        Arc::new(Pod { uid, ..asking(Mode::Hold) })
    };
    (0..=ROOM).for_each(|number| drop(pods.seen(numbered(number))));
    assert_eq!(pods.entries.len(), ROOM);
    let known = numbered(0).uid;
    pods.appeared(known, GATE);
    assert_eq!(pods.seen(Arc::new(Pod { uid: known, ..declining() })), [Change::Decline(GATE)]);
}

#[test]
fn container_is_found_by_its_status() {
    let statuses = [("containerd://aa", "app"), ("", "waiting"), ("cri-o://bb", "proxy")];
    let containers =
        statuses.map(|(id, name)| Container { id: Some(id.to_owned()), ..container(name, ContainerClass::Gated) });
    let pod = Pod { containers: containers.into(), ..declining() };
    let by_status = |id: &str| pod.container_with_id(id).map(|container| container.name.as_str());
    assert_eq!(by_status("aa"), Some("app"));
    assert_eq!(by_status("bb"), Some("proxy"));
    for unknown in ["a", "", "containerd://aa"] {
        assert_eq!(by_status(unknown), None, "{unknown}");
    }
}
