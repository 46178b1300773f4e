//! What a connection may take, in virtual time, over connections that are made of memory.

use std::collections::VecDeque;

use axum::routing::get;
use futures_util::FutureExt as _;
use nix::errno::Errno;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use super::*;

/// What a connection of the tests holds in each direction.
const BUFFER: usize = 1024;

const LIFETIME: Duration = Duration::from_secs(30);

const ANSWER: usize = 1 << 20;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n";

/// Serves what is sent there, after `failures`.
fn server(failures: &[Errno], shortages: Shortages) -> UnboundedSender<DuplexStream> {
    let (connect, mut connections) = unbounded_channel();
    let router = Router::new().route("/", get(async || "x".repeat(ANSWER)));
    let mut failures: VecDeque<_> = failures.iter().copied().collect();
    let accept = move |context: &mut Context<'_>| match failures.pop_front() {
        Some(failure) => Poll::Ready(Err(failure.into())),
        None => connections.poll_recv(context).map(|stream| Ok((stream.ok_or(Errno::EBADF)?, router.clone()))),
    };
    tokio::spawn(serve(accept, LIFETIME, shortages));
    connect
}

fn connect(server: &UnboundedSender<DuplexStream>) -> DuplexStream {
    let (client, served) = duplex(BUFFER);
    server.send(served).unwrap();
    client
}

/// How many bytes come until the end.
async fn read_to_end(client: &mut DuplexStream) -> usize {
    let mut bytes = Vec::new();
    // A connection that never ends fails the test in virtual time.
    timeout(10 * LIFETIME, client.read_to_end(&mut bytes)).await.expect("the connection ends").unwrap()
}

fn is_open(client: &mut DuplexStream) -> bool {
    // Not by the budget of this one task, which looks at a thousand.
    tokio::task::unconstrained(client.read_u8()).now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn idle_connections_beyond_the_room_end_the_oldest_and_the_newest_is_answered() {
    let server = server(&[], Shortages::default());
    let mut idle: Vec<_> = (0..1_100).map(|_| connect(&server)).collect();
    let mut asking = connect(&server);
    asking.write_all(REQUEST).await.unwrap();
    assert!(read_to_end(&mut asking).await > ANSWER);
    let open: Vec<_> = idle.iter_mut().map(is_open).collect();
    assert_eq!(open.iter().filter(|open| **open).count(), CONNECTIONS - 1);
    assert!(open[open.len() - CONNECTIONS + 1..].iter().all(|open| *open), "the newest are left");
}

#[tokio::test(start_paused = true)]
async fn head_that_is_never_complete_ends_its_connection_at_the_deadline() {
    let server = server(&[], Shortages::default());
    let begun = tokio::time::Instant::now();
    let mut client = connect(&server);
    for byte in &REQUEST[..4] {
        client.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    read_to_end(&mut client).await;
    assert!(begun.elapsed() < HEAD_DEADLINE + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn head_without_end_is_read_up_to_its_limit() {
    let server = server(&[], Shortages::default());
    let mut client = connect(&server);
    client.write_all(b"GET /").await.unwrap();
    let (mut read, mut write) = tokio::io::split(&mut client);
    let mut taken = 0;
    let send = async {
        while let Ok(bytes) = write.write(&[b'x'; BUFFER]).await {
            taken += bytes;
        }
    };
    let mut answer = Vec::new();
    let (_, answered) = tokio::join!(send, read.read_to_end(&mut answer));
    answered.unwrap();
    assert!(taken <= HEAD + BUFFER, "{taken}");
    assert!(answer.starts_with(b"HTTP/1.1 414") || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn reader_that_does_not_read_is_left_when_its_time_is_over() {
    let server = server(&[], Shortages::default());
    let mut client = connect(&server);
    client.write_all(REQUEST).await.unwrap();
    sleep(LIFETIME + Duration::from_secs(1)).await;
    assert!(read_to_end(&mut client).await <= BUFFER, "what was sent before its time was over");
}

#[tokio::test(start_paused = true)]
async fn connection_is_one_question() {
    let server = server(&[], Shortages::default());
    let mut client = connect(&server);
    client.write_all(&REQUEST.repeat(2)).await.unwrap();
    assert!(read_to_end(&mut client).await < 2 * ANSWER);
}

#[tokio::test(start_paused = true)]
async fn connection_that_cannot_be_taken_is_taken_later_and_what_is_short_is_named() {
    let shortages = Shortages::default();
    let server = server(&[Errno::EMFILE, Errno::ECONNABORTED, Errno::ENFILE], shortages.clone());
    let mut client = connect(&server);
    client.write_all(REQUEST).await.unwrap();
    assert!(read_to_end(&mut client).await > ANSWER);
    assert!(matches!(shortages.named().as_slice(), [descriptors, _] if descriptors.starts_with("descriptors: limit ")));
}
