//! Many connect() calls that do not wait, and one epoll that does.
//!
//! Knows nothing of threads: each runs this for its share.

use std::{io, thread, time::Instant};

use conngate_testbed::clock::mono_ns;
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use socket2::Socket;

use crate::{
    attempt::{Attempt, End},
    options::Connect,
    socket,
};

/// Events taken by one epoll_wait().
const BATCH: usize = 1024;

/// An attempt that has not ended: when it started, and its socket.
type Pending = Option<(u64, Socket)>;

pub(crate) fn connect(options: &Connect, count: usize) -> io::Result<Vec<Attempt>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let deadline = options.give_up.map(|patience| Instant::now() + patience);
    let mut ended = Vec::with_capacity(count);
    let mut pending: Vec<Pending> = Vec::with_capacity(count);
    for number in 0..count {
        if number > 0 && !options.apart.is_zero() {
            thread::sleep(options.apart);
        }
        let (socket, destination) = socket::open(options, number)?;
        socket.set_nonblocking(true)?;
        let started = mono_ns();
        match socket.connect(&destination) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                let interest = EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT, number as u64);
                epoll.add(&socket, interest)?;
                pending.push(Some((started, socket)));
            }
            result => {
                ended.push(Attempt::ends(started, socket, result));
                pending.push(None);
            }
        }
    }
    let mut events = [EpollEvent::empty(); BATCH];
    while ended.len() < count {
        let happened = match epoll.wait(&mut events, timeout(deadline)) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        for event in &events[..happened] {
            let slot = usize::try_from(event.data()).ok().and_then(|number| pending.get_mut(number));
            if let Some((started, socket)) = slot.and_then(Option::take) {
                let result = socket.take_error().and_then(|error| error.map_or(Ok(()), Err));
                ended.push(Attempt::ends(started, socket, result));
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let given_up = pending.iter_mut().filter_map(Option::take).map(|(started, socket)| {
                drop(socket);
                Attempt { started, ended: mono_ns(), end: End::GaveUp }
            });
            ended.extend(given_up);
        }
    }
    Ok(ended)
}

fn timeout(deadline: Option<Instant>) -> EpollTimeout {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // Rounded up: a wait that ends a moment before the deadline would be repeated with no time at all.
    let millis = left.map(|left| i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
    millis.and_then(|millis| EpollTimeout::try_from(millis).ok()).unwrap_or(EpollTimeout::NONE)
}
