//! What a pod asks for: each value from its annotations, its namespace's, the first of the node's selections that it is in, its own
//! sidecar or the mesh's preset; or why it cannot have that.
//!
//! Knows nothing of cgroups or of the API. A pod with a bad value is not gated, and every bad value is named; keys of ours
//! that do not exist are only reported ([`unknown_keys`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use conngate_common::gate::{ContainerClass, MAX_CAPTURE_PORTS, MAX_EXEMPT_UIDS, Mode, NO_UID};

use super::{
    bad::{BadAnnotation, BadAnnotations, printable},
    defaults::{Defaults, Selection, Unknown},
    no_gate::{AskedBy, NoGate, NotAsked},
    pod::{ContainerKind, MAX_VALUE, Pod},
    ports,
    presets::Proxy,
    sidecar::{CONSUL_UPSTREAMS, Sidecar},
};
use crate::{
    gate::{OnTimeout, Policy, Readiness},
    spec::GateSpec,
    values::{HOLD_TIMES, hold_time},
};

pub(super) const MODE: &str = "conngate.io/mode";
pub(super) const TIMEOUT: &str = "conngate.io/timeout";
pub(super) const ON_TIMEOUT: &str = "conngate.io/on-timeout";
pub(super) const PROXY: &str = "conngate.io/proxy";
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
    /// A gate that it cannot have.
    Cannot(NoGate, AskedBy),
}

/// A gate, and which of the pod's containers it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAsk {
    /// The gate. Containers are Unknown until they are told apart by [`Self::class_of`].
    pub spec: GateSpec,
    /// The mesh; `None`: a proxy that only the annotations know.
    pub proxy: Option<Proxy>,
    /// Which containers are held.
    pub containers: Containers,
    /// Where its values come from, by the annotations' keys; one that is not here is the sidecar's own, the
    /// mesh's preset or ours.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The pod's own annotation.
    Pod,
    /// Its namespace's.
    Namespace(String),
    /// The selection of this name.
    Selection(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod => f.write_str("the pod"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
            Self::Selection(name) => f.write_str(name),
        }
    }
}

/// Which application containers are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Containers {
    /// All.
    All,
    /// These.
    Named(BTreeSet<String>),
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

    /// Whether a container of this name is the proxy's.
    #[must_use]
    pub fn is_proxy(&self, name: &str) -> bool {
        self.proxy.is_some_and(|proxy| proxy.runs_in(name))
    }
}

fn can_be_held(proxy: Option<Proxy>, name: &str, kind: ContainerKind) -> bool {
    match kind {
        ContainerKind::App | ContainerKind::Ephemeral => !proxy.is_some_and(|proxy| proxy.runs_in(name)),
        ContainerKind::Init | ContainerKind::NativeSidecar => false,
    }
}

