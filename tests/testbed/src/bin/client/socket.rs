//! A socket as the options want it, before it connects; and what the kernel says of it afterwards.
//!
//! Knows nothing of the way in which it connects.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
};

use conngate_testbed::report::TcpInfo;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::options::Connect;

/// A new socket and the address it has to connect to, the `number`th in turn.
pub(crate) fn open(options: &Connect, number: usize) -> io::Result<(Socket, SockAddr)> {
    let mut destination = options.destinations[number % options.destinations.len()];
    if let (true, IpAddr::V4(address)) = (options.v6_socket, destination.ip()) {
        destination = SocketAddr::from((address.to_ipv6_mapped(), destination.port()));
    }
    let protocol = if options.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, Some(protocol))?;
    if destination.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_write_timeout(options.send_timeout)?;
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if let Some(retries) = options.syncnt {
        set_tcp_option(socket.as_raw_fd(), libc::TCP_SYNCNT, retries.into())?;
    }
    if options.fastopen_connect {
        set_tcp_option(socket.as_raw_fd(), libc::TCP_FASTOPEN_CONNECT, 1)?;
    }
    Ok((socket, destination.into()))
}

fn set_tcp_option(fd: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = length(&value);
    // SAFETY: the kernel reads `length` bytes at `value`, which lives until the call returns.
    let result = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// TCP_SYNCNT; none where the kernel does not have it for this socket.
pub(crate) fn syncnt(socket: &Socket) -> Option<u32> {
    let mut value = 0u32;
    let mut length = length(&value);
    let at = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `length` bytes at `value`, and both live until the call returns.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_SYNCNT, at, &raw mut length) };
    (result == 0).then_some(value)
}

/// What TCP_INFO says; none where the kernel does not have it for this socket (MPTCP before Linux 5.16).
pub(crate) fn tcp_info(socket: &Socket) -> Option<TcpInfo> {
    // SAFETY: tcp_info is made of integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = length(&info);
    let at = (&raw mut info).cast();
    // SAFETY: the kernel writes at most `length` bytes at `info`, and both live until the call returns.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length) };
    (result == 0).then_some(TcpInfo {
        snd_cwnd: info.tcpi_snd_cwnd,
        rtt_us: info.tcpi_rtt,
        rto_us: info.tcpi_rto,
        total_retrans: info.tcpi_total_retrans,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "options are far smaller than 4 GiB")]
const fn length<T>(_: &T) -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
