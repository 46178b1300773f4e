//! The benchmarks: what a hold costs at its end (`release`), what conngate costs where nothing is held (`idle`), the node agent
//! with as many pods as a node has (`node`), and beside a hostile pod (`fairness`), and many agents against one API server (`scale`).
//!
//! Knows nothing of what is measured. `cargo xtask bench` builds it for release, with everything that it measures.

mod entries;
mod fairness;
mod idle;
mod machine;
mod node;
mod release;
mod report;
mod scale;
mod statistics;

use anyhow::{Result, bail};
use clap::Parser;
use conngate_testbed::lab::permissions;

/// Measure, and say how; figures also in target/bench
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
enum Benchmark {
    Release(release::Options),
    Idle(idle::Options),
    Node(node::Options),
    Fairness(fairness::Options),
    Scale(scale::Options),
    /// The load of `idle`, on its stdin's order
    #[command(hide = true)]
    Load,
    /// The proxy of `node`'s pods
    #[command(hide = true)]
    Proxy,
}

fn main() -> Result<()> {
    let benchmark = Benchmark::parse();
    let missing = permissions::missing();
    // The proxy needs nothing.
    if !missing.is_empty() && !matches!(benchmark, Benchmark::Proxy) {
        bail!("a benchmark needs root; this lacks: {}", missing.join("; "));
    }
    match benchmark {
        Benchmark::Release(options) => release::run(&options),
        Benchmark::Idle(options) => idle::run(&options),
        Benchmark::Node(options) => node::run(&options),
        Benchmark::Fairness(options) => fairness::run(&options),
        Benchmark::Scale(options) => scale::run(&options),
        Benchmark::Load => idle::load::serve(),
        Benchmark::Proxy => node::proxy::serve(),
    }
}
