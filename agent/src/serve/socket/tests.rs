//! The socket on a real file system, and the API behind it while no loop takes questions.

use std::os::unix::{fs::PermissionsExt as _, net::UnixListener as StdListener};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::*;
use crate::{
    clock,
    serve::{conditions::Conditions, testing},
};

fn serve(path: &Path) -> Result<Served, SocketError> {
    super::serve(&Handle::current(), path, testing::state(Conditions::new(clock::now())))
}

async fn get(path: &Path, uri: &str) -> (u16, Value) {
    let stream = UnixStream::connect(path).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(uri).header("host", "x").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

#[tokio::test]
async fn serve_makes_a_socket_for_its_owner_and_answers_without_a_loop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/conngate.sock");
    let served = serve(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, body) = get(&path, "/v1/status").await;
    assert_eq!((status, &body["ready"], &body["live"]), (200, &false.into(), &Value::Null));
    assert_eq!(
        (&body["agent"]["node"], &body["conditions"][0]["unmet"]),
        (&"node-1".into(), &"not reached yet".into())
    );
    for (uri, expected) in [("/v1/pods/shop/web", 503), ("/v1/events", 503), ("/v1/report", 503), ("/v2", 404)] {
        let (status, body) = get(&path, uri).await;
        assert_eq!((status, &body["version"]), (expected, &1.into()), "{uri}: {body}");
        assert!(body["error"].is_string(), "{uri}: {body}");
    }
    drop(served);
    assert!(!path.exists());
}

#[tokio::test]
async fn serve_where_another_agent_answers_is_refused_and_where_one_died_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("conngate.sock");
    let alive = StdListener::bind(&path).unwrap();
    assert!(matches!(serve(&path), Err(SocketError::Taken(_))));
    drop(alive);
    let _served = serve(&path).unwrap();
    assert_eq!(get(&path, "/v1/status").await.0, 200);
}

#[tokio::test]
async fn serve_where_somebodys_file_is_leaves_it_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "precious").unwrap();
    let error = serve(file.path()).unwrap_err();
    assert!(crate::errors::error_chain(&error).contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "precious");
}

#[tokio::test]
async fn serve_where_no_socket_can_be_names_the_path() {
    for path in ["/proc/conngate/x.sock".to_owned(), format!("/tmp/{}.sock", "x".repeat(200))] {
        let error = serve(Path::new(&path)).unwrap_err();
        assert!(error.to_string().contains(&path) && error.to_string().contains("--socket"), "{error}");
    }
}
