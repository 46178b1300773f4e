//! A manifest in YAML or JSON.
//!
//! Knows nothing of files.
#![no_main]

use conngate::pods::source::manifest::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let _ = parse(text);
});
