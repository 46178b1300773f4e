//! The modules that a guest needs before it has a root, in the order in which they are loaded.
//!
//! What a kernel has built in is in no file, and so not missed here.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

/// Of Debian's cloud kernels some have these built in. The second is for ext4, which does not name it.
const WANTED: [&str; 5] = ["virtio_pci", "crc32c_generic", "virtio_blk", "virtio_console", "ext4"];

/// Name and content of each, from the `directory` of a kernel's modules.
pub(crate) fn early(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let index = directory.join("modules.dep");
    let index = fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
    in_order(&index, &WANTED).into_iter().map(|path| Ok((name(path), content(&directory.join(path))?))).collect()
}

/// The paths of `wanted` and of what they need, by modules.dep(5): `PATH: PATH…`, where a later one is loaded earlier.
fn in_order<'a>(index: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let mut paths: Vec<&str> = Vec::new();
    for wanted in wanted {
        let mut lines = index.lines().filter_map(|line| line.split_once(':'));
        let Some((path, needs)) = lines.find(|(path, _)| name(path) == *wanted) else { continue };
        for path in needs.split_whitespace().rev().chain([path]) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths
}

/// As the kernel names it: `-` and `_` are one.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{}: in what way is it compressed?", path.display()),
    };
    let output = Command::new(program).args(["--decompress", "--stdout"]).arg(path).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz\n\
        kernel/drivers/virtio/virtio.ko.xz:\n\
        kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz\n\
        kernel/crypto/crc32c-generic.ko.xz:\n";

    #[test]
    fn in_order_what_is_needed_comes_first_and_once() {
        let names: Vec<_> =
            in_order(INDEX, &["crc32c_generic", "ext4", "virtio_blk", "virtio_ring"]).into_iter().map(name).collect();
        assert_eq!(names, ["crc32c_generic", "virtio", "virtio_ring", "virtio_blk"]);
    }
}
