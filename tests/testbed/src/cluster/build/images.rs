//! The images of the test cluster: pause, application, mesh, conngate.
//!
//! Knows nothing of who runs them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    super::{
        image::{Image, Layer, write},
        place::shared,
    },
    ADDONS, conngate, go,
    stamp::{Digest, Stamp},
};
use crate::{
    lab::{client, envoy},
    step::step,
};

/// Of the pause container.
pub const PAUSE: &str = "conngate.test/pause:1";
/// A Debian userland with `conngate-test-client`, curl, python3 and bash; runs bash.
pub const APP: &str = "conngate.test/app:1";
/// The registry and path of the mesh's images.
pub(in super::super) const MESH_HUB: &str = "conngate.test/istio";
/// The mesh's proxy: a real Envoy, in the same userland.
pub const PROXY: &str = "conngate.test/istio/proxyv2:1";
/// The tag of the mesh's images.
pub(in super::super) const MESH_TAG: &str = "1";
/// conngate: `/conngate` and nothing else.
pub const CONNGATE: &str = concat!("docker.io/conngate/conngate:", env!("CARGO_PKG_VERSION"));

/// The user of pilot and of the proxy.
const MESH_USER: u32 = 1337;

/// The archive of [`PAUSE`] and [`APP`].
pub(super) fn app(userland: &Path, digest: &Digest) -> Result<PathBuf> {
    let client = client::binary()?;
    archive("app", &digest.clone().file(&client)?, || {
        let base = Layer::of(userland)?;
        let client = Layer::of_files(&file("client-layer")?, &[("/usr/local/bin/conngate-test-client", &client)])?;
        Ok(vec![
            Image::new(PAUSE, &[&base], &["/usr/bin/catatonit", "-P"]),
            Image::new(APP, &[&base, &client], &["/bin/bash"]),
        ])
    })
}

/// The archive of pilot and the proxy; `digest` knows their programs.
pub(super) fn mesh(userland: &Path, digest: &Digest) -> Result<PathBuf> {
    let envoy = envoy::binary()?;
    let bootstrap = go::source(ADDONS, "istio.io/istio")?.join("tools/packaging/common/envoy_bootstrap.json");
    let digest = digest.clone().file(&bootstrap)?.file(&envoy)?;
    archive("mesh", &digest, || {
        let base = Layer::of(userland)?;
        let agent = go::program("pilot-agent")?;
        let proxy = Layer::of_files(
            &file("proxy-layer")?,
            &[
                ("/usr/local/bin/envoy", &envoy),
                ("/usr/local/bin/pilot-agent", &agent),
                ("/var/lib/istio/envoy/envoy_bootstrap_tmpl.json", &bootstrap),
            ],
        )?;
        let discovery = go::program("pilot-discovery")?;
        let pilot = Layer::of_files(&file("pilot-layer")?, &[("/usr/local/bin/pilot-discovery", &discovery)])?;
        let image = |name: &str, layer: &Layer, program: &str| {
            Image::new(&format!("{MESH_HUB}/{name}:{MESH_TAG}"), &[&base, layer], &[program]).user(MESH_USER)
        };
        Ok(vec![
            image("proxyv2", &proxy, "/usr/local/bin/pilot-agent"),
            image("pilot", &pilot, "/usr/local/bin/pilot-discovery"),
        ])
    })
}

/// The archive of [`CONNGATE`].
pub(in super::super) fn conngate() -> Result<PathBuf> {
    let binary = conngate::build()?;
    archive("conngate", &Digest::default().file(&binary)?, || {
        let layer = Layer::of_files(&file("conngate-layer")?, &[("/conngate", &binary)])?;
        Ok(vec![Image::new(CONNGATE, &[&layer], &["/conngate"])])
    })
}

/// The archive `name`, written anew when `digest` has changed.
fn archive(name: &str, digest: &Digest, images: impl FnOnce() -> Result<Vec<Image>>) -> Result<PathBuf> {
    let path = file(name)?;
    let stamp = Stamp::new(&format!("{name}-images"))?;
    if !stamp.fits(digest) || !path.is_file() {
        step(&format!("images: {name}"), || write(&images()?, &path))?;
        stamp.set(digest)?;
    }
    Ok(path)
}

fn file(name: &str) -> Result<PathBuf> {
    let directory = shared("images");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.join(format!("{name}.tar")))
}
