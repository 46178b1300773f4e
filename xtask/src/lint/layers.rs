//! The rooms of the agent depend on each other in one direction: cli, daemon, driver, hands, what they share.
//!
//! Sees paths that begin with `crate::`; whatever stands at the library's root and is no room is shared by all.

use super::{
    tokens::{Token, start_with, tokens},
    tree::{File, Finding},
};

const LIBRARY: &str = "agent/src/";

/// The rooms, each of which may name those before it.
const ROOMS: [&str; 11] =
    ["hand", "metrics", "proc", "net", "bpf", "pods", "report", "serve", "driver", "daemon", "cli"];

/// What is wrong with what `file` names.
pub(crate) fn findings(file: &File) -> Vec<Finding> {
    let Some(own) = file.path.strip_prefix(LIBRARY).and_then(rank) else { return Vec::new() };
    let tokens = tokens(&file.content);
    let mut found = Vec::new();
    for index in 0..tokens.len() {
        for (line, name) in named(&tokens[index..]) {
            if rank(name).is_some_and(|other| other > own) {
                let why = format!("`{}` names `{name}`, which is above it: {}", ROOMS[own], ROOMS.join(" < "));
                found.push(file.finding(line, why));
            }
        }
    }
    found
}

/// The place of a room, by its name or a path in it.
fn rank(path: &str) -> Option<usize> {
    let room = path.split(['/', '.']).next()?;
    ROOMS.iter().position(|name| *name == room)
}

/// The names at the library's root that a path or a tree of paths at the begin of `tokens` names.
fn named(tokens: &[Token]) -> Vec<(usize, &str)> {
    if !start_with(tokens, &["crate", ":", ":"]) {
        return Vec::new();
    }
    let rest = &tokens[3..];
    if !start_with(rest, &["{"]) {
        return rest.first().map(|token| (token.line, token.text.as_str())).into_iter().collect();
    }
    let (mut names, mut depth) = (Vec::new(), 0_usize);
    for (index, token) in rest.iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(rest[index - 1].text.as_str(), "{" | ",") => names.push((token.line, name)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), content: content.to_owned() };
        findings(&file).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn room_that_names_one_above_is_found_however_it_does() {
        for content in [
            "use crate::daemon::run;",
            "use crate::{errors::error_chain, metrics::{Recorded, declared}, daemon::run};",
            "fn f() -> crate::daemon::Config {}",
        ] {
            assert_eq!(found("agent/src/net/probe.rs", content).len(), 1, "{content}");
        }
    }

    #[test]
    fn room_that_names_its_own_one_below_or_none_is_right() {
        let content =
            "use crate::{bpf::pins, errors::error_chain, metrics::Recorded, proc::hierarchy::{self, daemon}};";
        assert!(found("agent/src/bpf/load.rs", content).is_empty());
        assert!(found("agent/src/driver.rs", "use crate::{bpf::load, net::{inject, looks}};").is_empty());
        assert!(found("tests/bpf.rs", "use crate::daemon;").is_empty());
    }
}
