//! Takes out of a text what tells whose it is: names of pods, namespaces and nodes, addresses, URLs.
//!
//! The same name becomes the same word everywhere, so that what belongs together still does. Kept are loopback addresses, the
//! namespaces that every cluster has, and the names of containers, commands and images.
//!
//! Invariant: no name that was learned is left where it stands as a word of its own, alone or between dots, and no node's at a
//! word's end.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Namespaces that tell nothing.
const COMMON: [&str; 7] =
    ["default", "kube-system", "kube-public", "kube-node-lease", "istio-system", "conngate-system", "none"];

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A namespace.
    Namespace,
    /// A node.
    Node,
    /// An address.
    Address,
    /// A URL.
    Url,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Address => "address",
            Self::Url => "url",
        }
    }
}

/// Keys whose values are names: in JSON, in a metric's labels, in the log.
const KEYS: [(&str, Kind); 5] = [
    ("pod", Kind::Pod),
    ("namespace", Kind::Namespace),
    ("node", Kind::Node),
    ("nodeName", Kind::Node),
    ("kubernetes.io/hostname", Kind::Node),
];

/// Words in the place of names.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    words: BTreeMap<String, String>,
    counts: BTreeMap<Kind, usize>,
}

impl Redactor {
    /// Takes `name` for a name; one that a pod and its namespace have joined with a slash for both.
    pub fn name(&mut self, kind: Kind, name: &str) {
        match name.split_once('/') {
            Some((namespace, pod)) if kind == Kind::Pod => {
                self.name(Kind::Namespace, namespace);
                self.name(Kind::Pod, pod);
            }
            Some(_) | None => drop(self.word(kind, name)),
        }
    }

    /// Takes the values of `pod`, `namespace` and `node` in `text` for names.
    pub fn learn(&mut self, text: &str) {
        for (key, kind) in KEYS {
            for (at, _) in text.match_indices(key) {
                // Not the end of a longer word, nor of a module's path in the log.
                let begins = !text[..at].ends_with(|letter: char| is_of_a_word(letter) || "/:".contains(letter));
                if let Some(name) = value(&text[at + key.len()..]).filter(|_| begins) {
                    self.name(kind, name);
                }
            }
        }
    }

    /// `text` with a word in the place of each name that was learned, each address and each URL.
    pub fn redact(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = if let Some(url) = url(rest) {
                out += &self.word(Kind::Url, url);
                url.len()
            } else if let Some(address) = address_v6(rest).filter(|_| !out.ends_with(is_of_a_word)) {
                out += &self.address(address);
                address.len()
            } else if is_of_a_word(first) {
                let word = run(rest, is_of_a_word);
                // A sentence may end with it.
                let word = Some(word.trim_end_matches('.')).filter(|word| !word.is_empty()).unwrap_or(word);
                out += &self.redacted(word);
                word.len()
            } else {
                out.push(first);
                first.len_utf8()
            };
            rest = &rest[length..];
        }
        out
    }

    /// A word of names and dots.
    fn redacted(&mut self, word: &str) -> String {
        if let Some(known) = self.words.get(word) {
            return known.clone();
        }
        if word.parse::<Ipv4Addr>().is_ok() {
            return self.address(word);
        }
        word.split('.').map(|part| self.part(part)).collect::<Vec<_>>().join(".")
    }

    /// What stands between two dots: a name, or one with a node's name behind, as static pods and their reporters have it.
    fn part(&self, part: &str) -> String {
        let node = Kind::Node.word();
        let known = |name: &str| self.words.get(name).filter(|word| word.starts_with(node));
        let suffix =
            part.match_indices('-').find_map(|(at, _)| Some(format!("{}-{}", &part[..at], known(&part[at + 1..])?)));
        self.words.get(part).cloned().or(suffix).unwrap_or_else(|| part.to_owned())
    }

    fn address(&mut self, text: &str) -> String {
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_loopback() && !address.is_unspecified() => self.word(Kind::Address, text),
            Ok(_) | Err(_) => text.to_owned(),
        }
    }

    fn word(&mut self, kind: Kind, name: &str) -> String {
        let tells = !name.is_empty() && !COMMON.contains(&name);
        if !tells {
            return name.to_owned();
        }
        if let Some(known) = self.words.get(name) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let word = format!("{}-{count}", kind.word());
        self.words.insert(name.to_owned(), word.clone());
        word
    }
}

/// Letters of a Kubernetes name.
fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || "-_.".contains(letter)
}

/// The letters at the beginning of `text` that are as `wanted`.
fn run(text: &str, wanted: impl Fn(char) -> bool) -> &str {
    text.split(|letter| !wanted(letter)).next().unwrap_or_default()
}