/// What `pod` asks for, given the node's `defaults`.
///
/// # Errors
/// When the pod would be gated, but values of its annotations are not allowed.
pub fn ask(pod: &Pod, defaults: &Defaults) -> Result<Ask, BadAnnotations> {
    let mut reading = Reading::of(pod, defaults);
    let mode = match reading.value(MODE, "hold, retry, observe, off", mode) {
        Some(None) => return Ok(Ask::None(reading.off())),
        Some(Some(mode)) => mode,
        // A bad mode is a wish for a gate: go on, to name whatever else is bad.
        None if !reading.bad.is_empty() => Mode::Hold,
        None => return Ok(Ask::None(reading.nobody_says())),
    };
    let sidecar = match sidecar(&mut reading) {
        Ok(sidecar) => sidecar,
        Err(why) if reading.bad.is_empty() => return Ok(reading.cannot(why)),
        Err(_) => None,
    };
    let proxy = sidecar.as_ref().map(|sidecar| sidecar.proxy);
    let timeout = reading.value(TIMEOUT, HOLD_TIMES, |text| hold_time(text).ok()).unwrap_or(DEFAULT_TIMEOUT);
    let on_timeout = reading.value(ON_TIMEOUT, "release, reset", on_timeout).unwrap_or(OnTimeout::Release);
    let regate = reading.value(REGATE, &format!("off, {HOLD_TIMES}"), regate).flatten();
    let ready_url = reading
        .value(READY_URL, "http://HOST[:PORT][/PATH] with HOST 127.x.x.x, [::1] or localhost", |text| text.parse().ok())
        .or_else(|| Some(sidecar.as_ref()?.ready_url.clone()));
    let ports = reading.value(CAPTURE_PORTS, ports::ALLOWED, ports::parse).or_else(|| sidecar.as_ref()?.ports.clone());
    if ports.is_none() && reading.bad.is_empty() {
        if reading.first(CAPTURE_PORTS).is_err() {
            return Ok(Ask::None(NotAsked::NamespaceUnknown));
        }
        // Its proxy is called at more ports than fit, and the annotation does not say which of them matter.
        let allowed = format!("{MAX_CAPTURE_PORTS} ports with the mesh's own; more: say which in {CAPTURE_PORTS}");
        reading.bad.push(BadAnnotation {
            key: CONSUL_UPSTREAMS,
            namespace: None,
            value: "too many".to_owned(),
            allowed,
        });
    }
    let dns_truncate = reading.value(DNS_TRUNCATE, "on, off", on_or_off).unwrap_or(true);
    let containers = containers(&mut reading, proxy);
    let (Some(ports), true) = (ports, reading.bad.is_empty()) else { return Err(BadAnnotations(reading.bad)) };

    let mut exempt_uids = [NO_UID; MAX_EXEMPT_UIDS];
    exempt_uids[0] = sidecar.and_then(|sidecar| sidecar.uid).unwrap_or(NO_UID);
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
        origins: reading.origins,
    })))
}

/// Whether `text` is a value of the annotation `key`, which is one of those that a selection can have.
pub(super) fn is_allowed(key: &str, text: &str) -> bool {
    match key {
        MODE => mode(text).is_some(),
        TIMEOUT => hold_time(text).is_ok(),
        ON_TIMEOUT => on_timeout(text).is_some(),
        PROXY => proxy(text).flatten().is_some(),
        _ => false,
    }
}

/// Keys that look like ours and mean nothing: typing errors, as [`printable`] text.
#[must_use]
pub fn unknown_keys(pod: &Pod) -> Vec<String> {
    pod.annotations.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| printable(key)).collect()
}

/// Reads one value after the other and keeps what is bad, and where each comes from.
struct Reading<'a> {
    pod: &'a Pod,
    /// What its namespace says, where that counts; `Err`: it is not known yet.
    namespace: Result<Option<&'a BTreeMap<String, String>>, Unknown>,
    selection: Result<Option<&'a Selection>, Unknown>,
    defaults: &'a Defaults,
    bad: Vec<BadAnnotation>,
    origins: BTreeMap<&'static str, Origin>,
}

impl<'a> Reading<'a> {
    fn of(pod: &'a Pod, defaults: &'a Defaults) -> Self {
        let namespace = match &pod.namespace_meta {
            _ if !defaults.namespace_annotations => Ok(None),
            Some(meta) => Ok(Some(&meta.annotations)),
            None => Err(Unknown),
        };
        let selection = defaults.selection(pod);
        Self { pod, namespace, selection, defaults, bad: Vec::new(), origins: BTreeMap::new() }
    }

    /// The value of `key`; `None` when there is none, it is bad, or it is not known yet who decides it.
    fn value<T>(&mut self, key: &'static str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (text, origin) = self.first(key).ok()??;
        let value = Some(text.trim()).filter(|_| text.len() <= MAX_VALUE).and_then(parse);
        if value.is_none() {
            let namespace = matches!(origin, Origin::Namespace(_)).then(|| printable(&self.pod.namespace));
            self.bad.push(BadAnnotation { key, namespace, value: printable(text), allowed: allowed.to_owned() });
        }
        self.origins.insert(key, origin);
        value
    }

    /// The first that says something of `key`: the pod, its namespace, the selection that it is in.
    fn first(&self, key: &str) -> Result<Option<(&'a str, Origin)>, Unknown> {
        if let Some(text) = self.pod.annotations.get(key) {
            return Ok(Some((text, Origin::Pod)));
        }
        if let Some(text) = self.namespace?.and_then(|annotations| annotations.get(key)) {
            return Ok(Some((text, Origin::Namespace(self.pod.namespace.clone()))));
        }
        let value =
            |selection: &'a Selection| Some((selection.value(key)?, Origin::Selection(selection.name().to_owned())));
        Ok(self.selection?.and_then(value))
    }

