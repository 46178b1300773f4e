//! One connection per run: every contender in turn, the slow ones in some of the rounds.
//!
//! Knows nothing of tables.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context as _, Result};
use conngate_testbed::lab::{Cgroup, Pod, Upstream, envoy::virtual_outbound};
use serde::Serialize;

use super::{contender::Contender, observer::Observer, stage::Stage};
use conngate_testbed::step::step;

/// Reached through Envoy, by IPv4.
const DESTINATION: &str = "198.51.100.10:80";

/// Between two words of progress.
const PROGRESS: usize = 20;

/// One run, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Run {
    pub(super) contender: Contender,
    /// From Envoy's first listen() to connect()'s return.
    pub(super) after_listen_ms: f64,
    /// From the first 200 to connect()'s return.
    pub(super) after_ready_ms: f64,
    /// From the first listen() to the first 200: Envoy's own.
    pub(super) listen_to_ready_ms: f64,
    /// From the first 200 to conngate's word that the gate is open.
    pub(super) ready_to_open_ms: Option<f64>,
}

pub(super) fn measure(runs: usize, slow_runs: usize) -> Result<Vec<Run>> {
    let upstream = Upstream::start()?;
    let stage = Stage::new(&upstream, virtual_outbound())?;
    let sidecar = Cgroup::new()?;
    let mut observer = Observer::new(&sidecar)?;
    let destination = DESTINATION.parse()?;
    step(&format!("{runs} rounds, {slow_runs} of them with the slow contenders"), || {
        let started = Instant::now();
        let mut results = Vec::new();
        for round in 0..runs.max(slow_runs) {
            for contender in Contender::ALL {
                let all = if contender.is_slow() { slow_runs } else { runs };
                if is_due(round, runs.max(slow_runs), all) {
                    let run = one(&stage, &sidecar, &mut observer, contender, destination);
                    results.push(run.with_context(|| format!("round {round} of {}", contender.name()))?);
                }
            }
            if (round + 1) % PROGRESS == 0 {
                eprintln!("    {} rounds, {:.0} s", round + 1, started.elapsed().as_secs_f64());
            }
        }
        Ok(results)
    })
}

/// Spreads `wanted` turns evenly over `rounds`.
fn is_due(round: usize, rounds: usize, wanted: usize) -> bool {
    (round + 1) * wanted / rounds > round * wanted / rounds
}

fn one(
    stage: &Stage,
    sidecar: &Cgroup,
    observer: &mut Observer,
    contender: Contender,
    destination: SocketAddr,
) -> Result<Run> {
    let oracle = (contender == Contender::Oracle).then_some(destination);
    let prepare = |pod: &Pod| contender.wait(pod, destination);
    let (seen, end) =
        stage.run(sidecar, observer, oracle, prepare, |waiting, seen| Ok((seen, waiting.end(seen.connected)?)))?;
    // conngate's own question may have been answered before the observer's.
    let ready = seen.ready.min(end.opened.unwrap_or(u64::MAX));
    Ok(Run {
        contender,
        after_listen_ms: milliseconds(seen.listening, end.connected),
        after_ready_ms: milliseconds(ready, end.connected),
        listen_to_ready_ms: milliseconds(seen.listening, ready),
        ready_to_open_ms: end.opened.map(|opened| milliseconds(ready, opened)),
    })
}

/// From one moment to another, which may lie before it.
#[expect(clippy::cast_precision_loss, reason = "differences of one run")]
pub(super) fn milliseconds(from: u64, to: u64) -> f64 {
    to.cast_signed().wrapping_sub(from.cast_signed()) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_many_as_wanted_and_spread() {
        let due = |wanted| (0..200).filter(|round| is_due(*round, 200, wanted)).collect::<Vec<_>>();
        assert_eq!([200, 20, 1, 0].map(|wanted| due(wanted).len()), [200, 20, 1, 0]);
        assert!(due(20).windows(2).all(|pair| pair[1] - pair[0] == 10));
    }

    #[test]
    fn milliseconds_before_is_negative() {
        assert_eq!(milliseconds(3_000_000, 1_500_000), -1.5);
    }
}
