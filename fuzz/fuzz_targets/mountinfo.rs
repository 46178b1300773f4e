//! The mounts of a container's process, which a pod with the right to mount can arrange as it likes.
//!
//! Knows nothing of which container it should be: whatever is recognised is a DNS label, and of this pod.
#![no_main]

use conngate::{proc::identity::recognise, uid::PodUid};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|mountinfo: &[u8]| {
    let pod: PodUid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".parse().expect("a UID");
    if let Ok(Some(name)) = recognise(mountinfo, pod) {
        assert!((1..=63).contains(&name.len()) && !name.contains('/'));
    }
});