    /// It has no gate, unless its namespace may still say which proxy it has.
    fn cannot(&self, why: NoGate) -> Ask {
        let depends_on_proxy = !matches!(why, NoGate::HostNetwork | NoGate::SandboxedRuntime);
        if depends_on_proxy && self.first(PROXY).is_err() {
            Ask::None(NotAsked::NamespaceUnknown)
        } else {
            Ask::Cannot(why, self.asked_by())
        }
    }

    /// Whose wish the mode is.
    fn asked_by(&self) -> AskedBy {
        match self.origins.get(MODE) {
            Some(Origin::Pod) => AskedBy::Annotation,
            Some(Origin::Namespace(_) | Origin::Selection(_)) | None => AskedBy::Default,
        }
    }

    /// The mode is off: who says so.
    fn off(&self) -> NotAsked {
        match self.origins.get(MODE) {
            Some(Origin::Namespace(_)) => NotAsked::NamespaceOff,
            Some(Origin::Selection(_)) => NotAsked::SelectionOff,
            Some(Origin::Pod) | None => NotAsked::Off,
        }
    }

    /// Nobody says anything of the mode: why.
    fn nobody_says(&self) -> NotAsked {
        if self.namespace.is_err() || self.selection.is_err() {
            NotAsked::NamespaceUnknown
        } else if self.defaults.selections.is_empty() {
            NotAsked::Default
        } else {
            NotAsked::NamespaceNotSelected
        }
    }
}

/// The proxy that the pod's connections go to: the one that its annotation says, else the one that it has. `None`: one that only
/// its annotations know.
fn sidecar(reading: &mut Reading<'_>) -> Result<Option<Sidecar>, NoGate> {
    let pod = reading.pod;
    if pod.host_network {
        return Err(NoGate::HostNetwork);
    }
    if pod.sandboxed {
        return Err(NoGate::SandboxedRuntime);
    }
    let words = Proxy::ALL.map(Proxy::word).join(", ");
    let chosen = if matches!(reading.first(CAPTURE_PORTS), Ok(None)) {
        let without = format!("{words}, or none beside {CAPTURE_PORTS}");
        reading.value(PROXY, &without, |text| proxy(text).filter(Option::is_some))
    } else {
        reading.value(PROXY, &format!("{words}, none"), proxy)
    };
    let sidecar = match chosen {
        Some(None) => return Ok(None),
        Some(Some(chosen)) => {
            let own = pod.sidecars.iter().find(|sidecar| sidecar.proxy == chosen);
            own.cloned().unwrap_or_else(|| Sidecar::preset(chosen))
        }
        None => found(pod)?.clone(),
    };
    // What ztunnel takes is what a mesh's own proxy would get; what is called on loopback it leaves alone.
    if pod.ambient && sidecar.proxy.redirects() { Err(NoGate::Ambient) } else { Ok(Some(sidecar)) }
}

/// The proxy that a pod has: a mesh's, through which everything goes, before one that is called by its own name.
fn found(pod: &Pod) -> Result<&Sidecar, NoGate> {
    let known = || pod.sidecars.iter().filter(|sidecar| sidecar.proxy.is_known_by_name());
    let mut meshes = known().filter(|sidecar| sidecar.proxy.redirects());
    match (meshes.next(), meshes.next()) {
        (Some(_), Some(_)) => Err(NoGate::SeveralProxies),
        (Some(mesh), None) => Ok(mesh),
        (None, _) => known().next().ok_or(if pod.ambient { NoGate::Ambient } else { NoGate::NoProxy }),
    }
}

fn containers(reading: &mut Reading<'_>, proxy: Option<Proxy>) -> Containers {
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

/// `Some(None)`: none of those that are known.
fn proxy(text: &str) -> Option<Option<Proxy>> {
    let proxy = Proxy::ALL.into_iter().find(|proxy| proxy.word() == text);
    proxy.map(Some).or_else(|| (text == "none").then_some(None))
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
mod tests;
