//! All of it together: a real TLS kubelet, a scripted API server, real tasks.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use kube::client::Body;
use tower_test::mock;

use super::{
    super::{
        SourceState,
        kubelet_testing::{FakeKubelet, answer},
    },
    *,
};
use crate::pods::testing::{json_list, json_pod, uid};

type Server = mock::Handle<hyper::Request<Body>, hyper::Response<Body>>;

fn config(kind: Kind) -> (Config, Server) {
    let (service, server) = mock::pair::<hyper::Request<Body>, hyper::Response<Body>>();
    let config = Config {
        runtime: runtime::Handle::current(),
        kind,
        node_name: Some("node-1".to_owned()),
        client: Some(Client::new(service, "default")),
        kubelet: None,
        manifests: None,
        namespaces: false,
    };
    (config, server)
}

async fn next(events: &mut mpsc::Receiver<SourceEvent>) -> SourceEvent {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("an event").expect("sources")
}

async fn until(events: &mut mpsc::Receiver<SourceEvent>, wanted: impl Fn(&SourceEvent) -> bool) -> SourceEvent {
    loop {
        let event = next(events).await;
        if wanted(&event) {
            return event;
        }
    }
}

async fn answer_list(server: &mut Server, status: u16, body: String) {
    let (_, respond) = server.next_request().await.expect("a request");
    respond.send_response(hyper::Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap());
}

/// Sources that ask the API server and `kubelet`.
fn auto(kubelet: &FakeKubelet) -> (Server, Handle, mpsc::Receiver<SourceEvent>) {
    let (mut config, server) = config(Kind::Auto);
    config.kubelet = Some(kubelet.config());
    let (to, events) = mpsc::channel(64);
    (server, Sources::start(config, to).unwrap(), events)
}

#[tokio::test]
async fn auto_asks_the_kubelet_once_for_a_pod_that_the_watch_does_not_know() {
    let born = Arc::new(AtomicBool::new(false));
    let exists = Arc::clone(&born);
    let kubelet = FakeKubelet::start(move |_| {
        let pods: Vec<_> =
            exists.load(Ordering::SeqCst).then(|| json_pod("shop", "new", &uid(1))).into_iter().collect();
        answer("200 OK", &json_list(&pods).to_string())
    })
    .await;
    let (mut server, handle, mut events) = auto(&kubelet);
    answer_list(&mut server, 200, json_list(&[]).to_string()).await;
    let up = |source| SourceEvent::Health { source, state: SourceState::Up };
    let (mut api, mut own) = (false, false);
    while !(api && own) {
        let event = next(&mut events).await;
        api |= event == up(SourceName::ApiServer);
        own |= event == up(SourceName::Kubelet);
    }
    let before = kubelet.heads().len();
    born.store(true, Ordering::SeqCst);
    assert!((0..100).all(|_| handle.ask(uid(1).parse().unwrap())));
    let seen = until(&mut events, |event| matches!(event, SourceEvent::Seen(_) | SourceEvent::Answered { .. })).await;
    assert!(matches!(seen, SourceEvent::Seen(pod) if pod.name == "new"));
    let answered = until(&mut events, |event| matches!(event, SourceEvent::Answered { .. })).await;
    assert_eq!(answered, SourceEvent::Answered { uid: uid(1).parse().unwrap(), known: true });
    assert_eq!(kubelet.heads().len(), before + 1);

    handle.ask(uid(2).parse().unwrap());
    let answered = until(&mut events, |event| matches!(event, SourceEvent::Answered { .. })).await;
    assert_eq!(answered, SourceEvent::Answered { uid: uid(2).parse().unwrap(), known: false });
}

#[tokio::test]
async fn pod_that_the_kubelet_does_not_know_yet_is_asked_for_until_it_does() {
    // Its first answers are the list, two without the pod, and one that fails.
    let answers = AtomicUsize::new(0);
    let kubelet = FakeKubelet::start(move |_| match answers.fetch_add(1, Ordering::SeqCst) {
        0..3 => answer("200 OK", &json_list(&[]).to_string()),
        3 => answer("500 Internal Server Error", ""),
        _ => answer("200 OK", &json_list(&[json_pod("shop", "late", &uid(1))]).to_string()),
    })
    .await;
    let (mut server, handle, mut events) = auto(&kubelet);
    // The watch says nothing of it: only questions find it, and the kubelet is asked by itself once a minute.
    answer_list(&mut server, 200, json_list(&[]).to_string()).await;
    until(&mut events, |event| *event == SourceEvent::Synced).await;
    handle.ask(uid(1).parse().unwrap());
    until(&mut events, |event| matches!(event, SourceEvent::Answered { known: false, .. })).await;
    until(&mut events, |event| matches!(event, SourceEvent::Seen(pod) if pod.name == "late")).await;
}

