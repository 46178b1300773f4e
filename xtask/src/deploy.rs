//! `cargo xtask deploy [--check]`: the kustomize base and the chart's README, made of the Helm chart; and whether deploy/ is what it says.
//!
//! Knows nothing of a cluster: everything is rendered here. That a server accepts it is for the node tests to see.
//! Invariant: the chart is the one source, the kustomize base its default rendering.

mod alerts;
pub(crate) mod document;
mod metrics;
mod monitoring;
mod platforms;
mod promise;
mod readme;
pub(crate) mod tools;
mod values;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace::root;
use conngate_testbed::step::step;
use tools::Tools;

/// The generated part of the kustomize base, relative to the checkout.
const BASE: &str = "deploy/kustomize/base/conngate.yaml";
/// Its first line.
const HEADER: &str = "# Generated from deploy/helm/conngate by `cargo xtask deploy`: do not edit.\n";

/// Generate the kustomize base and the chart's README from the Helm chart
#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing: check the chart, every value of it, the kustomizations, the examples, what the documents say, and that
    /// alerts and dashboard name only metrics that exist
    #[arg(long)]
    check: bool,
    /// Helm 3
    #[arg(long, value_name = "FILE", default_value = "helm")]
    helm: PathBuf,
    /// kubectl, for its kustomize
    #[arg(long, value_name = "FILE", default_value = "kubectl")]
    kubectl: PathBuf,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let tools = Tools { helm: options.helm.clone(), kubectl: options.kubectl.clone() };
    if options.check {
        return Ok(if check(&tools)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    fs::write(root().join(BASE), base(&tools.render(&[])?)).context(BASE)?;
    let values = format!("{}/values.yaml", tools::CHART);
    let readme = readme::text(&fs::read_to_string(root().join(&values)).context(values)?);
    fs::write(root().join(readme::README), readme).context(readme::README)?;
    println!("{BASE}, {}: written", readme::README);
    Ok(ExitCode::SUCCESS)
}

/// Whether all is well that can be known of deploy/ without a cluster. What is not is printed.
pub(crate) fn check(tools: &Tools) -> Result<bool> {
    let mut broken = Vec::new();
    step("the chart, as Helm sees it", || tools.lint())?;
    let default = tools.render(&[])?;
    if fs::read_to_string(root().join(BASE)).context(BASE)? != base(&default) {
        broken.push(format!("{BASE} is not what the chart renders: run `cargo xtask deploy`"));
    }
    broken.extend(step("every value, right and wrong", || values::broken(tools, &default))?);
    broken.extend(step("values for platforms", || platforms::broken(tools, &default))?);
    broken.extend(step("kustomizations, examples, documents", || promise::broken(tools, &default))?);
    broken.extend(step("alerts and dashboard", monitoring::broken)?);
    for line in &broken {
        println!("{line}");
    }
    println!("deploy: {}", if broken.is_empty() { "clean" } else { "failed" });
    Ok(broken.is_empty())
}

/// A rendering without what is true of Helm's releases only.
fn base(rendering: &str) -> String {
    let of_helm = ["helm.sh/chart: ", "app.kubernetes.io/managed-by: ", "# Source: "];
    let kept = rendering.lines().filter(|line| !of_helm.iter().any(|prefix| line.trim_start().starts_with(prefix)));
    kept.fold(HEADER.to_owned(), |base, line| base + line.trim_end() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_of_a_rendering_keeps_all_but_the_release() {
        let rendering = "---\n# Source: conngate/templates/x.yaml\nkind: X\n  helm.sh/chart: conngate-0.1.0\n  \
                         app.kubernetes.io/managed-by: Helm\n  app.kubernetes.io/name: conngate \n";
        assert_eq!(base(rendering), format!("{HEADER}---\nkind: X\n  app.kubernetes.io/name: conngate\n"));
    }
}
