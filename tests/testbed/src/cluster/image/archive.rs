//! The docker archive: manifest.json, and for each image its configuration and its layers.
//!
//! Shapes: Docker image specification 1.2, "combined image JSON + filesystem changeset format". What several images share
//! is in the archive once.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use super::{Image, Layer};

/// Writes `images` to the archive `path`.
pub fn write(images: &[Image], path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut archive = Builder::new(file);
    let layers: BTreeMap<_, _> =
        images.iter().flat_map(|image| &image.layers).map(|layer| (member(layer), layer)).collect();
    for (member, layer) in layers {
        archive
            .append_path_with_name(&layer.tar, member)
            .with_context(|| format!("cannot add the layer {}", layer.tar.display()))?;
    }
    let mut manifest = Vec::new();
    let mut configs = BTreeMap::new();
    for image in images {
        let config = config(image).to_string();
        let name = format!("{:x}.json", Sha256::digest(&config));
        configs.insert(name.clone(), config);
        let layers: Vec<_> = image.layers.iter().map(member).collect();
        manifest.push(json!({ "Config": name, "RepoTags": [image.reference], "Layers": layers }));
    }
    configs.insert("manifest.json".to_owned(), Value::from(manifest).to_string());
    for (name, content) in configs {
        append(&mut archive, &name, &content)?;
    }
    archive.finish().with_context(|| format!("cannot write {}", path.display()))
}

fn member(layer: &Layer) -> String {
    format!("{}/layer.tar", layer.digest)
}

fn config(image: &Image) -> Value {
    let diff_ids: Vec<_> = image.layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    json!({
        // The names of GOARCH, for the two that a test machine may be.
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "User": image.user,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

fn append(archive: &mut Builder<File>, name: &str, content: &str) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len().try_into()?);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content.as_bytes()).with_context(|| format!("cannot add {name}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use super::*;

    #[test]
    fn write_two_images_of_one_layer_hold_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        fs::write(&source, "content").unwrap();
        let layer = Layer::of_files(&directory.path().join("layer.tar"), &[("/bin/x", &source)]).unwrap();
        let images =
            ["a.test/a:1", "a.test/b:1"].map(|reference| Image::new(reference, &[&layer], &["/bin/x"]).user(7));
        let path = directory.path().join("archive.tar");
        write(&images, &path).unwrap();
        let mut members = BTreeMap::new();
        for entry in tar::Archive::new(File::open(path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let name = entry.path().unwrap().display().to_string();
            assert!(members.insert(name, content).is_none());
        }
        let manifest: Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
        assert_eq!(manifest[1]["RepoTags"][0], "a.test/b:1");
        assert_eq!(manifest[0]["Layers"], manifest[1]["Layers"]);
        assert!(members.contains_key(manifest[0]["Layers"][0].as_str().unwrap()));
        let config: Value = serde_json::from_slice(&members[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["config"]["User"], "7:7");
    }
}
