//! What the eBPF programs and the agent share: byte layouts, codes, and the verdict.
//!
//! Knows nothing of maps, sockets, clocks, Kubernetes or an allocator: it is `no_std`, takes values and returns values.
//!
//! Invariants:
//! - Every shared struct is `repr(C)`, has fixed-width fields from large to small, no implicit padding, and a
//!   const-asserted size, on the host and on the eBPF target alike.
//! - Enums cross the boundary as `u32` codes; whoever reads one converts it with `TryFrom` and decides what an unknown
//!   code means (the verdict: let the connection go).
//! - [`ABI_VERSION`] changes with every change of a layout or a code.
#![no_std]

pub mod budget;
mod codes;
pub mod counter;
pub mod gate;
pub mod hold;
pub mod id;
pub mod reason;
pub mod record;
pub mod verdict;

/// Version of every layout and code in this crate. The object carries it (`ABI`), and the agent refuses another one.
pub const ABI_VERSION: u32 = 7;

/// A plain shared value: `repr(C)` or `repr(transparent)`, no padding, every bit pattern valid.
///
/// # Safety
/// The implementor guarantees all three, so that a value may be read from and written to a map as bytes.
pub unsafe trait Shared: Copy + 'static {}
