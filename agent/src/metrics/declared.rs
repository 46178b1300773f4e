//! Every metric of the agent: name, type, help and labels. docs/metrics.md is made of this list.
//!
//! Knows nothing of values. A metric that no test moves fails a test (`metrics::…` of the kernel and the node tests).

/// A metric family.
#[derive(Debug)]
pub struct Metric {
    /// Its name; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it says, for people.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
}

/// A type of Prometheus' data model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for a restart of what counts it.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A label.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values, in words or as a list.
    pub values: &'static str,
}

impl Kind {
    /// Its word in the text format.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// The names of its labels.
    #[must_use]
    pub fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }
}

macro_rules! metrics {
    ($($section:ident { $($id:ident: $kind:ident $name:literal { $($label:literal: $values:literal),* } $help:literal;)+ })+) => {
        $($(
            #[doc = $help]
            pub const $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                help: $help,
                labels: &[$(Label { name: $label, values: $values }),*],
            };
        )+)+
        $(
            /// The metrics of this section, in the order of the reference.
            pub const $section: &[&Metric] = &[$(&$id),+];
        )+
    };
}

metrics! {
    KERNEL {
        CONNECTIONS_HELD: Counter "conngate_connections_held_total" {}
            "Held connections: their first SYN was dropped.";
        CONNECTIONS_RELEASED: Counter "conngate_connections_released_total" { "reason": "a reason to pass" }
            "Held connections that were released, by reason.";
        CONNECTIONS_ENDED: Counter "conngate_connections_ended_total" {
            "outcome": "`established`, `abandoned` (by the application), `expired` (by its own or the kernel's time-out), `refused` (after the release)"
        } "Held connections that ended, by outcome.";
        HOLD_DURATION: Histogram "conngate_hold_duration_seconds" {}
            "How long connections were held before they were established, from the first dropped SYN.";
        SYNS_DROPPED: Counter "conngate_syns_dropped_total" { "reason": "a reason to hold" }
            "Captured SYNs that were dropped, including retries.";
        DATAGRAMS_DROPPED: Counter "conngate_datagrams_dropped_total" { "reason": "a reason to hold" }
            "Captured datagrams (DNS) that were dropped.";
        SYNS_WOULD_HOLD: Counter "conngate_syns_would_hold_total" { "reason": "a reason to hold" }
            "Captured SYNs that mode observe passed and mode hold would have dropped.";
        SYNS_PASSED: Counter "conngate_syns_passed_total" { "reason": "a reason to pass" }
            "Captured SYNs that were judged and passed.";
        RECORDS_LOST: Counter "conngate_records_lost_total" {}
            "Records lost because the ring buffer was full. A dropped SYN is announced again at its next attempt.";
        HELPER_ERRORS: Counter "conngate_helper_errors_total" {
            "program": "an eBPF program", "helper": "a kernel helper, such as `sk_storage_get`"
        } "Kernel helper calls that failed; the connection continued.";
    }
    NODE {
        MAP_ENTRIES: Gauge "conngate_map_entries" { "map": "`GATES`, `CONTAINERS`" }
            "Entries in use of each map that the agent writes.";
        MAP_CAPACITY: Gauge "conngate_map_capacity" { "map": "`GATES`, `CONTAINERS`" }
            "Entries that the map can hold.";
        PROGRAM_ATTACHED: Gauge "conngate_program_attached" {
            "program": "`connect4`, `connect6`, `egress`, `sock_ops`, `listen`, `setsockopt`, `sendmsg4`, `sendmsg6`"
        } "Whether the eBPF program is attached (1) or not (0).";
        HEARTBEAT_AGE: Gauge "conngate_heartbeat_age_seconds" {}
            "Age of the agent's last heartbeat to the kernel. Above 5 s, unknown pods are not held.";
        CONNECTIONS_WAITING: Gauge "conngate_connections_waiting" {}
            "Connections that are held now.";
        GATES: Gauge "conngate_gates" {
            "state": "`unknown` (no source has reported the pod yet), `holding`, `open`, `not-enrolled` (asks for no gate, or cannot have one)"
        } "Pods by the state of their gate.";
        PODS_WITHOUT_GATE: Gauge "conngate_pods_without_gate" {
            "reason": "`no-proxy`, `several-proxies`, `ambient`, `sandboxed-runtime`, `host-network`, `invalid-annotation`",
            "asked_by": "`annotation` (of the pod), `default` (of its namespace, or of the node)"
        } "Pods that ask for a gate but cannot have one, by reason; `explain` and an Event on the pod explain it.";
        PODS_STARTED_BEFORE: Counter "conngate_pods_started_before_agent_total" {}
            "Pods that ask for a gate but had a container that started before anything held connections on the node.";
        GATES_OPENED: Counter "conngate_gates_opened_total" { "reason": "a reason to pass" }
            "Gates that opened, by reason. `timeout`: the proxy was not ready in time; `operator`: `conngate open`.";
        CONDITION_MET: Gauge "conngate_condition_met" {
            "condition": "`capabilities`, `cgroups`, `programs`, `pods`, `reconciled`"
        } "Whether this prerequisite of the agent is met (1) or not (0); /readyz names what is missing.";
        POD_SOURCE_UP: Gauge "conngate_pod_source_up" { "source": "`apiserver`, `kubelet`, `file`, `namespaces`" }
            "Whether this source of pods works (1) or not (0); only sources in use.";
        PROBE_DURATION: Histogram "conngate_probe_duration_seconds" {
            "result": "`ready`, `not-ready`, `refused`, `unreachable`, `invalid`, `timeout`"
        } "Duration of readiness probes of proxies, by result.";
        READY_TO_CONNECTED: Histogram "conngate_ready_to_connected_seconds" {}
            "Time from a gate's opening until a connection that it held was established.";
        CLASSIFICATION_DURATION: Histogram "conngate_classification_duration_seconds" {}
            "Time from the first dropped SYN of an unknown pod or container until the agent's decision.";
        SYNS_REPLAYED: Counter "conngate_syns_replayed_total" {
            "result": "`sent`, `failed` (the kernel's own retry remains)"
        } "Parked SYNs and DNS queries that the agent replayed, and truncated answers to queries, by result.";
        DNS_TRUNCATED: Counter "conngate_dns_queries_truncated_total" {}
            "Held DNS queries that the agent answered as truncated, so that their resolver asks again over TCP.";
        KUBERNETES_EVENTS: Counter "conngate_kubernetes_events_total" {
            "result": "`sent`, `dropped` (a repetition, too many, or rejected by the API server)"
        } "Kubernetes Events on pods, by result.";
        LOG_LINES_DROPPED: Counter "conngate_log_lines_dropped_total" {}
            "Lines of the agent's log that were dropped because nobody read the log fast enough.";
        BUILD_INFO: Gauge "conngate_build_info" { "version": "of the agent", "abi": "of its programs and maps" }
            "Always 1.";
    }
    PODS {
        POD_CONNECTIONS_HELD: Counter "conngate_pod_connections_held_total" {
            "namespace": "", "pod": "", "container": "empty: unknown"
        } "Held connections of the pod's container, as the agent saw them.";
        POD_CONNECTIONS_WAITING: Gauge "conngate_pod_connections_waiting" {
            "namespace": "", "pod": "", "container": "empty: unknown"
        } "Connections of the pod's container that are held now.";
        POD_GATE: Gauge "conngate_pod_gate" {
            "namespace": "", "pod": "", "mode": "`hold`, `retry`, `observe`", "state": "`holding`, `open`"
        } "Always 1: the pod's gate and its state.";
        PODS_WITHOUT_SERIES: Gauge "conngate_pods_without_series" {}
            "Pods with a gate but without series of their own, because there are more than --pod-metrics-limit.";
    }
    PROCESS {
        PROCESS_CPU: Counter "process_cpu_seconds_total" {} "User and system CPU time.";
        PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" {} "Resident memory.";
        PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" {} "Virtual memory.";
        PROCESS_OPEN_FDS: Gauge "process_open_fds" {} "Open file descriptors.";
        PROCESS_MAX_FDS: Gauge "process_max_fds" {} "Limit of open file descriptors.";
        PROCESS_THREADS: Gauge "process_threads" {} "Threads.";
        PROCESS_START: Gauge "process_start_time_seconds" {} "Start time of the process, in seconds since 1970.";
    }
}

/// All that conngate declares.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [KERNEL, NODE, PODS, PROCESS].into_iter().flatten().copied()
}
