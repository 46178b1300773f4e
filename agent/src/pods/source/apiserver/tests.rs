//! The watch against a scripted API server: every request is expected, and a request that does not come fails the test.

use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower_test::mock;

use super::{
    super::kubelet_testing::{FakeKubelet, answer as http_answer},
    *,
};
use crate::pods::testing::{json_list, json_pod, uid};

type Server = mock::Handle<hyper::Request<Body>, hyper::Response<Body>>;

fn start() -> (Server, mpsc::Receiver<(SourceName, Report)>, tokio::task::JoinSet<Infallible>) {
    let (service, server) = mock::pair::<hyper::Request<Body>, hyper::Response<Body>>();
    let source = ApiServer { client: Client::new(service, "default"), node: "node-1".to_owned() };
    let (to, reports) = mpsc::channel(16);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(source.run(Reports { source: SourceName::ApiServer, to }));
    (server, reports, tasks)
}

/// The next request's path and query; it is answered with `body`.
async fn answer(server: &mut Server, status: u16, body: String) -> String {
    let (request, respond) = server.next_request().await.expect("a request");
    respond.send_response(hyper::Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap());
    request.uri().to_string()
}

async fn list(server: &mut Server, pods: &[Value]) -> String {
    answer(server, 200, json_list(pods).to_string()).await
}

async fn watch_with(server: &mut Server, events: &[Value]) -> String {
    answer(server, 200, events.iter().map(|event| format!("{event}\n")).collect()).await
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

async fn names(reports: &mut mpsc::Receiver<(SourceName, Report)>) -> Vec<String> {
    let report = reports.recv().await.unwrap().1;
    let Report::Listed { pods, .. } = report else { panic!("{report:?}") };
    pods.into_iter().map(|pod| pod.name).collect()
}

#[tokio::test(start_paused = true)]
async fn watch_lists_this_node_s_pods_then_follows_them() {
    let (mut server, mut reports, _tasks) = start();
    let asked = list(
        &mut server,
        &[json_pod("shop", "web", &uid(1)), json!({"metadata": {"name": "odd"}, "spec": {"containers": []}})],
    )
    .await;
    assert!(asked.starts_with("/api/v1/pods?") && asked.contains("fieldSelector=spec.nodeName%3Dnode-1"), "{asked}");
    // From the API server's cache.
    assert!(asked.contains("&resourceVersion=0&resourceVersionMatch=NotOlderThan"), "{asked}");
    assert!(!asked.contains("limit="), "{asked}");
    assert_eq!(names(&mut reports).await, ["web"]);

    let mut changed = json_pod("shop", "web", &uid(1));
    changed["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let events = [
        json!({"type": "ADDED", "object": json_pod("shop", "new", &uid(2))}),
        json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "99"}}}),
        json!({"type": "MODIFIED", "object": changed}),
        json!({"type": "DELETED", "object": json_pod("shop", "web", &uid(1))}),
    ];
    let watched = watch_with(&mut server, &events).await;
    assert!(watched.contains("watch=true") && watched.contains("allowWatchBookmarks=true"), "{watched}");
    assert!(watched.contains("resourceVersion=7"), "{watched}");
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
    assert!(matches!(reports.recv().await.unwrap().1, Report::Applied(pod) if pod.name == "new"));
    assert!(matches!(reports.recv().await.unwrap().1, Report::Applied(pod) if pod.terminating));
    let uid: crate::uid::PodUid = uid(1).parse().unwrap();
    assert!(matches!(reports.recv().await.unwrap().1, Report::Deleted { uid: gone, .. } if gone == uid));
}

#[tokio::test(start_paused = true)]
async fn watch_whose_version_expired_lists_again_without_a_failure() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[json_pod("shop", "web", &uid(1))]).await;
    assert_eq!(names(&mut reports).await, ["web"]);
    watch_with(&mut server, &[json!({"type": "ERROR", "object": status(410, "Expired", "too old")})]).await;
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
    let asked = list(&mut server, &[json_pod("shop", "other", &uid(2))]).await;
    // From a server that knows no less than the one before.
    assert!(asked.contains("&resourceVersion=7&resourceVersionMatch=NotOlderThan"), "{asked}");
    assert_eq!(names(&mut reports).await, ["other"]);

    // The same, said by HTTP.
    answer(&mut server, 410, status(410, "Expired", "too old").to_string()).await;
    let asked = list(&mut server, &[]).await;
    assert!(!asked.contains("watch=true"), "{asked}");
    assert!(names(&mut reports).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn list_that_no_server_is_new_enough_for_is_asked_for_at_its_most_recent_version() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[]).await;
    names(&mut reports).await;
    answer(&mut server, 410, status(410, "Expired", "too old").to_string()).await;
    let large = status(504, "Timeout", "Too large resource version: 7, current: 3");
    let asked = answer(&mut server, 504, large.to_string()).await;
    assert!(asked.contains("resourceVersion=7"), "{asked}");
    assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { why } if why.contains("Too large")));
    let asked = list(&mut server, &[]).await;
    assert!(!asked.contains("resourceVersion"), "{asked}");
    assert!(names(&mut reports).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn watch_that_tells_of_what_is_no_pod_is_a_failure_until_a_list_succeeds() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[]).await;
    names(&mut reports).await;
    for event in [
        json!({"type": "ADDED", "object": {"metadata": {"resourceVersion": "8"}, "spec": 3}}),
        json!({"type": "ERROR", "object": status(500, "InternalError", "etcd")}),
    ] {
        watch_with(&mut server, &[event]).await;
        assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
        assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { .. }));
        let asked = list(&mut server, &[]).await;
        assert!(!asked.contains("watch=true"), "{asked}");
        assert!(names(&mut reports).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_not_asked_for_without_a_pause() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[]).await;
    names(&mut reports).await;
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        watch_with(&mut server, &[]).await;
        assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
    }
    // Time is the test's own.
    assert!(began.elapsed() > Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn watch_that_breaks_goes_on_at_its_version_without_a_list() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[]).await;
    names(&mut reports).await;
    let bookmark = json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "99"}}});
    let added = json!({"type": "ADDED", "object": json_pod("shop", "web", &uid(1))});
    // It ends in mid-event, then nobody is there, then a proxy answers in the server's place.
    answer(&mut server, 200, format!("{bookmark}\n{{\"type\": \"ADD")).await;
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
    let (_, respond) = server.next_request().await.expect("a request");
    respond.send_error("connection refused");
    assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { why } if why.contains("connection refused")));
    answer(&mut server, 503, status(503, "ServiceUnavailable", "not yet").to_string()).await;
    assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { why } if why.contains("not yet")));
    let watched = watch_with(&mut server, &[added]).await;
    assert!(watched.contains("watch=true") && watched.contains("resourceVersion=99"), "{watched}");
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
    assert!(matches!(reports.recv().await.unwrap().1, Report::Applied(pod) if pod.name == "web"));
}

