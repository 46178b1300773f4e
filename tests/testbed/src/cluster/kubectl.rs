//! kubectl and helm against the cluster.
//!
//! Knows nothing of what is asked.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{build, lifetime::Cluster};
use crate::lab::tool;

impl Cluster {
    /// The command `kubectl`, as an administrator, to be given its arguments and started. Files are those of this
    /// machine, relative ones from this directory.
    pub fn kubectl_command(&self) -> Result<Command> {
        self.exec_in_node("kubectl")
    }

    /// What `kubectl ARGUMENTS` says on stdout; fails with what it says on stderr.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "")
    }

    /// What `kubectl ARGUMENTS -o json` says.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let answer = self.kubectl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&answer).with_context(|| format!("kubectl {} says no JSON", arguments.join(" ")))
    }

    /// `kubectl apply` of `manifests`: YAML, or JSON.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifests)
    }

    /// The command `helm`, which is built when it is first asked for.
    pub fn helm_command(&self) -> Result<Command> {
        self.exec_in_node(build::helm()?)
    }

    /// What `helm ARGUMENTS` says on stdout; fails with what it says on stderr.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut helm = self.helm_command()?;
        helm.args(arguments);
        tool::feed(helm, "").with_context(|| format!("helm {}", arguments.join(" ")))
    }

    /// What `kubectl ARGUMENTS` says on stdout when it is given `input`; fails with what it says on stderr.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut kubectl = self.kubectl_command()?;
        kubectl.args(arguments);
        tool::feed(kubectl, input).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }
}
