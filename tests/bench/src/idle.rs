//! `bench idle`: what the attached programs cost where no gate is closed.
//!
//! Knows nothing of the load itself (`load`). The load runs in one cgroup, on one processor, client and server in turn, so
//! that every nanosecond of the kernel's work counts and no scheduler's choice does. Rounds without programs (A), with empty
//! ones (B: what the hooks cost) and with conngate's (C) alternate as A B C C B A, so that a drift of the machine's speed meets
//! all of them.

mod empty;
pub(super) mod load;
mod programs;
mod tables;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use conngate_common::counter::Program;
use conngate_testbed::lab::{self, Cgroup, Namespace};
use serde::Serialize;

use self::{
    empty::{Empty, test_run},
    load::{Load, Worker},
    programs::{Attached, Counting},
};
use crate::{machine::Machine, report};
use conngate_testbed::step::step;

/// What the kernel does after an attach or a detach is done by then.
const SETTLE: Duration = Duration::from_millis(20);

/// How long each load runs while the kernel counts.
const COUNTED: Duration = Duration::from_secs(2);

/// Between two words of progress.
const PROGRESS: usize = 10;

/// Request/response and connect/close rates with and without the programs; nanoseconds per call of each
#[derive(Args)]
pub(super) struct Options {
    /// Blocks of six rounds, A B C C B A
    #[arg(long, default_value_t = 40)]
    blocks: usize,
    /// Milliseconds of one load in one round
    #[arg(long, default_value_t = 150)]
    millis: u64,
}

/// Operations per second in one block.
#[derive(Clone, Copy, Debug, Serialize)]
struct Block {
    load: Load,
    none: f64,
    empty: f64,
    attached: f64,
    /// The last round without the programs beside the first: what the method itself adds.
    control: f64,
}

/// What one program takes per call, from the kernel's statistics.
#[derive(Clone, Debug, Serialize)]
struct Cost {
    load: Load,
    program: String,
    calls_per_operation: f64,
    /// Nanoseconds per call of an empty program, and of conngate's.
    empty: f64,
    conngate: f64,
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    blocks: Vec<Block>,
    costs: Vec<Cost>,
    test_runs: Vec<TestRun>,
}

/// Nanoseconds of one run of the egress program, and of an empty one, on a packet of an established connection.
#[derive(Clone, Copy, Debug, Serialize)]
struct TestRun {
    egress: u32,
    empty: u32,
}

/// Pairs of test runs, and how often each repeats the program.
const TEST_RUNS: usize = 25;
const REPEAT: u32 = 1_000_000;

pub(super) fn run(options: &Options) -> Result<()> {
    let machine = Machine::here()?;
    println!("{}", machine.line());
    let mut measured = None;
    lab::run(|| {
        let namespace = Namespace::new()?;
        // A closed connection leaves nothing behind that the next one would have to get around.
        namespace.set_sysctl("ipv4/tcp_max_tw_buckets", "0")?;
        let cgroup = Cgroup::new()?;
        let mut worker = Worker::start(&namespace, &cgroup, Duration::from_millis(options.millis))?;
        let blocks = compare(&mut worker, &cgroup, options.blocks)?;
        measured = Some((blocks, costs(&mut worker, &cgroup)?, test_runs(&cgroup)?));
        Ok(())
    })?;
    let (blocks, costs, test_runs) = measured.context("the laboratory was not opened")?;
    println!("\n{}\n\n{}\n\n{}", tables::rates(&blocks), tables::costs(&costs, &blocks), tables::test_runs(&test_runs));
    report::write("idle", &Figures { machine, blocks, costs, test_runs })
}

/// The two in turn.
fn test_runs(cgroup: &Cgroup) -> Result<Vec<TestRun>> {
    step("the egress program alone, beside an empty one", || {
        let attached = Attached::to(cgroup)?;
        let (egress, empty) = (attached.egress()?, Empty::load(Program::Egress)?);
        let run = |_| Ok(TestRun { egress: test_run(&egress, REPEAT)?, empty: test_run(&empty, REPEAT)? });
        (0..TEST_RUNS).map(run).collect()
    })
}

fn compare(worker: &mut Worker, cgroup: &Cgroup, blocks: usize) -> Result<Vec<Block>> {
    step(&format!("{blocks} blocks of none, empty, attached, attached, empty, none"), || {
        round(worker)?;
        let mut results = Vec::new();
        for block in 0..blocks {
            let first = round(worker)?;
            let empty = with(Empty::attach(cgroup)?, || round(worker))?;
            let attached = with(Attached::to(cgroup)?, || Ok([round(worker)?, round(worker)?]))?;
            let empty = [empty, with(Empty::attach(cgroup)?, || round(worker))?];
            let none = [first, round(worker)?];
            let mean = |rounds: &[BTreeMap<Load, f64>; 2], load| (rounds[0][&load] + rounds[1][&load]) / 2.0;
            results.extend(Load::ALL.map(|load| Block {
                load,
                none: mean(&none, load),
                empty: mean(&empty, load),
                attached: mean(&attached, load),
                control: none[1][&load] / none[0][&load],
            }));
            if (block + 1) % PROGRESS == 0 {
                eprintln!("    {} blocks", block + 1);
            }
        }
        Ok(results)
    })
}

/// Does `work` while `programs` are attached, and waits until they are not.
fn with<T>(programs: impl Sized, work: impl FnOnce() -> Result<T>) -> Result<T> {
    thread::sleep(SETTLE);
    let done = work();
    drop(programs);
    thread::sleep(SETTLE);
    done
}

/// Every load once; operations per second.
fn round(worker: &mut Worker) -> Result<BTreeMap<Load, f64>> {
    Load::ALL.into_iter().map(|load| Ok((load, worker.run(load)?.rate()))).collect()
}

/// Empty programs pay for the kernel's clock too: the difference is what conngate's add.
fn costs(worker: &mut Worker, cgroup: &Cgroup) -> Result<Vec<Cost>> {
    step("the kernel's own statistics of each program, and of empty ones", || {
        let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("no statistics of eBPF programs")?;
        let empty = Counting::start();
        let links = Empty::attach(cgroup)?;
        let empty = with(links, || counted(worker, &empty))?;
        let conngate = Counting::start();
        let attached = Attached::to(cgroup)?;
        let conngate = with(attached, || counted(worker, &conngate))?;
        let cost = |((load, program), (calls_per_operation, conngate)): ((Load, String), (f64, f64))| {
            let (_, empty) = empty.get(&(load, program.clone())).copied().unwrap_or_default();
            Cost { load, program, calls_per_operation, empty, conngate }
        };
        Ok(conngate.into_iter().map(cost).collect())
    })
}

/// Calls per operation and nanoseconds per call of every program, under every load.
fn counted(worker: &mut Worker, counting: &Counting) -> Result<BTreeMap<(Load, String), (f64, f64)>> {
    let mut counted = BTreeMap::new();
    for load in Load::ALL {
        let before = counting.statistics()?;
        let (mut operations, started) = (0, Instant::now());
        while started.elapsed() < COUNTED {
            operations += worker.run(load)?.operations;
        }
        for (program, after) in counting.statistics()? {
            let earlier = before.get(&program).copied().unwrap_or_default();
            let (calls, nanoseconds) = (after.calls - earlier.calls, after.nanoseconds - earlier.nanoseconds);
            counted.insert((load, program), (ratio(calls, operations), ratio(nanoseconds, calls)));
        }
    }
    Ok(counted)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a short run")]
fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}
