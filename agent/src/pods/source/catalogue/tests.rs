//! One test per rule of the catalogue.

use serde_json::{Value, json};

use super::*;
use crate::pods::testing::{json_pod, parsed, uid};

const API: SourceName = SourceName::ApiServer;
const KUBELET: SourceName = SourceName::Kubelet;

fn web(n: u8) -> Pod {
    parsed(json_pod("shop", &format!("web-{n}"), &uid(n)))
}

fn id(n: u8) -> PodUid {
    uid(n).parse().unwrap()
}

/// The API's mirror `api` of the static pod `of`.
fn mirror(name: &str, api: u8, of: u8) -> Pod {
    let mut json = json_pod("kube-system", name, &uid(api));
    json["metadata"]["annotations"] = annotations(of, true);
    parsed(json)
}

fn static_pod(name: &str, n: u8) -> Pod {
    let mut json = json_pod("kube-system", name, &uid(n));
    json["metadata"]["annotations"] = annotations(n, false);
    parsed(json)
}

fn annotations(hash: u8, mirror: bool) -> Value {
    let mut annotations = json!({"kubernetes.io/config.hash": uid(hash), "kubernetes.io/config.source": "file"});
    if mirror {
        annotations["kubernetes.io/config.mirror"] = json!(uid(hash));
    }
    annotations
}

fn listed(pods: &[Pod]) -> Report {
    Report::Listed { pods: pods.to_vec(), asked: Vec::new(), fault: None }
}

fn failed(why: &str) -> Report {
    Report::Failed { why: why.to_owned() }
}

fn deleted(pod: &Pod) -> Report {
    Report::Deleted { uid: pod.uid, api_uid: pod.api_uid }
}

/// What happens, in short: `+name`, `-digit`, `synced`, `?digit=known`, `source:up|down`.
fn told(catalogue: &mut Catalogue) -> Vec<String> {
    let last = |uid: PodUid| uid.to_string().split_off(34);
    std::iter::from_fn(|| catalogue.poll_event())
        .map(|event| match event {
            SourceEvent::Seen(pod) => format!("+{}", pod.name),
            SourceEvent::Gone(uid) => format!("-{}", last(uid)),
            SourceEvent::Synced => "synced".to_owned(),
            SourceEvent::Answered { uid, known } => format!("?{}={known}", last(uid)),
            SourceEvent::Health { source, state: SourceState::Up } => format!("{source}:up"),
            SourceEvent::Health { source, state: SourceState::Down { why } } => format!("{source}:{why}"),
        })
        .collect()
}

fn after(catalogue: &mut Catalogue, source: SourceName, report: Report) -> Vec<String> {
    catalogue.handle(source, report);
    told(catalogue)
}

#[test]
fn list_shows_every_pod_before_it_is_synced() {
    let mut catalogue = Catalogue::new(false, false);
    assert_eq!(after(&mut catalogue, API, listed(&[web(1), web(2)])), ["apiserver:up", "+web-1", "+web-2", "synced"]);
    assert!(after(&mut catalogue, API, listed(&[web(1), web(2)])).is_empty());
}

#[test]
fn list_without_a_pod_lets_it_go() {
    let mut catalogue = Catalogue::new(false, false);
    after(&mut catalogue, API, listed(&[web(1), web(2)]));
    assert_eq!(after(&mut catalogue, API, listed(&[web(2), web(3)])), ["-01", "+web-3"]);
}

#[test]
fn failure_keeps_every_pod_and_is_told_once() {
    let mut catalogue = Catalogue::new(false, false);
    after(&mut catalogue, API, listed(&[web(1)]));
    assert_eq!(after(&mut catalogue, API, failed("a")), ["apiserver:a"]);
    assert!(after(&mut catalogue, API, failed("a")).is_empty());
    assert_eq!(after(&mut catalogue, API, failed("b")), ["apiserver:b"]);
    assert_eq!(after(&mut catalogue, API, listed(&[web(1)])), ["apiserver:up"]);
}

