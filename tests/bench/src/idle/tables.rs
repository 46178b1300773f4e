//! The tables of `bench idle`.
//!
//! Knows nothing of how anything was measured.

use super::{Block, Cost, TestRun, load::Load};
use crate::{report::table, statistics::Sample};

pub(super) fn rates(blocks: &[Block]) -> String {
    let rows = Load::ALL.into_iter().filter_map(|load| {
        let of = |of: fn(&Block) -> f64| Sample::of(blocks.iter().filter(|block| block.load == load).map(of));
        let (none, empty) = (of(|block| block.none)?, of(|block| block.empty)?);
        let attached = of(|block| block.attached)?;
        let ratio = of(|block| block.attached / block.empty)?.summary();
        let hooks = of(|block| block.empty / block.none)?.summary();
        let control = of(|block| block.control)?.summary();
        // The difference of the times of one operation.
        let added = of(|block| 1e9 / block.attached - 1e9 / block.empty)?;
        Some([
            load.name().to_owned(),
            ratio.n.to_string(),
            format!("{:.0}", none.percentile(50)),
            format!("{:.0}", empty.percentile(50)),
            format!("{:.0}", attached.percentile(50)),
            format!("{:.4}", hooks.p50),
            format!("{:.4}", ratio.p50),
            format!("{:.4} - {:.4}", ratio.p25, ratio.p75),
            format!("{:.4} - {:.4}", control.p25, control.p75),
            format!("{:+.0}", added.percentile(50)),
        ])
    });
    let header = [
        "per second, medians",
        "blocks",
        "none",
        "empty programs",
        "conngate's",
        "empty/none",
        "conngate's/empty",
        "its quartiles",
        "quartiles of none/none",
        "ns added to empty",
    ];
    table(header, rows).to_string()
}

pub(super) fn test_runs(runs: &[TestRun]) -> String {
    let of = |of: fn(&TestRun) -> u32| Sample::of(runs.iter().map(|run| f64::from(of(run))));
    let rows = [("egress", of(|run| run.egress)), ("an empty program", of(|run| run.empty))];
    let rows = rows.into_iter().filter_map(|(name, sample)| {
        let summary = sample?.summary();
        Some([name.to_owned(), format!("{:.0}", summary.p50), format!("{:.0} - {:.0}", summary.p25, summary.p75)])
    });
    table(["ns per run, established connection (BPF_PROG_TEST_RUN)", "median", "quartiles"], rows).to_string()
}

pub(super) fn costs(costs: &[Cost], blocks: &[Block]) -> String {
    let rows = costs.iter().filter(|cost| cost.calls_per_operation > 0.001).map(|cost| {
        [
            format!("{}: {}", cost.load.name(), cost.program),
            format!("{:.2}", cost.calls_per_operation),
            format!("{:.0}", cost.empty),
            format!("{:.0}", cost.conngate),
            format!("{:+.0}", added(cost)),
        ]
    });
    let sums = Load::ALL.into_iter().filter_map(|load| {
        let sum: f64 = costs.iter().filter(|cost| cost.load == load).map(added).sum();
        let empty = Sample::of(blocks.iter().filter(|block| block.load == load).map(|block| 1e9 / block.empty))?;
        let empty = empty.percentile(50);
        let ratio = format!("{:.4} of empty programs", empty / (empty + sum));
        Some([load.name().to_owned(), ratio, String::new(), String::new(), format!("{sum:+.0}")])
    });
    let header = ["the kernel's statistics", "calls/operation", "ns/call, empty", "ns/call", "ns added/operation"];
    table(header, rows.chain(sums)).to_string()
}

/// Nanoseconds that conngate's program adds to an operation.
fn added(cost: &Cost) -> f64 {
    cost.calls_per_operation * (cost.conngate - cost.empty)
}
