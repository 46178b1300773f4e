//! deploy/helm/examples: values for platforms, each of which the chart's schema takes and which change something.
//!
//! Knows nothing of the platforms.

use std::fs;

use anyhow::{Context as _, Result};

use super::tools::Tools;
use crate::workspace::root;

/// Where they are, relative to the checkout.
const EXAMPLES: &str = "deploy/helm/examples";

/// The platforms that docs/install.md promises values for.
const PLATFORMS: [&str; 7] = ["aks", "eks", "gke", "k3s", "kind", "openshift", "talos"];

/// One line for each that is not as it should be; `default` is the rendering without any value.
pub(crate) fn broken(tools: &Tools, default: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let document = fs::read_to_string(root().join("docs/install.md")).context("docs/install.md")?;
    for name in PLATFORMS {
        let path = format!("{EXAMPLES}/{name}.yaml");
        match tools.render_with(&path) {
            Err(error) => found.push(format!("{path}: {error:#}")),
            Ok(rendering) if rendering == default => found.push(format!("{path} changes nothing")),
            Ok(_) => {}
        }
        if !document.contains(&format!("{name}.yaml")) {
            found.push(format!("docs/install.md does not name {path}"));
        }
    }
    let there = fs::read_dir(root().join(EXAMPLES)).context(EXAMPLES)?.count();
    if there != PLATFORMS.len() {
        found.push(format!("{EXAMPLES} has {there} files, {} are known here", PLATFORMS.len()));
    }
    Ok(found)
}