#[test]
fn watch_that_goes_on_is_up_again() {
    let mut catalogue = Catalogue::new(false, false);
    after(&mut catalogue, API, listed(&[web(1)]));
    assert!(after(&mut catalogue, API, Report::Watching).is_empty());
    after(&mut catalogue, API, failed("away"));
    assert_eq!(after(&mut catalogue, API, Report::Watching), ["apiserver:up"]);
}

#[test]
fn deletion_by_the_api_server_counts_against_an_older_answer_of_the_kubelet() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, KUBELET, listed(&[web(1)]));
    after(&mut catalogue, API, listed(&[web(1)]));
    assert_eq!(after(&mut catalogue, API, deleted(&web(1))), ["-01"]);
}

#[test]
fn pod_that_only_the_kubelet_knows_stays_until_the_kubelet_forgets_it() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, API, listed(&[]));
    assert_eq!(after(&mut catalogue, KUBELET, listed(&[web(1)])), ["kubelet:up", "+web-1"]);
    assert!(after(&mut catalogue, API, listed(&[])).is_empty());
    assert_eq!(after(&mut catalogue, KUBELET, listed(&[])), ["-01"]);
}

#[test]
fn pod_replaced_under_its_name_is_gone_before_the_new_one_is_seen() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, KUBELET, listed(&[parsed(json_pod("shop", "db-0", &uid(1)))]));
    let new = parsed(json_pod("shop", "db-0", &uid(2)));
    assert_eq!(after(&mut catalogue, API, Report::Applied(Box::new(new))), ["apiserver:up", "-01", "+db-0"]);
}

#[test]
fn watch_s_version_counts_while_it_is_up_and_the_kubelet_s_when_it_is_down() {
    let mut catalogue = Catalogue::new(true, false);
    let mut newer = web(1);
    newer.terminating = true;
    after(&mut catalogue, API, listed(&[newer.clone()]));
    assert_eq!(after(&mut catalogue, KUBELET, listed(&[web(1)])), ["kubelet:up"]);
    after(&mut catalogue, API, failed("away"));
    assert_eq!(after(&mut catalogue, KUBELET, listed(&[web(1)])), ["+web-1"]);
    assert!(catalogue.pods[&id(1)].shown.as_ref().is_some_and(|pod| !pod.terminating));
    assert_eq!(after(&mut catalogue, API, listed(&[newer])), ["apiserver:up", "+web-1"]);
}

#[test]
fn static_pod_survives_the_deletion_of_its_mirror() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, KUBELET, listed(&[static_pod("etcd", 9)]));
    after(&mut catalogue, API, listed(&[mirror("etcd", 1, 9)]));
    assert!(!after(&mut catalogue, API, deleted(&mirror("etcd", 1, 9))).contains(&"-09".to_owned()));
    assert!(after(&mut catalogue, API, Report::Applied(Box::new(mirror("etcd", 2, 9)))).contains(&"+etcd".to_owned()));
    assert_eq!(catalogue.pods[&id(9)].shown.as_ref().unwrap().api_uid, id(2));
}

#[test]
fn mirror_of_another_name_never_takes_a_pod_s_place() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, API, listed(&[web(1), mirror("fake", 2, 1)]));
    assert_eq!(catalogue.pods[&id(1)].shown.as_ref().unwrap().name, "web-1");
    assert!(after(&mut catalogue, API, deleted(&mirror("fake", 2, 1))).is_empty());

    let mut early = Catalogue::new(true, false);
    after(&mut early, API, Report::Applied(Box::new(mirror("fake", 2, 1))));
    assert_eq!(after(&mut early, API, Report::Applied(Box::new(web(1)))), ["+web-1"]);
    assert!(after(&mut early, API, deleted(&mirror("fake", 2, 1))).is_empty());
}

#[test]
fn fault_beside_a_list_is_a_state_of_its_own() {
    let mut catalogue = Catalogue::new(false, false);
    let half = Report::Listed { pods: vec![web(1)], asked: Vec::new(), fault: Some("half".to_owned()) };
    assert_eq!(after(&mut catalogue, SourceName::File, half), ["file:half", "+web-1", "synced"]);
}

#[test]
fn ask_for_a_known_pod_is_answered_at_once() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, API, listed(&[web(1)]));
    catalogue.ask(id(1));
    assert_eq!(told(&mut catalogue), ["?01=true"]);
    assert!(catalogue.take_questions().is_empty());
}

