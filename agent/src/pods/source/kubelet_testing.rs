//! A kubelet for tests: TLS on loopback, and whatever answer a test wants.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{kubelet::KubeletConfig, kubelet_trust::Trust};

/// It answers each request, given its head, with these bytes, and closes but after an answer of [`keeping`].
pub(super) struct FakeKubelet {
    pub(super) directory: TempDir,
    pub(super) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl FakeKubelet {
    pub(super) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kubelet.crt"), made.cert.pem()).unwrap();
        std::fs::write(directory.path().join("token"), "secret\n").unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, accepted, answer) = (Arc::clone(&heads), Arc::clone(&connections), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, seen, answer) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                    loop {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            let Ok(byte) = stream.read_u8().await else { return };
                            head.push(byte);
                        }
                        let head = String::from_utf8(head).unwrap();
                        seen.lock().unwrap().push(head.clone());
                        let answer = answer(&head);
                        let _ = stream.write_all(&answer).await;
                        if !String::from_utf8_lossy(&answer).contains("\r\nconnection: keep-alive\r\n") {
                            break;
                        }
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { directory, address, heads, connections }
    }

    /// How to ask it, with its certificate pinned.
    pub(super) fn config(&self) -> KubeletConfig {
        KubeletConfig {
            url: format!("https://{}", self.address).parse().unwrap(),
            trust: Trust::Pinned(self.file("kubelet.crt")),
            token_file: self.file("token"),
            node_addresses: Vec::new(),
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How many connections it accepted.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The heads of all requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// An HTTP answer, the last on its connection.
pub(super) fn answer(status: &str, body: &str) -> Vec<u8> {
    http(status, "close", body)
}

/// An HTTP answer that others may follow.
pub(super) fn keeping(status: &str, body: &str) -> Vec<u8> {
    http(status, "keep-alive", body)
}

fn http(status: &str, connection: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: {connection}\r\n\r\n{body}").into_bytes()
}
