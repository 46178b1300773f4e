//! The workflows: every action is one commit, named by its digest, with the version that it is beside it.
//!
//! Knows nothing of which commit is right.

use super::tree::{File, Finding};

/// What is wrong with a workflow.
pub(crate) fn findings(file: &File) -> Vec<Finding> {
    if !file.path.starts_with(".github/workflows/") {
        return Vec::new();
    }
    let lines = (1..).zip(file.content.lines());
    let loose = lines.filter(|(_, line)| uses(line).is_some_and(|action| !is_pinned(action)));
    loose
        .map(|(line, _)| file.finding(line, "an action is pinned: `uses: OWNER/NAME@<40 hex digits> # VERSION`"))
        .collect()
}

/// The action that a step uses; one of this repository is none.
fn uses(line: &str) -> Option<&str> {
    let action = line.trim_start().trim_start_matches("- ").strip_prefix("uses: ")?;
    (!action.starts_with("./")).then_some(action)
}

fn is_pinned(action: &str) -> bool {
    let pinned = action.split_once(" # ").and_then(|(action, version)| Some((action.split_once('@')?.1, version)));
    pinned.is_some_and(|(commit, version)| {
        commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && !version.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> usize {
        let path = ".github/workflows/ci.yml".to_owned();
        findings(&File { path, content: format!("steps:\n  - {line}\n") }).len()
    }

    #[test]
    fn findings_action_by_a_tag_is_found() {
        assert_eq!(found("uses: actions/checkout@v4"), 1);
        assert_eq!(found("uses: actions/checkout@08eba0b27e820071cde6df949e0beb9ba4906955"), 1, "which version is it?");
    }

    #[test]
    fn findings_pinned_action_and_own_workflow_are_not_found() {
        assert_eq!(found("uses: actions/checkout@08eba0b27e820071cde6df949e0beb9ba4906955 # v4.3.0"), 0);
        assert_eq!(found("uses: ./.github/workflows/ci.yml"), 0);
    }
}
