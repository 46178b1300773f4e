//! What is posted to the API server, and what is not.

use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;
use crate::pods::testing::pod;

type Server = mock::Handle<hyper::Request<Body>, hyper::Response<Body>>;

fn recorder() -> (Recorder, Server) {
    let (service, server) = mock::pair::<hyper::Request<Body>, hyper::Response<Body>>();
    (Recorder::start(&runtime::Handle::current(), Client::new(service, "default"), "node-1", Recorded::new()), server)
}

/// How many events were not sent, as /metrics says it.
fn dropped(recorder: &Recorder) -> u64 {
    recorder.recorded.events(EventResult::Dropped)
}

async fn next(server: &mut Server, status: u16, answer: Value) -> (String, Value) {
    let (request, respond) = server.next_request().await.expect("a request");
    let what = format!("{} {}", request.method(), request.uri().path());
    let body = request.into_body().collect_bytes().await.unwrap();
    respond.send_response(
        hyper::Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap(),
    );
    (what, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn record_posts_an_event_on_the_pod() {
    let (recorder, mut server) = recorder();
    recorder.record(&pod("shop", "web"), Happening::NotGated(NoGate::InvalidAnnotation), "key is `value`");
    let (what, event) = next(&mut server, 201, json!({"metadata": {}})).await;
    assert_eq!(what, "POST /apis/events.k8s.io/v1/namespaces/shop/events");
    assert_eq!(event["metadata"]["generateName"], "web-");
    assert_eq!(event["regarding"]["uid"], crate::pods::testing::uid(1));
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["namespace"]), (&json!("Pod"), &json!("shop")));
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("InvalidAnnotation")));
    assert_eq!((&event["reportingController"], &event["reportingInstance"]), (&json!("conngate"), &json!("node-1")));
    assert_eq!(event["note"], "key is `value`");
    assert!(event["eventTime"].is_string() && event["action"].is_string());
}

#[tokio::test]
async fn record_of_a_pod_without_a_proxy_is_normal_and_has_its_word() {
    let (recorder, mut server) = recorder();
    for why in NoGate::ALL.into_iter().filter(|why| *why != NoGate::InvalidAnnotation) {
        recorder.record(&pod("shop", "web"), Happening::NotGated(why), why.explanation());
        let (_, event) = next(&mut server, 201, json!({"metadata": {}})).await;
        assert_eq!((&event["type"], &event["reason"]), (&json!("Normal"), &json!(why.event())));
        // The same word, as Events spell it.
        let word = why.event().chars().fold(String::new(), |mut word, letter| {
            if letter.is_uppercase() && !word.is_empty() {
                word.push('-');
            }
            word.extend(letter.to_lowercase());
            word
        });
        assert_eq!(word, why.word());
    }
}

#[tokio::test]
async fn record_same_again_is_posted_once_and_long_notes_are_cut() {
    let (recorder, mut server) = recorder();
    let pod = pod("shop", "web");
    recorder.record(&pod, Happening::GateOpened, "same");
    recorder.record(&pod, Happening::GateOpened, "same");
    recorder.record(&pod, Happening::GateTimedOut, &"é".repeat(2000));
    assert_eq!(next(&mut server, 201, json!({"metadata": {}})).await.1["note"], "same");
    let (_, event) = next(&mut server, 201, json!({"metadata": {}})).await;
    assert_eq!(event["reason"], "GateTimedOut");
    assert_eq!(event["note"].as_str().unwrap().len(), 1024);
    assert_eq!(dropped(&recorder), 1);
}

#[tokio::test]
async fn record_while_the_server_refuses_goes_on_and_is_counted() {
    let (recorder, mut server) = recorder();
    let pod = pod("shop", "web");
    let refusal = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": "no"});
    recorder.record(&pod, Happening::ConnectionsHeld, "1");
    recorder.record(&pod, Happening::ConnectionsHeld, "2");
    next(&mut server, 403, refusal).await;
    assert_eq!(next(&mut server, 201, json!({"metadata": {}})).await.1["note"], "2");
    assert_eq!(dropped(&recorder), 1);
}

#[tokio::test]
async fn record_after_a_panic_is_posted_all_the_same() {
    let (posted, mut seen) = mpsc::channel(8);
    let service = tower::service_fn(move |request: hyper::Request<Body>| {
        let posted = posted.clone();
        async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            let event: Value = serde_json::from_slice(&body).unwrap();
            assert_ne!(event["note"], "1");
            posted.send(event["note"].clone()).await.unwrap();
            Ok::<_, tower::BoxError>(hyper::Response::new(Body::from(b"{\"metadata\": {}}".to_vec())))
        }
    });
    let client = Client::new(service, "default");
    let recorder = Recorder::start(&runtime::Handle::current(), client, "node-1", Recorded::new());
    recorder.record(&pod("shop", "web"), Happening::ConnectionsHeld, "1");
    recorder.record(&pod("shop", "web"), Happening::ConnectionsHeld, "2");
    assert_eq!(seen.recv().await, Some(json!("2")));
}

#[tokio::test]
async fn record_never_waits_for_a_server_that_does_not_answer() {
    let (recorder, _server) = recorder();
    let pod = pod("shop", "web");
    (0..1000).for_each(|n| recorder.record(&pod, Happening::ConnectionsHeld, &n.to_string()));
    assert_eq!(dropped(&recorder), 1000 - u64::try_from(QUEUE).unwrap());
}
