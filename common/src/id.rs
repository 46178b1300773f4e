//! Numbers with a role: a mix-up does not compile.
//!
//! Knows nothing of where they come from.

use crate::Shared;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        // SAFETY: transparent over u64.
        unsafe impl Shared for $name {}
    };
}

id! {
    /// A cgroup's id in the cgroup2 hierarchy: the inode number of its directory; 0 is none.
    CgroupId
}
id! {
    /// A socket's cookie (`SO_COOKIE`, `bpf_get_socket_cookie`), unique for the life of the machine; 0 is none.
    SocketCookie
}
id! {
    /// A network namespace's cookie (`SO_NETNS_COOKIE`, `bpf_get_netns_cookie`); 0 is unknown.
    NetnsCookie
}
id! {
    /// Nanoseconds on `CLOCK_MONOTONIC`, the clock of TCP's own timers and timestamps; 0 is never.
    MonoTime
}

impl MonoTime {
    /// Nanoseconds since `earlier`, 0 when it lies ahead.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time plus `nanos`.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}
