//! What a kubelet answers to GET /pods.
//!
//! Knows nothing of HTTP: the body alone.
#![no_main]

use conngate::pods::source::kubelet::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = parse(body);
});
