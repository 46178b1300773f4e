//! A connect() that sleeps until it is done, with or without data for the SYN.
//!
//! Knows nothing of epoll or io_uring.

use std::io::{self, Write};

use conngate_testbed::clock::mono_ns;
use socket2::{SockAddr, Socket};

use crate::{
    attempt::{Attempt, EARLY_DATA},
    options::Connect,
    socket,
};

pub(crate) fn connect(options: &Connect) -> io::Result<Attempt> {
    let (socket, destination) = socket::open(options, 0)?;
    let started = mono_ns();
    let result = if options.fastopen {
        socket.send_to_with_flags(EARLY_DATA, &destination, libc::MSG_FASTOPEN).map(drop)
    } else {
        connect_and_write(&socket, &destination, options.fastopen_connect)
    };
    Ok(Attempt::ends(started, socket, result))
}

/// With TCP_FASTOPEN_CONNECT and a cookie at hand it is the write that sends the SYN.
fn connect_and_write(mut socket: &Socket, destination: &SockAddr, write: bool) -> io::Result<()> {
    socket.connect(destination)?;
    if write { socket.write_all(EARLY_DATA) } else { Ok(()) }
}
