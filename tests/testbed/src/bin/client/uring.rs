//! A connect by IORING_OP_CONNECT.
//!
//! Knows nothing of other operations: the ring lives for one.

use std::{io, os::fd::AsRawFd};

use anyhow::{Context, Result};
use conngate_testbed::clock::mono_ns;
use io_uring::{IoUring, opcode, types::Fd};

use crate::{attempt::Attempt, options::Connect, socket};

pub(crate) fn connect(options: &Connect) -> Result<Attempt> {
    let mut ring = IoUring::new(1).context("this machine has no io_uring")?;
    let (socket, destination) = socket::open(options, 0)?;
    let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), destination.as_ptr().cast(), destination.len()).build();
    let started = mono_ns();
    // SAFETY: the entry points to `destination` and names `socket`; both live beyond the completion, awaited below.
    unsafe { ring.submission().push(&entry) }.context("a new ring has room for one entry")?;
    ring.submit_and_wait(1).context("io_uring_enter failed")?;
    let completion = ring.completion().next().context("io_uring completed nothing")?;
    let result = match completion.result() {
        code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(()),
    };
    Ok(Attempt::ends(started, socket, result))
}
