//! Helm and kubectl, as renderers.
//!
//! Knows nothing of what is rendered. Neither is let near a cluster: `template` and `kustomize` ask none.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{process::output, workspace::root};

/// The chart, relative to the checkout.
pub(crate) const CHART: &str = "deploy/helm/conngate";
/// The release that the kustomize base is.
const RELEASE: [&str; 4] = ["conngate", CHART, "--namespace", "conngate-system"];
/// What is rendered for. A Helm built from its module believes in 1.20.
const KUBERNETES: [&str; 2] = ["--kube-version", "1.34.0"];

/// Where the programs are: paths, or names on PATH.
pub(crate) struct Tools {
    /// Helm 3.
    pub(crate) helm: PathBuf,
    /// kubectl.
    pub(crate) kubectl: PathBuf,
}

impl Tools {
    /// `helm lint --strict`.
    pub(crate) fn lint(&self) -> Result<()> {
        output(in_root(&self.helm).args(["lint", "--strict", "--quiet", CHART]).args(KUBERNETES)).map(drop)
    }

    /// What `helm install` makes of the chart with `values`: each a path and a JSON value.
    pub(crate) fn render(&self, values: &[(&str, &str)]) -> Result<String> {
        self.template(&["--skip-tests"], values)
    }

    /// As [`Tools::render`], with the values in `file`, relative to the checkout.
    pub(crate) fn render_with(&self, file: &str) -> Result<String> {
        self.template(&["--skip-tests", "--values", file], &[])
    }

    /// What `helm test` runs.
    pub(crate) fn render_tests(&self) -> Result<String> {
        self.template(&["--show-only", "templates/tests/*.yaml"], &[("service.enabled", "true")])
    }

    fn template(&self, options: &[&str], values: &[(&str, &str)]) -> Result<String> {
        let mut helm = in_root(&self.helm);
        helm.arg("template").args(RELEASE).args(KUBERNETES).args(options);
        for (path, json) in values {
            helm.arg("--set-json").arg(format!("{path}={json}"));
        }
        output(&mut helm)
    }

    /// `kubectl kustomize directory`, relative to the checkout.
    pub(crate) fn kustomize(&self, directory: &str) -> Result<String> {
        output(in_root(&self.kubectl).args(["kustomize", directory]))
    }
}

fn in_root(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("KUBECONFIG", "/dev/null");
    command
}
