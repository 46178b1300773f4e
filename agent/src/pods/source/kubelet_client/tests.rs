//! Whom we trust, what we say, and what we take for an answer.

use serde_json::json;

use super::{
    super::kubelet_testing::{FakeKubelet, answer, keeping},
    *,
};
use crate::pods::testing::{json_list, json_pod, uid};

fn pods() -> Vec<u8> {
    answer("200 OK", &json_list(&[json_pod("shop", "web", &uid(1))]).to_string())
}

async fn error(config: &KubeletConfig) -> String {
    chain(&KubeletClient::new(config.clone()).pods().await.unwrap_err())
}

#[tokio::test]
async fn pods_are_asked_for_with_the_token_of_the_moment() {
    let kubelet = FakeKubelet::start(|_| pods()).await;
    let mut client = KubeletClient::new(kubelet.config());
    let (found, faults) = client.pods().await.unwrap();
    assert_eq!((found[0].path(), faults.len()), ("shop/web".to_owned(), 0));
    std::fs::write(kubelet.file("token"), "rotated").unwrap();
    client.pods().await.unwrap();
    let heads = kubelet.heads();
    assert!(heads[0].starts_with("GET /pods HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("authorization: Bearer secret\r\n"), "{heads:?}");
    assert!(heads[1].contains("authorization: Bearer rotated\r\n"), "{heads:?}");
}

#[tokio::test]
async fn pods_are_asked_for_on_one_connection_as_long_as_the_trust_is_the_same() {
    let kubelet = FakeKubelet::start(|_| keeping("200 OK", &json_list(&[]).to_string())).await;
    let mut client = KubeletClient::new(kubelet.config());
    for _ in 0..3 {
        client.pods().await.unwrap();
    }
    assert_eq!((kubelet.heads().len(), kubelet.connections()), (3, 1));
    let more = std::fs::read_to_string(kubelet.file("kubelet.crt")).unwrap().repeat(2);
    std::fs::write(kubelet.file("kubelet.crt"), more).unwrap();
    client.pods().await.unwrap();
    assert_eq!(kubelet.connections(), 2);
}

#[tokio::test]
async fn certificate_is_accepted_when_pinned_signed_or_not_asked_for() {
    let kubelet = FakeKubelet::start(|_| pods()).await;
    for trust in [Trust::Pinned(kubelet.file("kubelet.crt")), Trust::Ca(kubelet.file("kubelet.crt")), Trust::Unverified]
    {
        let config = KubeletConfig { trust, ..kubelet.config() };
        assert!(config.check().is_ok());
        assert_eq!(KubeletClient::new(config).pods().await.unwrap().0.len(), 1);
    }
}

#[tokio::test]
async fn certificate_of_somebody_else_gets_no_token() {
    let kubelet = FakeKubelet::start(|_| pods()).await;
    let other = FakeKubelet::start(|_| pods()).await;
    for trust in [Trust::Pinned(other.file("kubelet.crt")), Trust::Ca(other.file("kubelet.crt"))] {
        let error = error(&KubeletConfig { trust, ..kubelet.config() }).await;
        assert!(error.contains("is not trusted (--kubelet-ca"), "{error}");
    }
    assert!(kubelet.heads().is_empty());
}

#[tokio::test]
async fn pinned_certificate_that_rotates_is_read_again() {
    let kubelet = FakeKubelet::start(|_| pods()).await;
    let mut client = KubeletClient::new(kubelet.config());
    let own = std::fs::read(kubelet.file("kubelet.crt")).unwrap();
    let other = FakeKubelet::start(|_| pods()).await;
    std::fs::copy(other.file("kubelet.crt"), kubelet.file("kubelet.crt")).unwrap();
    assert!(client.pods().await.is_err());
    std::fs::write(kubelet.file("kubelet.crt"), own).unwrap();
    assert!(client.pods().await.is_ok());
}

#[tokio::test]
async fn files_that_are_missing_or_wrong_are_named() {
    let kubelet = FakeKubelet::start(|_| pods()).await;
    let config = |trust, token| KubeletConfig { trust, token_file: kubelet.file(token), ..kubelet.config() };
    let pinned = || Trust::Pinned(kubelet.file("kubelet.crt"));
    let message = error(&config(pinned(), "none")).await;
    assert!(message.contains("none cannot be used: No such file"), "{message}");
    std::fs::write(kubelet.file("bad"), "a\u{1}b").unwrap();
    assert!(error(&config(pinned(), "bad")).await.contains("bad cannot be used"));
    for trust in [Trust::Ca(kubelet.file("token")), Trust::Pinned(kubelet.file("none"))] {
        let message = error(&config(trust, "token")).await;
        assert!(message.contains("holds no certificate (PEM)"), "{message}");
    }
    assert!(kubelet.heads().is_empty());
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, body, words) in [
        ("401 Unauthorized", "Unauthorized", "did not accept the service account's token (401)"),
        (
            "403 Forbidden",
            "Forbidden (user=agent, verb=get, resource=nodes, subresource(s)=[pods proxy])\u{1b}",
            "refused nodes/pods (fine-grained authorization, Kubernetes 1.33+)",
        ),
        ("302 Found", "", "answered 302"),
        ("500 Internal Server Error", "x", "answered 500"),
        ("200 OK", "{}", "not a PodList"),
        ("200 OK", "{\"kind\":\"NodeList\",\"apiVersion\":\"v1\",\"items\":[]}", "not a PodList"),
        ("200 OK", "<html>", "not a PodList"),
    ] {
        let kubelet = FakeKubelet::start(move |_| answer(status, body)).await;
        let error = error(&kubelet.config()).await;
        assert!(error.contains(words) && !error.contains('\u{1b}'), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_and_no_tls_are_told_apart() {
    let kubelet = FakeKubelet::start(|_| pods()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = KubeletConfig { url: format!("https://{address}").parse().unwrap(), ..kubelet.config() };
    let plain = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert!(error(&config).await.contains("is not trusted"));
    plain.await.unwrap();
    let refused = error(&config).await;
    assert!(refused.contains("cannot be reached") && refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn hostile_answers_end() {
    let deep = format!("{{\"kind\":\"PodList\",\"items\":{}", "[".repeat(100_000));
    let hostile: [(Vec<u8>, &str); 5] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 68719476736\r\n\r\n".to_vec(), "broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec(), "broke off"),
        ([b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat(), "is broken"),
        (b"garbage\r\n\r\n".to_vec(), "is broken"),
        (answer("200 OK", &deep), "not a PodList"),
    ];
    for (bytes, words) in hostile {
        let kubelet = FakeKubelet::start(move |_| bytes.clone()).await;
        let error = error(&kubelet.config()).await;
        assert!(error.contains(words) || error.contains("larger than 64 MiB"), "{error}");
    }
}

#[tokio::test]
async fn endless_body_is_cut_at_its_limit() {
    let body = vec![b' '; MAX_BODY + 1];
    let kubelet = FakeKubelet::start(move |_| [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), body.clone()].concat()).await;
    // Whichever bound is met first on a slow machine: size or time.
    let error = error(&kubelet.config()).await;
    assert!(error.contains("larger than 64 MiB") || error.contains("within 10s"), "{error}");
}

#[test]
fn check_unverified_elsewhere_or_without_tls_is_refused() {
    let check = |url: &str, trust| {
        KubeletConfig {
            url: url.parse().unwrap(),
            trust,
            token_file: PathBuf::new(),
            node_addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        }
        .check()
    };
    for url in ["https://127.0.0.1:10250", "https://[::1]:10250", "https://192.0.2.7:10250", "https://[2001:db8::7]"] {
        assert_eq!(check(url, Trust::Unverified), Ok(()), "{url}");
    }
    for url in ["https://192.0.2.8:10250", "https://node-1:10250", "https://localhost:10250"] {
        assert!(matches!(check(url, Trust::Unverified), Err(KubeletConfigError::Unverified(_))), "{url}");
        assert_eq!(check(url, Trust::Ca(PathBuf::new())), Ok(()), "{url}");
    }
    for url in ["http://127.0.0.1:10255", "/pods", "127.0.0.1:10250"] {
        assert!(matches!(check(url, Trust::Unverified), Err(KubeletConfigError::Url(_))), "{url}");
    }
}

#[test]
fn parse_pods_that_are_none_are_left_out_and_named() {
    let list = json_list(&[
        json_pod("shop", "web", &uid(1)),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}}),
    ]);
    let (pods, faults) = parse(list.to_string().as_bytes()).unwrap();
    assert_eq!((pods.len(), faults.len()), (1, 1));
}

proptest::proptest! {
    #[test]
    fn parse_of_anything_does_not_panic(
        body in "\\{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"items\":[\\PC]{0,60}|\\PC{0,60}",
    ) {
        let _ = parse(body.as_bytes());
    }
}
