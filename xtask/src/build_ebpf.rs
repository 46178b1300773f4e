//! `cargo xtask build-ebpf [--check]`: the committed eBPF object, and whether it is what its sources build.

mod compare;
mod compile;
mod contents;
#[path = "../../agent/build/digest.rs"]
mod digest;
mod strip;

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use conngate_testbed::step::step;

use crate::{
    process::{nightly, output},
    setup::{Purpose, prepare},
    versions::NIGHTLY_OF_OBJECT,
    workspace::{OBJECT, OBJECT_DIGEST, root},
};
use contents::Contents;

/// Rebuild the committed eBPF object, with nightly and bpf-linker
#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing: compare programs, maps and licence of a fresh build with the committed object
    #[arg(long)]
    check: bool,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    prepare(Purpose::Ebpf)?;
    let built = step("build ebpf/", || compile::compile(options.check))?;
    let contents = Contents::read(&built).context("the object just built")?;
    if options.check { check(&built, &contents) } else { write(&built, &contents) }
}

fn write(built: &[u8], contents: &Contents) -> Result<ExitCode> {
    // After the build: it may have written ebpf/Cargo.lock, which is a source.
    let digest = digest::digest(root())?;
    let object = root().join(OBJECT);
    fs::create_dir_all(object.parent().context("the object has a directory")?)?;
    fs::write(&object, built)?;
    fs::write(root().join(OBJECT_DIGEST), format!("{digest}\n"))?;
    println!("{OBJECT}: {} bytes, {} programs, {} maps", built.len(), contents.programs.len(), contents.maps.len());
    let compiler = output(nightly("rustc").arg("--version"))?;
    if compiler.trim() != NIGHTLY_OF_OBJECT {
        println!("built by {}: write that into xtask/src/versions.rs as well", compiler.trim());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(built: &[u8], contents: &Contents) -> Result<ExitCode> {
    let mut differences = Vec::new();
    let committed_digest = fs::read_to_string(root().join(OBJECT_DIGEST)).context(OBJECT_DIGEST)?;
    if committed_digest.trim() != digest::digest(root())? {
        differences.push(format!("{OBJECT_DIGEST} is not the digest of the sources"));
    }
    let committed = fs::read(root().join(OBJECT)).context(OBJECT)?;
    differences.extend(compare::differences(&Contents::read(&committed).context(OBJECT)?, contents));
    if differences.is_empty() {
        let how = if built == committed { "byte for byte" } else { "in programs, maps and licence" };
        println!("{OBJECT} is what its sources build, {how}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{OBJECT} is not what its sources build:");
    for difference in &differences {
        println!("  {difference}");
    }
    let compiler = output(nightly("rustc").arg("--version"))?;
    if compiler.trim() != NIGHTLY_OF_OBJECT {
        println!(
            "built by {}, the object by {NIGHTLY_OF_OBJECT}: that alone may explain other instructions",
            compiler.trim()
        );
    }
    println!("run `cargo xtask build-ebpf` and commit the result");
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of a checkout with these files.
    fn digest_of(files: &[(&str, &str)]) -> String {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [("common/src/lib.rs", "//! a"), ("common/Cargo.toml", "[package]")].iter().chain(files)
        {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        digest::digest(root.path()).unwrap()
    }

    #[test]
    fn digest_changed_content_or_name_is_another() {
        let known = digest_of(&[("ebpf/src/main.rs", "fn main() {}")]);
        assert_eq!(known, digest_of(&[("ebpf/src/main.rs", "fn main() {}")]));
        assert_ne!(known, digest_of(&[("ebpf/src/main.rs", "fn main() { }")]));
        assert_ne!(known, digest_of(&[("ebpf/src/maps.rs", "fn main() {}")]));
        assert_ne!(known, digest_of(&[("ebpf/src/main.rs", "fn main() {}"), ("ebpf/new.rs", "")]));
        assert_ne!(known, digest_of(&[("ebpf/src/main.rs", "fn main() {}"), ("common/src/lib.rs", "//! b")]));
    }

    #[test]
    fn digest_build_output_and_other_crates_do_not_count() {
        let sources = ("ebpf/src/main.rs", "fn main() {}");
        let others =
            [sources, ("ebpf/target/release/conngate", "x"), ("agent/src/main.rs", "x"), ("common/tests/a.rs", "x")];
        assert_eq!(digest_of(&[sources]), digest_of(&others));
    }
}
