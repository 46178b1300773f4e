//! What this process counts itself, where it happens.
//!
//! Knows nothing of the kernel's counters. Cloned freely: all clones count the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use conngate_common::{id::MonoTime, reason::Reason};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, core::Collector,
    proto::MetricFamily,
};

use super::declared::{self, Metric};
/// Upper bounds in seconds: from what a replay takes to what nobody should wait for.
const LATENCIES: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096];

/// What a probe may find.
pub const PROBE_RESULTS: [&str; 6] = ["ready", "not-ready", "refused", "unreachable", "invalid", "timeout"];

/// The counters of this process.
#[derive(Clone, Debug)]
pub struct Recorded {
    registry: Registry,
    started_before: IntCounter,
    opened: IntCounterVec,
    probes: HistogramVec,
    ready_to_connected: Histogram,
    classification: Histogram,
    replayed: IntCounterVec,
    truncated: IntCounter,
    events: IntCounterVec,
    /// When the kernel last heard that the agent is alive; 0: never.
    beat: Arc<AtomicU64>,
}

/// What became of something that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// The API server took it.
    Sent,
    /// It was not sent, or not taken.
    Dropped,
}

impl EventResult {
    /// The label's value.
    const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
        }
    }
}

impl Default for Recorded {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorded {
    /// All at zero.
    ///
    /// # Panics
    /// Never: what is declared makes metrics, which a test shows.
    #[must_use]
    pub fn new() -> Self {
        let recorded = Self {
            registry: Registry::new(),
            started_before: IntCounter::new(declared::PODS_STARTED_BEFORE.name, declared::PODS_STARTED_BEFORE.help)
                .expect("it is declared rightly"),
            opened: counters(&declared::GATES_OPENED),
            probes: HistogramVec::new(durations(&declared::PROBE_DURATION), &declared::PROBE_DURATION.label_names())
                .expect("it is declared rightly"),
            ready_to_connected: histogram(&declared::READY_TO_CONNECTED),
            classification: histogram(&declared::CLASSIFICATION_DURATION),
            replayed: counters(&declared::SYNS_REPLAYED),
            truncated: IntCounter::new(declared::DNS_TRUNCATED.name, declared::DNS_TRUNCATED.help)
                .expect("it is declared rightly"),
            events: counters(&declared::KUBERNETES_EVENTS),
            beat: Arc::default(),
        };
        for reason in Reason::ALL.iter().filter(|reason| !reason.holds()) {
            recorded.opened.with_label_values(&[reason.word()]);
        }
        for word in PROBE_RESULTS {
            recorded.probes.with_label_values(&[word]);
        }
        for result in ["sent", "failed"] {
            recorded.replayed.with_label_values(&[result]);
        }
        for result in [EventResult::Sent, EventResult::Dropped] {
            recorded.events.with_label_values(&[result.word()]);
        }
        let all: [Box<dyn Collector>; 8] = [
            Box::new(recorded.started_before.clone()),
            Box::new(recorded.opened.clone()),
            Box::new(recorded.probes.clone()),
            Box::new(recorded.ready_to_connected.clone()),
            Box::new(recorded.classification.clone()),
            Box::new(recorded.replayed.clone()),
            Box::new(recorded.truncated.clone()),
            Box::new(recorded.events.clone()),
        ];
        for collector in all {
            recorded.registry.register(collector).expect("each is declared once");
        }
        recorded
    }

    /// A pod asks for a gate, and had started before there was an agent.
    pub fn started_before(&self) {
        self.started_before.inc();
    }

    /// A gate was opened.
    pub fn opened(&self, reason: Reason) {
        self.opened.with_label_values(&[reason.word()]).inc();
    }

    /// A proxy was asked, with one of [`PROBE_RESULTS`].
    pub fn probed(&self, result: &'static str, took: Duration) {
        self.probes.with_label_values(&[result]).observe(took.as_secs_f64());
    }

    /// A connection that an opened gate had held was established.
    pub fn connected(&self, after: Duration) {
        self.ready_to_connected.observe(after.as_secs_f64());
    }

    /// It was found out whose an unclassified connection is.
    pub fn classified(&self, after: Duration) {
        self.classification.observe(after.as_secs_f64());
    }

    /// SYNs were sent again, or could not be.
    pub fn replayed(&self, sent: usize, failed: usize) {
        for (result, count) in [("sent", sent), ("failed", failed)] {
            self.replayed.with_label_values(&[result]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// DNS queries were answered as truncated.
    pub fn truncated(&self, queries: usize) {
        self.truncated.inc_by(u64::try_from(queries).unwrap_or(u64::MAX));
    }

    /// A Kubernetes Event was sent, or was not.
    pub fn event(&self, result: EventResult) {
        self.events.with_label_values(&[result.word()]).inc();
    }

    /// The kernel was told that the agent is alive.
    pub fn beat(&self, at: MonoTime) {
        self.beat.store(at.0, Ordering::Relaxed);
    }

    /// How long ago it was told so last; `None`: never.
    #[must_use]
    pub fn heartbeat_age(&self, now: MonoTime) -> Option<Duration> {
        let beat = MonoTime(self.beat.load(Ordering::Relaxed));
        (beat.0 != 0).then(|| Duration::from_nanos(now.since(beat)))
    }

    /// How many Kubernetes Events were.
    #[must_use]
    pub fn events(&self, result: EventResult) -> u64 {
        self.events.with_label_values(&[result.word()]).get()
    }

    /// Everything that was counted.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

fn counters(metric: &Metric) -> IntCounterVec {
    IntCounterVec::new(Opts::new(metric.name, metric.help), &metric.label_names()).expect("it is declared rightly")
}

fn histogram(metric: &Metric) -> Histogram {
    Histogram::with_opts(durations(metric)).expect("it is declared rightly")
}

fn durations(metric: &Metric) -> HistogramOpts {
    HistogramOpts::new(metric.name, metric.help).buckets(LATENCIES.to_vec())
}
