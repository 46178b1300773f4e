//! What is asked of the API server, and when.

use std::sync::mpsc;

use kube::client::Body;
use tower_test::mock;

use super::*;

const KEY: &str = "conngate.io/agent-not-ready";

type Server = mock::Handle<hyper::Request<Body>, hyper::Response<Body>>;

/// The task, on virtual time: what it asks, whether the agent is ready, and what it says.
fn started(is_ready: bool) -> (Server, watch::Sender<bool>, mpsc::Receiver<Option<String>>) {
    let (service, server) = mock::pair::<hyper::Request<Body>, hyper::Response<Body>>();
    let (ready, is_ready) = watch::channel(is_ready);
    let (say, said) = mpsc::channel();
    let taint =
        StartupTaint { client: Client::new(service, "default"), node: "node-1".to_owned(), key: KEY.to_owned() };
    taint.keep_off(&runtime::Handle::current(), is_ready, move |why| drop(say.send(why)));
    (server, ready, said)
}

/// Answers the next request: what it was, and its body.
async fn next(server: &mut Server, status: u16, answer: Value) -> (String, Value) {
    let (request, respond) = server.next_request().await.expect("a request");
    let what = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect_bytes().await.unwrap();
    let answer = Body::from(answer.to_string().into_bytes());
    respond.send_response(hyper::Response::builder().status(status).body(answer).unwrap());
    (what, serde_json::from_slice(&body).unwrap_or_default())
}

fn taint(key: &str, effect: &str) -> Value {
    json!({ "key": key, "effect": effect, "timeAdded": "2026-01-01T00:00:00Z" })
}

fn node(taints: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node-1" }, "spec": { "taints": taints } })
}

fn refusal(code: u16, message: &str) -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": code, "reason": "", "message": message })
}

#[tokio::test(start_paused = true)]
async fn taint_of_any_effect_is_removed_alone_once_the_agent_is_ready_and_looked_for_again() {
    let (mut server, ready, said) = started(false);
    assert!(timeout(AGAIN, server.next_request()).await.is_err(), "it is not ready");
    ready.send(true).unwrap();
    let other = taint("node.kubernetes.io/unschedulable", "NoSchedule");
    let there = [taint(KEY, "NoSchedule"), other.clone(), taint(KEY, "NoExecute")];
    let (what, _) = next(&mut server, 200, node(&there)).await;
    assert_eq!(what, "GET /api/v1/nodes/node-1?&resourceVersion=0");
    let (what, patch) = next(&mut server, 200, node(std::slice::from_ref(&other))).await;
    assert!(what.starts_with("PATCH /api/v1/nodes/node-1"), "{what}");
    let path = "/spec/taints";
    let expected = json!([{ "op": "test", "path": path, "value": there },
                          { "op": "replace", "path": path, "value": [other] }]);
    assert_eq!(patch, expected);
    let (what, _) = next(&mut server, 200, node(&[])).await;
    assert!(what.starts_with("GET"), "again: {what}");
    assert_eq!(said.try_iter().collect::<Vec<_>>(), [None]);
}

#[tokio::test(start_paused = true)]
async fn node_without_the_taint_is_left_alone() {
    let (mut server, _ready, _said) = started(true);
    for taints in
        [node(&[taint("conngate.io/other", "NoSchedule")]), node(&[]), json!({ "kind": "Node", "apiVersion": "v1" })]
    {
        let (what, _) = next(&mut server, 200, taints).await;
        assert!(what.starts_with("GET"), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn conflict_is_met_with_a_fresh_read_and_said_only_when_it_goes_on() {
    let (mut server, _ready, said) = started(true);
    for attempt in 0..CONFLICTS {
        let (what, _) = next(&mut server, 200, node(&[taint(KEY, "NoSchedule")])).await;
        assert_eq!(what.ends_with("resourceVersion=0"), attempt == 0, "{what}");
        assert_eq!(said.try_iter().count(), 0);
        next(&mut server, 422, refusal(422, "the server rejected our request")).await;
    }
    next(&mut server, 200, node(&[taint(KEY, "NoSchedule")])).await;
    let why = said.try_recv().unwrap().unwrap();
    assert!(why.starts_with("startup taint conngate.io/agent-not-ready: the API server answered 422"), "{why}");
    next(&mut server, 200, node(&[])).await;
    next(&mut server, 200, node(&[])).await;
    assert_eq!(said.try_iter().collect::<Vec<_>>(), [None]);
}

#[tokio::test(start_paused = true)]
async fn right_that_is_missing_is_said_with_its_remedy() {
    let (mut server, _ready, said) = started(true);
    next(&mut server, 403, refusal(403, "nodes \"node-1\" is forbidden")).await;
    next(&mut server, 200, node(&[])).await;
    let why = said.try_recv().unwrap().unwrap();
    assert!(why.contains("forbidden") && why.contains("needs get and patch on nodes"), "{why}");
}
