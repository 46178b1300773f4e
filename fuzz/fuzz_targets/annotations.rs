//! A pod's annotations, from whoever may create pods.
//!
//! Knows nothing of what they should mean: a message about them is printable and bounded, and what is asked for is within
//! the contract's bounds.
#![no_main]

use std::{collections::BTreeMap, time::Duration};

use arbitrary::Arbitrary;
use conngate::{
    pods::{
        annotations::{Ask, KEYS, ask, unknown_keys},
        defaults::Defaults,
        pod::{Container, ContainerKind, Pod},
        presets::Proxy,
        sidecar::Sidecar,
    },
    uid::PodUid,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    values: Vec<(u8, String)>,
    unknown: Vec<String>,
    container: String,
    host_network: bool,
    proxies: [bool; Proxy::ALL.len()],
    ambient: bool,
    sandboxed: bool,
}

fuzz_target!(|input: Input| {
    let uid: PodUid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".parse().expect("a UID");
    let known = input.values.into_iter().map(|(key, value)| (KEYS[usize::from(key) % KEYS.len()].to_owned(), value));
    let unknown = input.unknown.into_iter().map(|key| (format!("conngate.io/{key}"), String::new()));
    let annotations: BTreeMap<_, _> = unknown.chain(known).collect();
    let pod = Pod {
        uid,
        api_uid: uid,
        namespace: "n".to_owned(),
        name: "p".to_owned(),
        namespace_meta: None,
        labels: BTreeMap::new(),
        node_name: None,
        annotations,
        containers: vec![Container {
            name: input.container,
            kind: ContainerKind::App,
            ready: false,
            id: None,
            started: None,
        }],
        sidecars: Proxy::ALL
            .into_iter()
            .zip(input.proxies)
            .filter(|(_, has)| *has)
            .map(|(it, _)| Sidecar::preset(it))
            .collect(),
        ambient: input.ambient,
        sandboxed: input.sandboxed,
        host_network: input.host_network,
        host_users: true,
        terminating: false,
        finished: false,
        is_static: false,
    };
    let _ = unknown_keys(&pod);
    match ask(&pod, &Defaults::default()) {
        Ok(Ask::Gate(ask)) => {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
            assert!(bounds.contains(&ask.spec.policy.timeout));
            assert!(ask.spec.policy.regate.is_none_or(|regate| bounds.contains(&regate)));
        }
        Ok(Ask::None(_) | Ask::Cannot(..)) => {}
        Err(bad) => assert!(!bad.to_string().chars().any(char::is_control)),
    }
});
