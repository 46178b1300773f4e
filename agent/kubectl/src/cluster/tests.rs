//! Agents and pods as an API server tells of them, one that lacks either included.

use clap::Parser as _;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;
use crate::cli::Cli;

fn pod(name: &str, node: &str, phase: &str, container: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "system" },
        "spec": { "nodeName": node, "containers": [{ "name": container }] },
        "status": { "phase": phase },
    })
}

fn agent(pod: Value) -> Option<Agent> {
    Agent::of(&serde_json::from_value(pod).unwrap())
}

/// What `ask` makes of a cluster that gives these answers, with `options` on the command line; each request's path and query.
async fn asked<T>(
    options: &[&str],
    answers: Vec<(u16, Value)>,
    ask: impl AsyncFn(&Cluster) -> anyhow::Result<T>,
) -> (anyhow::Result<T>, Vec<String>) {
    let (service, mut server) = mock::pair::<Request<Body>, Response<Body>>();
    let access = Cli::parse_from([&["kubectl-conngate", "status"], options].concat()).access;
    let cluster = Cluster::of(Client::new(service, "default"), access);
    let serving = async {
        let mut requests = Vec::new();
        for (status, answer) in answers {
            let (request, respond) = server.next_request().await.expect("a request");
            requests.push(request.uri().to_string());
            let body = Body::from(answer.to_string().into_bytes());
            respond.send_response(Response::builder().status(status).body(body).unwrap());
        }
        requests
    };
    tokio::join!(ask(&cluster), serving)
}

fn list(pods: &[Value]) -> (u16, Value) {
    (200, json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods }))
}

fn refused(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": reason });
    (code, status)
}

fn is_missing<T>(asked: &anyhow::Result<T>) -> bool {
    asked.as_ref().is_err_and(anyhow::Error::is::<Missing>)
}

#[test]
fn agent_of_a_pod_that_does_not_run_says_why_it_cannot_be_asked() {
    assert_eq!(agent(pod("a", "node-1", "Running", CONTAINER)).unwrap().down, None);
    assert_eq!(agent(pod("a", "node-1", "Pending", CONTAINER)).unwrap().down.as_deref(), Some("its pod is Pending"));
}

#[test]
fn agent_of_another_pod_and_of_one_that_leaves_is_none() {
    assert_eq!(agent(pod("a", "node-1", "Running", "check")), None);
    let mut leaving = pod("a", "node-1", "Running", CONTAINER);
    leaving["metadata"]["deletionTimestamp"] = "2026-11-26T08:05:23Z".into();
    assert_eq!(agent(leaving), None);
}

#[tokio::test]
async fn agents_of_chosen_nodes_are_those_and_a_node_without_one_is_named() {
    let pods = [pod("b", "node-2", "Running", CONTAINER), pod("a", "node-1", "Running", CONTAINER)];
    let (agents, requests) = asked(&[], vec![list(&pods)], Cluster::agents).await;
    let nodes: Vec<_> = agents.unwrap().into_iter().map(|agent| agent.node).collect();
    assert_eq!(nodes, ["node-1", "node-2"]);
    assert_eq!(requests, ["/api/v1/pods?&labelSelector=app.kubernetes.io%2Fpart-of%3Dconngate"]);
    let one = ["--node", "node-2", "--agent-namespace", "system"];
    let (agents, requests) = asked(&one, vec![list(&pods)], Cluster::agents).await;
    assert_eq!(agents.unwrap().len(), 1);
    assert!(requests[0].starts_with("/api/v1/namespaces/system/pods?"), "{requests:?}");
    let (agents, _) = asked(&["--node", "node-3"], vec![list(&pods)], Cluster::agents).await;
    assert!(is_missing(&agents) && agents.unwrap_err().to_string().contains("node-3"));
}

#[tokio::test]
async fn agents_that_are_not_there_or_may_not_be_listed_are_errors_with_the_way_out() {
    let (none, _) = asked(&[], vec![list(&[])], Cluster::agents).await;
    assert!(!is_missing(&none) && none.unwrap_err().to_string().contains("no agent in this cluster"));
    let (forbidden, _) = asked(&[], vec![refused(403, "Forbidden")], Cluster::agents).await;
    assert!(format!("{:#}", forbidden.unwrap_err()).contains("--agent-namespace"));
}

#[tokio::test]
async fn agent_of_a_pod_is_that_of_its_node_and_what_is_missing_is_named() {
    let agents = || list(&[pod("a", "node-1", "Running", CONTAINER)]);
    let of = async |cluster: &Cluster| cluster.agent_of("shop/web-0").await;
    let (found, requests) = asked(&[], vec![(200, pod("web-0", "node-1", "Running", "app")), agents()], of).await;
    let (path, agent) = found.unwrap();
    assert_eq!((path.as_str(), agent.path().as_str()), ("shop/web-0", "system/a"));
    assert_eq!(requests[0], "/api/v1/namespaces/shop/pods/web-0");
    let mut waiting = pod("web-0", "", "Pending", "app");
    waiting["spec"]["nodeName"] = Value::Null;
    for (answers, words) in [
        (vec![refused(404, "NotFound")], "there is no pod shop/web-0"),
        (vec![(200, waiting)], "has no node yet"),
        (vec![(200, pod("web-0", "node-2", "Running", "app")), agents()], "node node-2, which has no agent"),
    ] {
        let (missing, _) = asked(&[], answers, of).await;
        assert!(is_missing(&missing), "{words}");
        let error = missing.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
