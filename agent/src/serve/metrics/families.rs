//! A snapshot as metric families.
//!
//! Knows nothing of what this process counts itself.

use std::time::Duration;

use conngate_common::{ABI_VERSION, counter::Counter, reason::Reason, record::Outcome, verdict::Verdict};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::{
    Recorded,
    snapshot::{MAX_CONTAINERS, PodGate, PodSeries, Snapshot},
};
use crate::{
    bpf::counters::Counted,
    clock, log_tail,
    metrics::declared::{self, Kind, Metric},
    serve::conditions::{Condition, Conditions},
};

/// Holds shorter than 2^20 ns (1 ms) are one bucket, and so are those of 2^40 ns (18 min) and longer: none lasts so long.
const BUCKETS: std::ops::RangeInclusive<u32> = 20..=40;

/// What is true of the agent, whatever it does.
pub(super) fn of_agent(recorded: &Recorded, conditions: &Conditions) -> Vec<MetricFamily> {
    let missing = conditions.missing();
    let is_met = |condition| missing.iter().all(|(unmet, _)| *unmet != condition);
    let abi = ABI_VERSION.to_string();
    let age = recorded.heartbeat_age(clock::now()).map(|age| (Vec::<&str>::new(), age.as_secs_f64()));
    vec![
        family(&declared::HEARTBEAT_AGE, age),
        one(&declared::LOG_LINES_DROPPED, float(log_tail::dropped())),
        family(&declared::BUILD_INFO, [(vec![env!("CARGO_PKG_VERSION"), &abi], 1.0)]),
        family(
            &declared::CONDITION_MET,
            Condition::ALL.map(|condition| (vec![condition.word()], f64::from(u8::from(is_met(condition))))),
        ),
    ]
}

pub(super) fn of_snapshot(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut families: Vec<_> = snapshot.counted.as_ref().map(of_counted).unwrap_or_default();
    let maps = &snapshot.maps;
    let programs = snapshot.programs.iter();
    families.extend([
        family(&declared::MAP_ENTRIES, maps.iter().map(|fill| (vec![fill.map], float(fill.entries)))),
        family(&declared::MAP_CAPACITY, maps.iter().map(|fill| (vec![fill.map], float(fill.capacity)))),
        family(
            &declared::PROGRAM_ATTACHED,
            programs.map(|state| (vec![state.program.word()], f64::from(u8::from(state.attached.is_some())))),
        ),
        one(&declared::CONNECTIONS_WAITING, float(snapshot.waiting)),
        family(&declared::GATES, snapshot.gates.iter().map(|(state, pods)| (vec![state.word()], float(*pods)))),
        family(
            &declared::PODS_WITHOUT_GATE,
            snapshot.without_gate.iter().map(|((why, by), pods)| (vec![why.word(), by.word()], float(*pods))),
        ),
        family(
            &declared::POD_SOURCE_UP,
            snapshot.sources.iter().map(|(source, up)| (vec![source.word()], f64::from(u8::from(*up)))),
        ),
    ]);
    if let PodSeries::Limit(limit) = snapshot.series {
        families.extend(of_pods(&snapshot.pods, limit));
    }
    families
}

fn of_counted(counted: &Counted) -> Vec<MetricFamily> {
    let holding = || Reason::ALL.iter().copied().filter(|reason| reason.holds());
    let passing = || Reason::ALL.iter().copied().filter(|reason| !reason.holds());
    let by = |reason: Reason, count: u64| (vec![reason.word()], float(count));
    let ended = Outcome::ALL.iter().filter_map(|outcome| {
        let counter = match outcome {
            // A query is no connection, and has a metric of its own.
            Outcome::Truncated => return None,
            Outcome::Established => Counter::Established,
            Outcome::Abandoned => Counter::Abandoned,
            Outcome::Expired => Counter::Expired,
            Outcome::Refused => Counter::Refused,
        };
        Some((vec![outcome.word()], float(counted.of(counter))))
    });
    vec![
        one(&declared::CONNECTIONS_HELD, float(counted.of(Counter::Held))),
        family(&declared::CONNECTIONS_RELEASED, passing().map(|reason| by(reason, counted.released(reason)))),
        family(&declared::CONNECTIONS_ENDED, ended),
        hold_durations(counted),
        family(&declared::SYNS_DROPPED, holding().map(|reason| by(reason, counted.judged(Verdict::Hold(reason))))),
        family(&declared::DATAGRAMS_DROPPED, holding().map(|reason| by(reason, counted.datagrams(reason)))),
        family(
            &declared::SYNS_WOULD_HOLD,
            holding().map(|reason| by(reason, counted.judged(Verdict::WouldHold(reason)))),
        ),
        family(&declared::SYNS_PASSED, passing().map(|reason| by(reason, counted.judged(Verdict::Pass(reason))))),
        one(&declared::RECORDS_LOST, float(counted.of(Counter::LostRecords))),
        family(
            &declared::HELPER_ERRORS,
            counted.failures().map(|(program, helper, times)| (vec![program.word(), helper.word()], float(times))),
        ),
    ]
}

