//! Probes against real servers, kind and hostile.

use std::{
    io::{Read as _, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
};

use super::*;

/// Bytes that no endless server gets rid of before its client hangs up: far more than any socket buffers.
const ENDLESS: usize = 256 << 20;

/// What a probe makes of a server that reads the request and then does `serve`, and what that returned.
fn probe_of<T: Send + 'static>(
    deadline: Duration,
    serve: impl FnOnce(&mut std::net::TcpStream) -> T + Send + 'static,
) -> (Answer, T) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        assert!(request.starts_with(b"GET /ready HTTP/1.1\r\n"), "{:?}", String::from_utf8_lossy(&request));
        serve(&mut stream)
    });
    let answer = ask_at(address, deadline);
    (answer, server.join().unwrap())
}

/// Writes `piece` for as long as the client takes it, and says whether the client hung up.
fn write_endlessly(stream: &mut impl Write, piece: &[u8]) -> bool {
    (0..ENDLESS / piece.len()).any(|_| stream.write_all(piece).is_err())
}

fn ask_at(address: SocketAddr, deadline: Duration) -> Answer {
    let url: ReadyUrl = format!("http://{address}/ready").parse().unwrap();
    let connecting = async { TcpStream::connect(address).await.map_err(ProbeError::Connect) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(connecting, &url, deadline))
}

/// Long enough that no healthy exchange on a busy machine misses it.
const LONG: Duration = Duration::from_secs(60);

/// For exchanges that never end.
const SHORT: Duration = Duration::from_millis(50);

fn answer_to(reply: &'static str) -> Answer {
    probe_of(LONG, move |stream| stream.write_all(reply.as_bytes()).unwrap()).0
}

#[test]
fn status_of_success_is_ready() {
    for reply in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 299 x\r\nContent-Length: 0\r\n\r\n"] {
        assert!(matches!(answer_to(reply), Answer::Ready), "{reply}");
    }
    assert!(matches!(answer_to("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nLIVE\n"), Answer::Ready));
    assert!(matches!(answer_to("HTTP/1.1 200 OK\r\n\r\n"), Answer::Ready));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nLIVE\n\r\n0\r\n\r\n";
    assert!(matches!(answer_to(chunked), Answer::Ready));
    let endless = |stream: &mut std::net::TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        write_endlessly(stream, &[b'x'; 65536])
    };
    let (answer, hung_up) = probe_of(LONG, endless);
    assert!(matches!(answer, Answer::Ready) && hung_up, "its body is not read");
}

#[test]
fn other_status_is_not_ready_and_keeps_its_word() {
    for (reply, expected_status, expected_word) in [
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 13\r\n\r\nINITIALIZING\n", 503, "INITIALIZING"),
        ("HTTP/1.1 300 Multiple Choices\r\nContent-Length: 0\r\n\r\n", 300, ""),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, ""),
        ("HTTP/1.0 500 no\r\n\r\n\x1b[31mred\u{e4}\r\nsecond", 500, ".[31mred.."),
    ] {
        match answer_to(reply) {
            Answer::NotReady { status, word } => assert_eq!((status, &*word), (expected_status, expected_word)),
            other @ (Answer::Ready | Answer::Failed(_)) => panic!("{reply:?}: {other:?}"),
        }
    }
}

#[test]
fn long_line_is_cut_to_a_word() {
    let body = "x".repeat(MAX_BODY);
    let reply = format!("HTTP/1.1 503 no\r\nContent-Length: {MAX_BODY}\r\n\r\n{body}");
    match probe_of(LONG, move |stream| stream.write_all(reply.as_bytes()).unwrap()).0 {
        Answer::NotReady { word, .. } => assert_eq!(word, "x".repeat(MAX_WORD)),
        other @ (Answer::Ready | Answer::Failed(_)) => panic!("{other:?}"),
    }
}

#[test]
fn answer_that_is_not_http_fails() {
    for reply in [
        "",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 503 No\r\nBroken",
        "HTTP/9.9 503 No\r\n\r\n",
    ] {
        assert!(matches!(answer_to(reply), Answer::Failed(ProbeError::Http(_))), "{reply:?}");
    }
}

#[test]
fn body_that_ends_early_fails() {
    let answer = answer_to("HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nLIV");
    assert!(matches!(answer, Answer::Failed(ProbeError::Body(_))), "{answer:?}");
}

#[test]
fn endless_body_fails_after_the_limit() {
    let (answer, hung_up) = probe_of(LONG, |stream| {
        stream.write_all(b"HTTP/1.1 503 No\r\n\r\n").is_err() || write_endlessly(stream, &[b'x'; 4096])
    });
    assert!(matches!(answer, Answer::Failed(ProbeError::Body(_))), "{answer:?}");
    assert!(hung_up);
}

#[test]
fn endless_header_fails_after_the_limit() {
    let (answer, hung_up) = probe_of(LONG, |stream| {
        stream.write_all(b"HTTP/1.1 503 No\r\nX: ").is_err() || write_endlessly(stream, &[b'x'; 4096])
    });
    assert!(matches!(answer, Answer::Failed(ProbeError::Http(_))), "{answer:?}");
    assert!(hung_up);
}

#[test]
fn endless_headers_fail_after_the_limit() {
    let (answer, hung_up) = probe_of(LONG, |stream| {
        stream.write_all(b"HTTP/1.1 503 No\r\n").is_err() || write_endlessly(stream, b"a: b\r\n")
    });
    assert!(matches!(answer, Answer::Failed(ProbeError::Http(_))), "{answer:?}");
    assert!(hung_up);
}

#[test]
fn answer_that_stops_midway_meets_the_deadline() {
    for start in ["", "HTTP/1.1 2", "HTTP/1.1 503 No\r\n", "HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nLIVE"] {
        let (answer, hung_up) = probe_of(SHORT, |stream| {
            stream.write_all(start.as_bytes()).unwrap();
            stream.read(&mut [0])
        });
        assert!(matches!(answer, Answer::Failed(ProbeError::Deadline(SHORT))), "{start:?}: {answer:?}");
        assert_eq!(hung_up.unwrap(), 0);
    }
}

#[test]
fn byte_by_byte_answer_meets_the_deadline() {
    let (answer, ()) = probe_of(SHORT, |stream| {
        stream.write_all(b"HTTP/1.1 503 No\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(SHORT / 10)).unwrap();
        // One byte whenever the client has not hung up for a while.
        while stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            if stream.write_all(b"x").is_err() {
                break;
            }
        }
    });
    assert!(matches!(answer, Answer::Failed(ProbeError::Deadline(SHORT))), "{answer:?}");
}

#[test]
fn endless_interim_answers_meet_the_deadline() {
    let (answer, ()) = probe_of(SHORT, |stream| while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {});
    assert!(matches!(answer, Answer::Failed(ProbeError::Deadline(SHORT))), "{answer:?}");
}

#[test]
fn word_of_any_bytes_is_short_printable_ascii() {
    for body in [&b""[..], b"\n", b"LIVE", &[0xff; 5000], b"a\x00\x1b]0;title\x07"] {
        let word = word(body);
        assert!(word.len() <= MAX_WORD && word.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{word:?}");
    }
}