#[tokio::test(start_paused = true)]
async fn watch_that_is_never_answered_is_given_up() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[]).await;
    names(&mut reports).await;
    let (_request, _never) = server.next_request().await.unwrap();
    assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { why, .. } if why.contains("did not answer")));
    watch_with(&mut server, &[]).await;
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
}

#[tokio::test(start_paused = true)]
async fn refusals_name_what_is_missing_and_are_tried_again() {
    let (mut server, mut reports, _tasks) = start();
    let said = "pods is forbidden: User \"agent\" cannot list resource \"pods\"";
    for (code, reason, message, words) in [
        (
            403,
            "Forbidden",
            said,
            "cannot list resource \"pods\": the service account needs list and watch on pods: apply",
        ),
        (401, "Unauthorized", "Unauthorized", "does not accept the token of the service account (401)"),
        (500, "InternalError", "etcd", "answered 500: etcd"),
    ] {
        answer(&mut server, code, status(code, reason, message).to_string()).await;
        let report = reports.recv().await.unwrap().1;
        let Report::Failed { why, .. } = report else { panic!("{report:?}") };
        assert!(why.contains(words), "{why}");
    }
    list(&mut server, &[]).await;
    assert!(names(&mut reports).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn watch_that_is_refused_is_a_failure_until_it_is_taken_up() {
    let (mut server, mut reports, _tasks) = start();
    list(&mut server, &[]).await;
    names(&mut reports).await;
    answer(&mut server, 403, status(403, "Forbidden", "cannot watch").to_string()).await;
    assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { why, .. } if why.contains("cannot watch")));
    watch_with(&mut server, &[]).await;
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
}

#[tokio::test(start_paused = true)]
async fn list_that_is_never_answered_is_given_up() {
    let (mut server, mut reports, _tasks) = start();
    let (_request, _never) = server.next_request().await.unwrap();
    assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { why, .. } if why.contains("did not answer")));
    list(&mut server, &[]).await;
    assert!(names(&mut reports).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn garbage_is_a_failure_and_no_panic() {
    let (mut server, mut reports, _tasks) = start();
    for body in ["", "<html>", "{\"items\": 3}", "[[[["] {
        answer(&mut server, 200, body.to_owned()).await;
        assert!(matches!(reports.recv().await.unwrap().1, Report::Failed { .. }), "{body}");
    }
}

#[tokio::test]
async fn watch_over_tls_shows_the_token_and_checks_the_certificate() {
    let server = FakeKubelet::start(|head| {
        let added = json!({"type": "ADDED", "object": json_pod("shop", "new", &uid(2))});
        let watched = head.contains("watch=true");
        let body = if watched { format!("{added}\n") } else { json_list(&[]).to_string() };
        http_answer("200 OK", &body)
    })
    .await;
    // As the kubelet projects it: kube takes no line end.
    std::fs::write(server.file("token"), "secret").unwrap();
    let mut config = kube::Config::new(server.config().url);
    config.root_cert_file = Some(server.file("kubelet.crt"));
    config.auth_info.token_file = Some(server.file("token").display().to_string());
    let source = ApiServer { client: Client::try_from(config.clone()).unwrap(), node: "node-1".to_owned() };
    let (to, mut reports) = mpsc::channel(16);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(source.run(Reports { source: SourceName::ApiServer, to: to.clone() }));
    assert!(names(&mut reports).await.is_empty());
    assert!(matches!(reports.recv().await.unwrap().1, Report::Watching));
    assert!(matches!(reports.recv().await.unwrap().1, Report::Applied(pod) if pod.name == "new"));
    assert!(server.heads()[0].contains("authorization: Bearer secret\r\n"), "{:?}", server.heads());
    tasks.shutdown().await;

    let other = FakeKubelet::start(|_| Vec::new()).await;
    config.root_cert_file = Some(other.file("kubelet.crt"));
    let (to, mut reports) = mpsc::channel(16);
    let source = ApiServer { client: Client::try_from(config).unwrap(), node: "node-1".to_owned() };
    tasks.spawn(source.run(Reports { source: SourceName::ApiServer, to }));
    let report = reports.recv().await.unwrap().1;
    assert!(matches!(&report, Report::Failed { why, .. } if why.contains("certificate")), "{report:?}");
}
