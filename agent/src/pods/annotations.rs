//! What a pod asks for, read once from its annotations, the mesh's preset and the node's defaults.
//!
//! Knows nothing of cgroups or of the API. A pod with a bad value is not gated, and every bad value is named; keys of ours
//! that do not exist are only reported ([`unknown_keys`]).

use std::{collections::BTreeSet, fmt, time::Duration};

use conngate_common::gate::{ContainerClass, MAX_EXEMPT_UIDS, Mode, NO_UID};

use super::{
    bad::{BadAnnotation, BadAnnotations, printable},
    defaults::Defaults,
    pod::{ContainerKind, MAX_VALUE, Pod},
    ports,
    presets::Proxy,
};
use crate::{
    gate::{OnTimeout, Policy, Readiness},
    ready::url::ReadyUrl,
    spec::GateSpec,
    values::{HOLD_TIMES, hold_time},
};

const MODE: &str = "conngate.io/mode";
const TIMEOUT: &str = "conngate.io/timeout";
const ON_TIMEOUT: &str = "conngate.io/on-timeout";
const PROXY: &str = "conngate.io/proxy";
const READY_URL: &str = "conngate.io/ready-url";
const CAPTURE_PORTS: &str = "conngate.io/capture-ports";
const DNS_TRUNCATE: &str = "conngate.io/dns-truncate";
const CONTAINERS: &str = "conngate.io/containers";
const REGATE: &str = "conngate.io/regate";

/// Every key that means something.
pub const KEYS: [&str; 9] =
    [MODE, TIMEOUT, ON_TIMEOUT, PROXY, READY_URL, CAPTURE_PORTS, DNS_TRUNCATE, CONTAINERS, REGATE];

/// The hold of a pod that names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The most containers that a message lists.
const LISTED: usize = 8;

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A gate.
    Gate(Box<PodAsk>),
    /// No gate.
    None(NotAsked),
}

/// Why a pod asks for no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// Its annotation says off.
    Off,
    /// It says nothing, and the node's default is off.
    Default,
    /// It says nothing, and the node's default is for other namespaces.
    NamespaceNotSelected,
    /// It says nothing, and its namespace's labels are not known yet.
    NamespaceUnknown,
    /// It uses the node's network namespace, where no mesh captures.
    HostNetwork,
}

/// A gate, and which of the pod's containers it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAsk {
    /// The gate. Containers are Unknown until they are told apart by [`Self::class_of`].
    pub spec: GateSpec,
    /// The mesh.
    pub proxy: Proxy,
    /// Which containers are held.
    pub containers: Containers,
}

/// Which application containers are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Containers {
    /// All.
    All,
    /// These.
    Named(BTreeSet<String>),
}

impl NotAsked {
    /// The word for people and machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Default => "default-off",
            Self::NamespaceNotSelected => "namespace-not-selected",
            Self::NamespaceUnknown => "namespace-unknown",
            Self::HostNetwork => "host-network",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Off => "conngate.io/mode is off",
            Self::Default => "it has no annotation conngate.io/mode, and the node's default is off",
            Self::NamespaceNotSelected => {
                "it has no annotation conngate.io/mode, and the node's default is for other namespaces"
            }
            Self::NamespaceUnknown => {
                "it has no annotation conngate.io/mode, and the labels of its namespace are not known yet"
            }
            Self::HostNetwork => "it uses the node's network namespace, where no mesh captures",
        }
    }
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl PodAsk {
    /// Whether a container's connections are held: never an init container's (the proxy may start after it), never the
    /// proxy's own.
    #[must_use]
    pub fn class_of(&self, name: &str, kind: ContainerKind) -> ContainerClass {
        let named = match &self.containers {
            Containers::All => true,
            Containers::Named(names) => names.contains(name),
        };
        if named && can_be_held(self.proxy, name, kind) { ContainerClass::Gated } else { ContainerClass::Exempt }
    }
}

fn can_be_held(proxy: Proxy, name: &str, kind: ContainerKind) -> bool {
    match kind {
        ContainerKind::App | ContainerKind::Ephemeral => !proxy.runs_in(name),
        ContainerKind::Init | ContainerKind::NativeSidecar => false,
    }
}

