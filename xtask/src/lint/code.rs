//! Rules about code: where `unsafe` may be, what the pure parts may not name, what nobody writes.
//!
//! Knows nothing of types: it sees tokens. That every `unsafe` is argued is clippy's to see.

use super::{
    tokens::{Token, start_with, tokens},
    tree::{File, Finding},
};

/// Where `unsafe` has its known addresses (style.md 9).
const UNSAFE: [&str; 7] = [
    "agent/src/cli/run/",
    "agent/src/bpf/",
    "agent/src/main.rs",
    "agent/src/net/netns.rs",
    "common/src/",
    "ebpf/",
    "tests/",
];

/// What decides purely: no clock, no I/O, no kernel, no Kubernetes.
const PURE: [&str; 2] = ["agent/core/src/", "common/src/"];

/// Crates and types that a pure file does not name; addresses it may.
const IMPURE: [&str; 8] = ["tokio", "kube", "aya", "Instant", "SystemTime", "TcpListener", "TcpStream", "UdpSocket"];

/// Modules of std that a pure file does not name.
const IMPURE_STD: [&str; 2] = ["process", "fs"];

/// What is wrong with the code of `file`.
pub(crate) fn findings(file: &File) -> Vec<Finding> {
    let tokens = tokens(&file.content);
    let within = |places: &[&str]| places.iter().any(|place| file.path.starts_with(place));
    let (may_be_unsafe, pure) = (within(&UNSAFE), within(&PURE));
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let from = &tokens[index..];
        if token.text == "unsafe" && !may_be_unsafe {
            found.push(file.finding(token.line, format!("`unsafe` belongs to {}", UNSAFE.join(", "))));
        }
        if start_with(from, &["#", "[", "allow", "("]) || start_with(from, &["#", "!", "[", "allow", "("]) {
            found.push(file.finding(token.line, "`allow`: write #[expect(lint, reason = \"…\")]"));
        }
        if pure {
            found.extend(
                impure(from).map(|name| file.finding(token.line, format!("`{name}` in a part that decides purely"))),
            );
        }
    }
    found
}

/// What `tokens` starts with that has no place in a pure file.
fn impure(tokens: &[Token]) -> Option<String> {
    let first = tokens.first()?;
    if IMPURE.contains(&first.text.as_str()) {
        return Some(first.text.clone());
    }
    if !["std", "core"].contains(&first.text.as_str()) || !start_with(&tokens[1..], &[":", ":"]) {
        return None;
    }
    let module = named_modules(&tokens[3..]).into_iter().find(|module| IMPURE_STD.contains(&module.as_str()))?;
    Some(format!("{}::{module}", first.text))
}

/// The modules after `std::`: one, or the outer ones of a braced list.
fn named_modules(tokens: &[Token]) -> Vec<String> {
    if !start_with(tokens, &["{"]) {
        return tokens.first().map(|token| token.text.clone()).into_iter().collect();
    }
    let mut depth = 0_usize;
    let mut modules = Vec::new();
    for pair in tokens.windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 1 && ["{", ","].contains(&pair[0].text.as_str()) {
            modules.push(pair[1].text.clone());
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, content: &str) -> Vec<usize> {
        let file = File { path: path.to_owned(), content: content.to_owned() };
        let at = |finding: &Finding| finding.to_string().split(':').nth(1).unwrap().parse().unwrap();
        findings(&file).iter().map(at).collect()
    }

    #[test]
    fn findings_unsafe_is_found_outside_its_addresses() {
        let code = "// unsafe in words\nfn f() {\n    unsafe { g() }\n}\nconst S: &str = \"unsafe\";\n";
        assert_eq!(lines("agent/src/app.rs", code), [3]);
        for place in [
            "agent/src/bpf/load.rs",
            "agent/src/main.rs",
            "agent/src/net/netns.rs",
            "agent/src/cli/run/spawn.rs",
            "ebpf/src/egress.rs",
        ] {
            assert!(lines(place, code).is_empty(), "{place}");
        }
    }

    #[test]
    fn findings_allow_is_found_and_expect_is_not() {
        assert_eq!(lines("agent/src/app.rs", "#![allow(dead_code)]\n#[allow(unused)]\nfn f() {}\n"), [1, 2]);
        assert!(lines("agent/src/app.rs", "#[expect(unused, reason = \"x\")]\nfn allow() {}\n").is_empty());
    }

    #[test]
    fn findings_impure_names_are_found_in_pure_parts_only() {
        for code in [
            "use tokio::time;",
            "use kube::Api;",
            "fn f(_: aya::Ebpf) {}",
            "use std::net::TcpStream;",
            "use std::{io, fs::File};",
            "use std::{collections::{BTreeMap, HashMap}, process::Command};",
            "fn now() -> std::time::Instant { todo() }",
        ] {
            assert_eq!(lines("agent/core/src/gate/table.rs", code), [1], "{code}");
            assert_eq!(lines("common/src/verdict.rs", code), [1], "{code}");
            assert!(lines("agent/src/app.rs", code).is_empty(), "{code}");
        }
    }

    #[test]
    fn findings_pure_names_are_not_found() {
        for code in [
            "use std::{collections::BTreeMap, net::IpAddr, time::Duration};",
            "use crate::fs::Thing;",
            "//! No tokio, no std::fs.",
        ] {
            assert!(lines("agent/core/src/gate/table.rs", code).is_empty(), "{code}");
        }
    }
}