/// The kernel's log2 slots as cumulative buckets.
fn hold_durations(counted: &Counted) -> MetricFamily {
    let slots = counted.durations();
    let below = |exponent: u32| slots.iter().take(exponent as usize).sum::<u64>();
    let buckets = BUCKETS.map(|exponent| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(Duration::from_nanos(1 << exponent).as_secs_f64());
        bucket.set_cumulative_count(below(exponent));
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(slots.iter().sum());
    histogram.set_sample_sum(counted.held_for().as_secs_f64());
    let mut sample = proto::Metric::from_label(Vec::new());
    sample.set_histogram(histogram);
    let mut family = family::<&str>(&declared::HOLD_DURATION, []);
    family.set_metric(vec![sample]);
    family
}

fn of_pods(pods: &[PodGate], limit: usize) -> [MetricFamily; 4] {
    let shown = &pods[..pods.len().min(limit)];
    let containers =
        || shown.iter().flat_map(|pod| bounded(&pod.containers).into_iter().map(move |container| (pod, container)));
    let labels = |pod: &PodGate, container: &str| vec![pod.namespace.clone(), pod.pod.clone(), container.to_owned()];
    [
        family(
            &declared::POD_CONNECTIONS_HELD,
            containers().map(|(pod, (name, held, _))| (labels(pod, &name), float(held))),
        ),
        family(
            &declared::POD_CONNECTIONS_WAITING,
            containers().map(|(pod, (name, _, waiting))| (labels(pod, &name), float(waiting))),
        ),
        family(
            &declared::POD_GATE,
            shown
                .iter()
                .map(|pod| (vec![pod.namespace.as_str(), pod.pod.as_str(), pod.mode.word(), pod.state.word()], 1.0)),
        ),
        one(&declared::PODS_WITHOUT_SERIES, float(u64::try_from(pods.len() - shown.len()).unwrap_or(u64::MAX))),
    ]
}

/// The first containers as they are, the others together under no name.
fn bounded(containers: &[(String, u64, u64)]) -> Vec<(String, u64, u64)> {
    let (first, others) = containers.split_at(containers.len().min(MAX_CONTAINERS));
    let mut bounded = first.to_vec();
    if !others.is_empty() {
        let sum = |of: fn(&(String, u64, u64)) -> u64| others.iter().map(of).sum();
        let more = (String::new(), sum(|container| container.1), sum(|container| container.2));
        match bounded.iter_mut().find(|container| container.0.is_empty()) {
            Some(unnamed) => (unnamed.1, unnamed.2) = (unnamed.1 + more.1, unnamed.2 + more.2),
            None => bounded.push(more),
        }
    }
    bounded
}

pub(super) fn one(metric: &Metric, value: f64) -> MetricFamily {
    family::<&str>(metric, [(Vec::new(), value)])
}

/// Samples of `metric`: the values of its labels, in their order, and the sample's own.
fn family<S: Into<String>>(metric: &Metric, samples: impl IntoIterator<Item = (Vec<S>, f64)>) -> MetricFamily {
    let samples = samples.into_iter().map(|(values, value)| {
        let labels = metric.labels.iter().zip(values).map(|(label, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(label.name.to_owned());
            pair.set_value(value.into());
            pair
        });
        let mut sample = proto::Metric::from_label(labels.collect());
        match metric.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        sample
    });
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(samples.collect());
    family
}

/// Prometheus counts in floating point; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a counter beyond 2^53 may lose its last digits")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}
