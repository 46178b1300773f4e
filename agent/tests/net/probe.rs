//! A probe reaches the server in the namespace, and no other.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use conngate::{
    net::probe::{Answer, ProbeError, probe},
    url::ReadyUrl,
};

use crate::fixture::{Pod, worker};

fn ask(pod: &Pod, url: &str) -> Answer {
    let url: ReadyUrl = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(probe(worker(), &pod.netns, &url, Duration::from_secs(25)))
}

#[test]
#[ignore = "needs root"]
fn probe_asks_inside_the_namespace() {
    for (address, url) in [
        ("127.0.0.1:15000", "http://127.0.0.1:15000/ready"),
        ("[::1]:15000", "http://[::1]:15000/ready"),
        ("[::1]:15000", "http://localhost:15000/ready"),
    ] {
        let (pod, other) = (Pod::bare(), Pod::bare());
        let listener = TcpListener::from(pod.listen(address));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nLIVE\n").unwrap();
        });
        assert!(matches!(ask(&other, url), Answer::Failed(ProbeError::Refused)));
        let answer = ask(&pod, url);
        assert!(matches!(answer, Answer::Ready), "{answer:?}");
        server.join().unwrap();
    }
}
