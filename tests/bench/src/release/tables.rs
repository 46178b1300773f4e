//! The tables of `bench release`, and whether its goals are met.
//!
//! Knows nothing of how anything was measured.

use super::{contender::Contender, many::Repetition, single::Run};
use crate::{report::table, statistics::Sample};

/// What conngate may cost more than an oracle, milliseconds: median and 99th percentile.
const GOAL_P50: f64 = 1.0;
const GOAL_P99: f64 = 5.0;
/// When the last of many connections has to be made, milliseconds.
const GOAL_MANY: f64 = 150.0;

pub(super) fn single(runs: &[Run]) -> String {
    let sample = |contender: Contender, of: fn(&Run) -> Option<f64>| {
        Sample::of(runs.iter().filter(|run| run.contender == contender).filter_map(of))
    };
    let row = |name: String, sample: Option<Sample>| {
        let [n, p50, p99, max] = sample.map_or_else(
            || ["0", "", "", ""].map(str::to_owned),
            |sample| {
                let summary = sample.summary();
                [summary.n.to_string(), ms(summary.p50), ms(summary.p99), ms(summary.max)]
            },
        );
        [name, n, p50, p99, max]
    };
    let after_ready = |run: &Run| Some(run.after_ready_ms);
    let ready = Contender::ALL.map(|contender| row(contender.name().to_owned(), sample(contender, after_ready)));
    type Part = (&'static str, Contender, fn(&Run) -> Option<f64>);
    let parts: [Part; 5] = [
        ("Envoy: listen() to the first 200", Contender::Conngate, |run| Some(run.listen_to_ready_ms)),
        ("conngate: the first 200 to the gate's opening", Contender::Conngate, |run| run.ready_to_open_ms),
        ("conngate: the gate's opening to connected", Contender::Conngate, |run| {
            Some(run.after_ready_ms - run.ready_to_open_ms?)
        }),
        ("conngate: listen() to connected", Contender::Conngate, |run| Some(run.after_listen_ms)),
        ("oracle: listen() to connected", Contender::Oracle, |run| Some(run.after_listen_ms)),
    ];
    let parts = parts.map(|(name, contender, of)| row(name.to_owned(), sample(contender, of)));
    let columns = |what| [what, "n", "p50", "p99", "max"];
    let ready = table(columns("Envoy's first 200 on /ready to connect()'s return, ms"), ready);
    let parts = table(columns("where the time goes, ms"), parts);
    let verdict = match (sample(Contender::Conngate, after_ready), sample(Contender::Oracle, after_ready)) {
        (Some(conngate), Some(oracle)) => [(50, GOAL_P50), (99, GOAL_P99)]
            .map(|(percent, goal)| {
                let more = conngate.percentile(percent) - oracle.percentile(percent);
                format!("conngate is {} ms above the oracle at p{percent}: {}", ms(more), met(more, goal))
            })
            .join("\n"),
        _ => String::new(),
    };
    format!("{ready}\n{verdict}\n\n{parts}")
}

pub(super) fn many(repetitions: &[Repetition], count: usize) -> String {
    let rows = [(true, "held, then released"), (false, "to a ready Envoy, no gate")].map(|(held, name)| {
        let these = || repetitions.iter().filter(move |repetition| repetition.held == held);
        let failed: usize = these().map(|repetition| repetition.failed).sum();
        let of = |of: fn(&Repetition) -> f64, percent| {
            Sample::of(these().map(of)).map_or_else(String::new, |sample| ms(sample.percentile(percent)))
        };
        [
            name.to_owned(),
            these().count().to_string(),
            of(|repetition| repetition.first_ms, 50),
            of(|repetition| repetition.half_ms, 50),
            of(|repetition| repetition.most_ms, 50),
            of(|repetition| repetition.last_ms, 50),
            of(|repetition| repetition.last_ms, 100),
            failed.to_string(),
        ]
    });
    let last = Sample::of(repetitions.iter().filter(|repetition| repetition.held).map(|repetition| repetition.last_ms));
    let verdict = last.map_or_else(String::new, |last| {
        let last = last.percentile(50);
        format!("the last of {count} is connected after {} ms: {}", ms(last), met(last, GOAL_MANY))
    });
    let what = format!("{count} connections, medians in ms from the first 200 (no gate: from the first connect())");
    let header = [what.as_str(), "n", "first", "half", "99 %", "last", "last, worst", "refused"];
    format!("{}\n{verdict}", table(header, rows))
}

fn ms(milliseconds: f64) -> String {
    format!("{milliseconds:.3}")
}

fn met(value: f64, goal: f64) -> String {
    format!("{} the goal of {goal} ms", if value <= goal { "meets" } else { "MISSES" })
}
