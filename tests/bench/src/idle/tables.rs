//! The tables of `bench idle`.
//!
//! Knows nothing of how anything was measured.

use super::{Block, Cost, load::Load};
use crate::{report::table, statistics::Sample};

pub(super) fn rates(blocks: &[Block]) -> String {
    let rows = Load::ALL.into_iter().filter_map(|load| {
        let of = |of: fn(&Block) -> f64| Sample::of(blocks.iter().filter(|block| block.load == load).map(of));
        let (none, attached) = (of(|block| block.none)?, of(|block| block.attached)?);
        let ratio = of(|block| block.attached / block.none)?.summary();
        let control = of(|block| block.control)?.summary();
        // The difference of the times of one operation.
        let added = of(|block| 1e9 / block.attached - 1e9 / block.none)?;
        Some([
            load.name().to_owned(),
            ratio.n.to_string(),
            format!("{:.0}", none.percentile(50)),
            format!("{:.0}", attached.percentile(50)),
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
        "attached",
        "attached/none",
        "its quartiles",
        "quartiles of none/none",
        "ns added",
    ];
    table(header, rows).to_string()
}

pub(super) fn costs(costs: &[Cost]) -> String {
    let rows = costs.iter().filter(|cost| cost.calls_per_operation > 0.001).map(|cost| {
        [
            format!("{}: {}", cost.load.name(), cost.program),
            format!("{:.2}", cost.calls_per_operation),
            format!("{:.0}", cost.nanoseconds_per_call),
            format!("{:.0}", cost.calls_per_operation * cost.nanoseconds_per_call),
        ]
    });
    let header = ["the kernel's statistics, its own clock included", "calls/operation", "ns/call", "ns/operation"];
    table(header, rows).to_string()
}
