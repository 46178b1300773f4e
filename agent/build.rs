//! Refuses to build the agent around an eBPF object that is older than its sources.
//!
//! Knows nothing of nightly, LLVM or bpf-linker: it compares digests, so that a plain `cargo build` needs only Rust.

#[path = "build/digest.rs"]
mod digest;

use std::{collections::BTreeSet, env, error::Error, fs, path::Path};

const OBJECT: &str = "agent/src/bpf/object/conngate.bpf.o";
const DIGEST: &str = "agent/src/bpf/object/conngate.bpf.sha256";

fn main() -> Result<(), Box<dyn Error>> {
    let agent = env::var("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&agent).parent().ok_or("agent/ lies in no directory")?;

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    for committed in [OBJECT, DIGEST] {
        println!("cargo:rerun-if-changed={}", root.join(committed).display());
    }
    // The directories of the sources too, so that a new file is noticed; never one that holds a target/.
    let mut watched = BTreeSet::new();
    for path in digest::sources(root)?.into_values() {
        watched.extend(
            path.parent()
                .filter(|parent| *parent != root.join("ebpf") && *parent != root.join("common"))
                .map(Path::to_owned),
        );
        watched.insert(path);
    }
    for path in watched {
        println!("cargo:rerun-if-changed={}", path.display());
    }

    let built_from = fs::read_to_string(root.join(DIGEST)).unwrap_or_default();
    let sources = digest::digest(root)?;
    if !root.join(OBJECT).exists() {
        fail("the eBPF object is missing");
    }
    if built_from.trim() != sources {
        fail(&format!(
            "the eBPF object is not built from these sources: {DIGEST} says {:?}, ebpf/ and common/ are {sources}",
            built_from.trim()
        ));
    }
    Ok(())
}

/// Ends the build with one message for people: cargo shows it as the crate's error.
fn fail(what: &str) {
    println!("cargo::error={what}; run `cargo xtask build-ebpf` and commit the result");
}
