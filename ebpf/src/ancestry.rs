//! At which level of the hierarchy is a cgroup above the caller?
//!
//! Never attached: the agent runs it in its own context with BPF_PROG_TEST_RUN, where no path tells the level (inside a
//! cgroup namespace the root of the hierarchy cannot be seen). Touches no map; needs Linux 5.15 (the helper in tracing).

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_get_current_ancestor_cgroup_id, programs::RawTracePointContext};

/// Levels that are looked at; a pod of a cluster in a pod of a cluster in a user's session has about 15.
const LEVELS: u32 = 64;

/// The level of the caller's ancestor with the id that is argument 0, plus one; 0: it is no ancestor. Written out, for
/// aya's macro throws the answer away.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
fn ancestry(ctx: *mut c_void) -> u32 {
    let id: u64 = RawTracePointContext::new(ctx).arg(0);
    for level in 0..LEVELS {
        // SAFETY: a helper without pointers; 0 below the caller's own level.
        match unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) } {
            0 => return 0,
            ancestor if ancestor == id => return level + 1,
            _ => {}
        }
    }
    0
}
