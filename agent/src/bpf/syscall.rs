//! bpf(2), for the few commands that aya keeps private.
//!
//! Knows nothing of what they are for.

use std::io;

use aya_obj::generated::{bpf_attr, bpf_cmd};

/// An attribute in which nothing is set.
#[must_use]
pub fn attributes() -> bpf_attr {
    // SAFETY: bpf_attr is a union of plain integers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf(2); what it returns: a descriptor, or 0.
///
/// # Errors
/// What the kernel says.
pub fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the given size, and what the attributes point to is the caller's own.
    let result = unsafe {
        nix::libc::syscall(nix::libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<bpf_attr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