/// What `pod` asks for, given the node's `defaults`.
///
/// # Errors
/// When the pod would be gated, but values of its annotations are not allowed.
pub fn ask(pod: &Pod, defaults: &Defaults) -> Result<Ask, BadAnnotations> {
    let mut reading = Reading { pod, bad: Vec::new() };
    let mode = match reading.value(MODE, "hold, retry, observe, off", mode) {
        Some(None) => return Ok(Ask::None(NotAsked::Off)),
        Some(Some(mode)) => mode,
        // A bad mode is a wish for a gate: go on, to name whatever else is bad.
        None if !reading.bad.is_empty() => Mode::Hold,
        None => match defaults.mode_of(pod) {
            Ok(mode) => mode,
            Err(why) => return Ok(Ask::None(why)),
        },
    };
    if pod.host_network {
        return Ok(Ask::None(NotAsked::HostNetwork));
    }
    let proxy = reading.value(PROXY, &Proxy::ALL.map(Proxy::word).join(", "), proxy).unwrap_or(Proxy::Istio);
    let timeout = reading.value(TIMEOUT, HOLD_TIMES, |text| hold_time(text).ok()).unwrap_or(DEFAULT_TIMEOUT);
    let on_timeout = reading.value(ON_TIMEOUT, "release, reset", on_timeout).unwrap_or(OnTimeout::Release);
    let regate = reading.value(REGATE, &format!("off, {HOLD_TIMES}"), regate).flatten();
    let preset = proxy.preset();
    let ready_url = reading
        .value(READY_URL, "http://HOST[:PORT][/PATH] with HOST 127.x.x.x, [::1] or localhost", |text| text.parse().ok())
        .or_else(|| preset.ready_url.parse::<ReadyUrl>().ok());
    let ports = reading
        .value(CAPTURE_PORTS, ports::ALLOWED, ports::parse)
        .or_else(|| ports::of(preset.tcp_ports, preset.udp_ports));
    let dns_truncate = reading.value(DNS_TRUNCATE, "on, off", on_or_off).unwrap_or(true);
    let containers = containers(&mut reading, proxy);
    let (Some(ports), true) = (ports, reading.bad.is_empty()) else { return Err(BadAnnotations(reading.bad)) };

    let mut exempt_uids = [NO_UID; MAX_EXEMPT_UIDS];
    exempt_uids[0] = preset.uid.unwrap_or(NO_UID);
    Ok(Ask::Gate(Box::new(PodAsk {
        spec: GateSpec {
            policy: Policy {
                mode,
                timeout,
                on_timeout,
                readiness: if ready_url.is_some() { Readiness::Probe } else { Readiness::Listener },
                regate,
            },
            capture_ports: ports.tcp,
            datagram_ports: ports.udp,
            dns_truncate,
            exempt_uids,
            default_class: ContainerClass::Unknown,
            ready_url,
        },
        proxy,
        containers,
    })))
}

/// Keys that look like ours and mean nothing: typing errors, as [`printable`] text.
#[must_use]
pub fn unknown_keys(pod: &Pod) -> Vec<String> {
    pod.annotations.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| printable(key)).collect()
}

/// Reads one annotation after the other and keeps what is bad.
struct Reading<'a> {
    pod: &'a Pod,
    bad: Vec<BadAnnotation>,
}

impl Reading<'_> {
    /// The value of `key`; `None` when there is none or it is bad.
    fn value<T>(&mut self, key: &'static str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.pod.annotations.get(key)?;
        let value = Some(text.trim()).filter(|_| text.len() <= MAX_VALUE).and_then(parse);
        if value.is_none() {
            self.bad.push(BadAnnotation { key, value: printable(text), allowed: allowed.to_owned() });
        }
        value
    }
}

fn containers(reading: &mut Reading<'_>, proxy: Proxy) -> Containers {
    let held = reading.pod.containers.iter().filter(|one| can_be_held(proxy, &one.name, one.kind));
    let held: Vec<_> = held.map(|one| one.name.as_str()).collect();
    let some = held.iter().take(LISTED).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
    let more = if held.len() > LISTED { ", …" } else { "" };
    let parse = |text: &str| {
        let names = text.split(',').map(str::trim);
        names.map(|name| held.contains(&name).then(|| name.to_owned())).collect::<Option<BTreeSet<_>>>()
    };
    let allowed = format!("application containers of this pod, separated by commas: {some}{more}");
    reading.value(CONTAINERS, &allowed, parse).map_or(Containers::All, Containers::Named)
}

/// `Some(None)`: off.
fn mode(text: &str) -> Option<Option<Mode>> {
    let mode = Mode::ALL.iter().copied().find(|mode| mode.word() == text);
    mode.map(Some).or_else(|| (text == "off").then_some(None))
}

fn proxy(text: &str) -> Option<Proxy> {
    Proxy::ALL.into_iter().find(|proxy| proxy.word() == text)
}

fn on_timeout(text: &str) -> Option<OnTimeout> {
    match text {
        "release" => Some(OnTimeout::Release),
        "reset" => Some(OnTimeout::Reset),
        _ => None,
    }
}

fn regate(text: &str) -> Option<Option<Duration>> {
    if text == "off" { Some(None) } else { hold_time(text).ok().map(Some) }
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "annotations_tests.rs"]
mod tests;