#[tokio::test]
async fn source_that_panics_is_down_and_starts_again() {
    let requests = AtomicUsize::new(0);
    let service = tower::service_fn(move |_: hyper::Request<Body>| {
        let first = requests.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            assert!(!first, "boom");
            let list = json_list(&[json_pod("shop", "web", &uid(1))]).to_string();
            Ok::<_, tower::BoxError>(hyper::Response::new(Body::from(list.into_bytes())))
        }
    });
    let (mut config, _server) = config(Kind::Apiserver);
    config.client = Some(Client::new(service, "default"));
    let (to, mut events) = mpsc::channel(64);
    let _handle = Sources::start(config, to).unwrap();
    let down = next(&mut events).await;
    let SourceEvent::Health { source: SourceName::ApiServer, state: SourceState::Down { why } } = &down else {
        panic!("{down:?}")
    };
    assert_eq!(why, "a defect of conngate, please report it: boom");
    until(&mut events, |event| matches!(event, SourceEvent::Seen(pod) if pod.name == "web")).await;
}

#[test]
fn sources_need_no_turn_of_the_runtime_that_hears_of_them() {
    let runtime = crate::hand::event_loop("sources").unwrap();
    let (to, mut events) = mpsc::channel(64);
    let service = || {
        let list = json_list(&[json_pod("shop", "web", &uid(1))]).to_string();
        std::future::ready(Ok::<_, tower::BoxError>(hyper::Response::new(Body::from(list.into_bytes()))))
    };
    let client = runtime.block_on(async { Client::new(tower::service_fn(move |_| service()), "default") });
    let (kubelet, manifests) = (None, None);
    let node_name = Some("node-1".to_owned());
    let config = Config {
        runtime,
        kind: Kind::Apiserver,
        node_name,
        client: Some(client),
        kubelet,
        manifests,
        namespaces: false,
    };
    // This thread has no runtime at all.
    let _handle = Sources::start(config, to).unwrap();
    assert!(std::iter::from_fn(|| events.blocking_recv()).any(|event| matches!(event, SourceEvent::Seen(_))));
}

#[tokio::test]
async fn auto_without_an_api_server_lives_on_the_kubelet_alone() {
    let list = json_list(&[json_pod("shop", "web", &uid(1))]).to_string();
    let kubelet = FakeKubelet::start(move |_| answer("200 OK", &list)).await;
    let (mut config, mut server) = config(Kind::Auto);
    config.kubelet = Some(kubelet.config());
    let (to, mut events) = mpsc::channel(64);
    let _handle = Sources::start(config, to).unwrap();
    answer_list(&mut server, 403, "{\"kind\":\"Status\",\"code\":403,\"message\":\"no\"}".to_owned()).await;
    until(&mut events, |event| matches!(event, SourceEvent::Seen(pod) if pod.name == "web")).await;
    until(&mut events, |event| *event == SourceEvent::Synced).await;
}

#[tokio::test]
async fn auto_where_neither_works_says_so_of_both() {
    let kubelet = FakeKubelet::start(|_| answer("403 Forbidden", "no")).await;
    let (mut config, mut server) = config(Kind::Auto);
    config.kubelet = Some(kubelet.config());
    let (to, mut events) = mpsc::channel(64);
    let _handle = Sources::start(config, to).unwrap();
    answer_list(&mut server, 401, "{\"kind\":\"Status\",\"code\":401,\"message\":\"who\"}".to_owned()).await;
    let mut whys = Vec::new();
    while whys.len() < 2 {
        if let SourceEvent::Health { source, state: SourceState::Down { why } } = next(&mut events).await {
            whys.push(format!("{source}: {why}"));
        }
    }
    whys.sort();
    assert!(whys[0].starts_with("apiserver: ") && whys[0].contains("401"), "{whys:?}");
    assert!(whys[1].starts_with("kubelet: ") && whys[1].contains("nodes/pods"), "{whys:?}");
}

#[tokio::test]
async fn handle_dropped_ends_everything() {
    let (config, _server) = config(Kind::Apiserver);
    let (to, mut events) = mpsc::channel(64);
    drop(Sources::start(config, to).unwrap());
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn start_what_is_missing_is_named() {
    for (kind, words) in [
        (Kind::Auto, "--pod-source auto needs the kubelet's address (--kubelet-url)"),
        (Kind::Kubelet, "--pod-source kubelet needs the kubelet's address (--kubelet-url)"),
        (Kind::Apiserver, "--pod-source apiserver needs this node's name (--node-name)"),
        (Kind::File, "--pod-source file needs --pod-manifests"),
    ] {
        let (mut config, _server) = config(kind);
        config.node_name = None;
        let error = Sources::start(config, mpsc::channel(1).0).unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}