/// The value after a key, as JSON, YAML, Prometheus and tracing write it; `None`: the key was only a word.
fn value(after: &str) -> Option<&str> {
    let after = after.strip_prefix('"').unwrap_or(after);
    let after = after.strip_prefix([':', '='])?.trim_start_matches(' ');
    let after = after.strip_prefix('"').unwrap_or(after);
    let value = run(after, |letter| is_of_a_word(letter) || letter == '/').trim_end_matches(['.', '/']);
    (!value.is_empty() && value != "null").then_some(value)
}

/// The URL at the beginning of `text`.
fn url(text: &str) -> Option<&str> {
    let is_one = text.starts_with("http://") || text.starts_with("https://");
    let end = |letter: char| letter.is_whitespace() || "\"'`<>()[]{},;\\".contains(letter);
    // A literal IPv6 host is in brackets.
    let is_v6 = text.split_once("//").is_some_and(|(_, host)| host.starts_with('['));
    let url = run(text, |letter| !end(letter) || (is_v6 && "[]".contains(letter)));
    is_one.then_some(url.trim_end_matches(['.', ':']))
}

/// The IPv6 address at the beginning of `text`. The time of day is none.
fn address_v6(text: &str) -> Option<&str> {
    let found = run(text, |letter| letter.is_ascii_hexdigit() || ":.".contains(letter)).trim_end_matches('.');
    let ends = !text[found.len()..].starts_with(char::is_alphanumeric);
    (ends && found.parse::<Ipv6Addr>().is_ok()).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(text: &str) -> String {
        let mut redactor = Redactor::default();
        redactor.learn(text);
        redactor.redact(text)
    }

    #[test]
    fn redact_names_in_json_metrics_and_log_are_the_same_words() {
        let text = r#"{"pod":"shop/web-0","node": "ip-10-0-0-1.internal","found":"shop/web-0 waits"}
conngate_pod_connections_waiting{namespace="shop",pod="web-0",container="app"} 1
2026-11-26T08:05:23.5Z WARN conngate::node: gate opened pod=shop/web-0 reason="ready"
web-0.shop.svc.cluster.local, in cart/web-1 of node=ip-10-0-0-1.internal
"#;
        assert_eq!(
            redacted(text),
            r#"{"pod":"namespace-1/pod-1","node": "node-1","found":"namespace-1/pod-1 waits"}
conngate_pod_connections_waiting{namespace="namespace-1",pod="pod-1",container="app"} 1
2026-11-26T08:05:23.5Z WARN conngate::node: gate opened pod=namespace-1/pod-1 reason="ready"
pod-1.namespace-1.svc.cluster.local, in cart/web-1 of node=node-1
"#
        );
    }

    #[test]
    fn redact_addresses_and_urls_are_gone_and_loopback_stays() {
        assert_eq!(
            redacted(
                "198.51.100.10:80 [2001:db8::1]:443 ::ffff:198.51.100.10 198.51.100.10. 127.0.0.1:15001 [::1]:80 0.0.0.0"
            ),
            "address-1:80 [address-2]:443 address-3 address-1. 127.0.0.1:15001 [::1]:80 0.0.0.0"
        );
        assert_eq!(
            redacted(
                "200 of http://127.0.0.1:15021/healthz/ready; at \"https://[2001:db8::1]:6443/api?x=y\" 08:05:23.500"
            ),
            "200 of url-1; at \"url-2\" 08:05:23.500"
        );
    }

    #[test]
    fn redact_node_behind_another_name_is_gone() {
        let text = "node=big-node.internal nodeName: big-node kube-proxy-big-node default-scheduler-big-node big-nodes";
        let redacted = redacted(text);
        assert_eq!(redacted, "node=node-1 nodeName: node-2 kube-proxy-node-2 default-scheduler-node-2 big-nodes");
    }

    #[test]
    fn redact_what_every_cluster_has_stays() {
        let text =
            "{\"pod\":null,\"namespace\":\"kube-system\"} namespace=default tripod=a conngate::bpf::face kernel 6.18.0";
        assert_eq!(redacted(text), text);
    }

    proptest! {
        #[test]
        fn redact_leaves_no_learned_name_and_is_consistent(
            names in prop::collection::btree_set("[a-z]{3}[a-z0-9-]{0,8}[0-9]", 1..6),
            noise in "[ \"a-z:/.=,{}\u{e9}-]{0,40}",
        ) {
            let mut redactor = Redactor::default();
            names.iter().for_each(|name| redactor.name(Kind::Pod, name));
            let text = names.iter().map(|name| format!("{name} ({noise} {name}.x/{name}:")).collect::<String>();
            let redacted = redactor.redact(&text);
            let words: Vec<_> = redacted.split(|letter| !is_of_a_word(letter) || letter == '.').collect();
            for name in &names {
                prop_assert!(name.starts_with("pod-") || !words.contains(&name.as_str()), "{name}: {redacted}");
            }
            prop_assert_eq!(redactor.redact(&text), redacted);
        }

        #[test]
        fn redact_of_anything_ends_and_fails_never(text in any::<String>()) {
            redacted(&text);
        }
    }
}