#[test]
fn ask_for_an_unknown_pod_is_one_question_to_the_kubelet() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, API, listed(&[]));
    catalogue.ask(id(1));
    assert_eq!(catalogue.take_questions().len(), 1);
    (0..100).for_each(|_| catalogue.ask(id(1)));
    assert!(catalogue.take_questions().is_empty() && told(&mut catalogue).is_empty());

    let found = Report::Listed { pods: vec![web(1)], asked: vec![id(1)], fault: None };
    assert_eq!(after(&mut catalogue, KUBELET, found), ["kubelet:up", "+web-1", "?01=true"]);
}

#[test]
fn ask_is_answered_no_when_the_kubelet_does_not_know_it() {
    let mut catalogue = Catalogue::new(true, false);
    catalogue.ask(id(1));
    assert!(after(&mut catalogue, KUBELET, listed(&[])).contains(&"synced".to_owned()));
    let none = Report::Listed { pods: Vec::new(), asked: vec![id(1)], fault: None };
    assert_eq!(after(&mut catalogue, KUBELET, none), ["?01=false"]);
}

#[test]
fn ask_is_answered_by_the_watch_when_that_is_faster_or_the_kubelet_fails() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, API, listed(&[]));
    catalogue.ask(id(1));
    catalogue.ask(id(2));
    assert_eq!(after(&mut catalogue, API, Report::Applied(Box::new(web(1)))), ["+web-1", "?01=true"]);
    assert_eq!(after(&mut catalogue, KUBELET, failed("403")), ["kubelet:403", "?02=false"]);
    assert!(catalogue.take_questions().is_empty());
}

#[test]
fn ask_waits_for_the_kubelet_s_return_when_nobody_else_is_there() {
    let mut catalogue = Catalogue::new(true, false);
    after(&mut catalogue, API, failed("away"));
    catalogue.ask(id(1));
    catalogue.take_questions();
    assert_eq!(after(&mut catalogue, KUBELET, failed("refused")), ["kubelet:refused"]);
    assert_eq!(catalogue.take_questions(), [id(1)].into());
}

#[test]
fn ask_without_a_kubelet_waits_for_the_first_list() {
    let mut catalogue = Catalogue::new(false, false);
    catalogue.ask(id(1));
    catalogue.ask(id(2));
    assert!(told(&mut catalogue).is_empty());
    let events = after(&mut catalogue, API, listed(&[web(1)]));
    assert_eq!(events, ["apiserver:up", "+web-1", "synced", "?01=true", "?02=false"]);
}

#[test]
fn ask_for_ever_more_pods_is_bounded() {
    let mut catalogue = Catalogue::new(true, false);
    for n in 0..2 * MOST {
        catalogue.ask(format!("{n:032x}").parse().unwrap());
    }
    assert_eq!(catalogue.take_questions().len(), MOST);
    assert_eq!(told(&mut catalogue).len(), MOST);
}

#[test]
fn what_a_namespace_says_comes_with_the_pod_and_follows_it() {
    let mut catalogue = Catalogue::new(false, true);
    after(&mut catalogue, API, listed(&[web(1)]));
    let meta = |catalogue: &Catalogue| catalogue.pods[&id(1)].shown.as_ref().unwrap().namespace_meta.clone();
    assert_eq!(meta(&catalogue), None);
    let on = NamespaceMeta { labels: [("mesh".to_owned(), "on".to_owned())].into(), ..NamespaceMeta::default() };
    let all = Report::Namespaces([("shop".to_owned(), on.clone())].into());
    assert_eq!(after(&mut catalogue, SourceName::Namespaces, all), ["namespaces:up", "+web-1"]);
    assert_eq!(meta(&catalogue), Some(on));
    let other = Report::Namespace("bank".to_owned(), Some(NamespaceMeta::default()));
    assert!(after(&mut catalogue, SourceName::Namespaces, other).is_empty());
    let gone = Report::Namespace("shop".to_owned(), None);
    assert_eq!(after(&mut catalogue, SourceName::Namespaces, gone), ["+web-1"]);
}
