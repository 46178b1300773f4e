//! The path of a cgroup, whose last parts a container chooses.
//!
//! Knows nothing of what exists: what is located lies in the path.
#![no_main]

use conngate::proc::layout::locate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let _ = locate(path);
});
