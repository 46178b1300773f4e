//! The chart's README, made of values.yaml: each value with its default and the comment above it.
//!
//! Knows nothing of YAML beyond what values.yaml is written in: comments stand above what they are about, and two blanks
//! indent.

/// The file, relative to the checkout.
pub(crate) const README: &str = "deploy/helm/conngate/README.md";

const HEAD: &str = "\
<!-- Generated from values.yaml by `cargo xtask deploy`: do not edit. -->

# conngate

Your application starts beside its Envoy sidecar, and its first `connect()` simply takes as long as Envoy needs:
[what it does](https://github.com/conngate/conngate).

```sh
kubectl create namespace conngate-system
kubectl label namespace conngate-system pod-security.kubernetes.io/enforce=privileged
helm install conngate oci://ghcr.io/conngate/charts/conngate --namespace conngate-system --wait
```

Kubernetes 1.30 or later, Linux 5.10 or later, cgroup2. [Install](https://github.com/conngate/conngate/blob/main/docs/install.md)
explains each right, how to verify the signatures, and how to uninstall; `deploy/helm/examples` of the repository has values for
GKE, EKS, AKS, OpenShift, Talos, k3s and kind. Helm rejects a wrong value before it installs anything.
";

/// The whole text.
pub(crate) fn text(values: &str) -> String {
    let mut text = HEAD.to_owned();
    // A heading waits for its first value, and what is said of a group for the first in it.
    let (mut section, mut in_table) = (Some("Names and image"), false);
    let (mut comment, mut path) = (Vec::new(), Vec::new());
    let mut lines = values.lines().skip_while(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(title) = trimmed.strip_prefix("# --- ") {
            (section, in_table) = (Some(title), false);
            comment.clear();
        } else if let Some(words) = trimmed.strip_prefix("# ") {
            comment.push(words);
        } else if trimmed.is_empty() {
            comment.clear();
        }
        let Some((key, value)) = trimmed.split_once(':').filter(|(key, _)| is_key(key)) else { continue };
        path.truncate((line.len() - trimmed.len()) / 2);
        path.push(key);
        let is_list = lines.peek().is_some_and(|next| next.trim_start().starts_with("- "));
        let value = if is_list { "[…]" } else { value.trim() };
        if value.is_empty() {
            continue;
        }
        // What a list's elements are is not said.
        let indent = line.len() - trimmed.len();
        while is_list && lines.next_if(|next| next.len() - next.trim_start().len() > indent).is_some() {}
        if let Some(title) = section.take() {
            text += &format!("\n## {title}\n\n");
        }
        if !in_table {
            text += "| value | default | meaning |\n|---|---|---|\n";
            in_table = true;
        }
        text += &format!("| `{}` | `{value}` | {} |\n", path.join("."), comment.join(" ").replace('|', r"\|"));
        comment.clear();
    }
    text
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "./-_".contains(letter))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{deploy::tools::CHART, workspace::root};

    #[test]
    fn text_of_values_has_a_row_for_each_with_what_is_said_of_it() {
        let values = "# Every value.\n\nname: \"\"\n\n# --- The node\n\n# --a: what\n# it is.\na: 1\n# All.\ngroup:\n  # First.\n  b: x\n  c:\n    - d: 1\n      e: 2\n";
        let text = text(values);
        let table = text.strip_prefix(HEAD).unwrap();
        assert_eq!(
            table,
            "\n## Names and image\n\n| value | default | meaning |\n|---|---|---|\n| `name` | `\"\"` |  |\n\n## The node\n\n\
             | value | default | meaning |\n|---|---|---|\n| `a` | `1` | --a: what it is. |\n| `group.b` | `x` | All. First. |\n\
             | `group.c` | `[…]` |  |\n"
        );
    }

    #[test]
    fn readme_of_the_chart_is_made_of_its_values() {
        let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
        assert_eq!(read(README), text(&read(&format!("{CHART}/values.yaml"))), "run `cargo xtask deploy`");
    }
}
