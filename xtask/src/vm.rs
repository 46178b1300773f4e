//! `cargo xtask vm`: the kernel tests on other kernels, each booted in QEMU.
//!
//! Knows nothing of single tests. Everything is below target/vm: kernels and a small Debian from Debian's archive, fetched
//! once and verified by apt; what each guest said last, in target/vm/runs.
//!
//! Invariants: a test that did not pass in a guest has failed, unless xtask/vm/kernels.toml says why it is left out; the
//! tests are those of `cargo xtask test kernel`, and only their patience differs.

mod accelerator;
mod account;
mod arch;
mod archive;
mod cpio;
mod cross;
mod disk;
mod document;
mod guest;
mod initramfs;
mod job;
mod kernel;
mod ledger;
mod mirror;
mod modules;
mod offer;
mod pins;
mod programs;
mod qemu;
mod row;
mod selection;
mod userland;
mod word;

use std::{cell::RefCell, fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::{
    accelerator::Accelerator,
    account::Sum,
    arch::Arch,
    job::Job,
    kernel::Kernel,
    ledger::Ledger,
    offer::FLAVOUR,
    pins::{Pin, Pins},
    programs::Program,
    row::Row,
    selection::Selection,
    userland::Userland,
};
use crate::{process::is_root, setup::prepare, test::ci, workspace::target};

/// Run the kernel tests on other kernels, in QEMU
#[derive(Args)]
pub(crate) struct Options {
    /// By their names in xtask/vm/kernels.toml; the newest when absent
    kernels: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "kernels")]
    all: bool,
    /// Only the tests that together show the most
    #[arg(long)]
    core: bool,
    /// Write what the programs cost the verifiers into xtask/vm/ledger.toml, whatever it was before
    #[arg(long)]
    accept: bool,
    /// Of the guests
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    arch: Arch,
    /// Only tests with one of these in their names
    #[arg(last = true, value_parser = filter)]
    filters: Vec<String>,
}

fn filter(text: &str) -> Result<String, &'static str> {
    if text.starts_with('-') { Err("a part of a test's name, not an option") } else { Ok(text.to_owned()) }
}

/// What all guests of a run share.
struct Lane<'a> {
    options: &'a Options,
    pins: &'a Pins,
    accelerator: Accelerator,
    userland: Userland,
    programs: Vec<Program>,
    checkout: PathBuf,
    ledger: RefCell<Ledger>,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("a guest's root is made of files that belong to root: run it as root");
    }
    let pins = Pins::read()?;
    let chosen = pins.chosen(&options.kernels, options.all)?;
    prepare(options.arch.purpose())?;
    let accelerator = Accelerator::here(options.arch);
    let programs = programs::build(options.arch)?;
    let checkout = programs::disk(&programs, options.arch)?;
    let userland = Userland::get(options.arch)?;
    let ledger = RefCell::new(Ledger::read()?);
    let lane = Lane { options, pins: &pins, accelerator, userland, programs, checkout, ledger };
    let mut rows = Vec::new();
    for pin in chosen {
        let row = lane.row(pin);
        row.faults().for_each(|fault| println!("{fault}"));
        println!("{}", row.line());
        rows.push(row);
    }
    println!("\n{}", row::table(&rows));
    if options.accept {
        lane.ledger.borrow().write()?;
    }
    if options.filters.is_empty() && !ci() {
        let tests = if options.core { "core" } else { "all" };
        document::write(&rows, tests, &pins.names(), pins.exceptions())?;
    }
    Ok(if rows.iter().all(Row::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Lane<'_> {
    /// Runs the tests on one kernel; what cannot be run has failed.
    fn row(&self, pin: &Pin) -> Row {
        let started = Instant::now();
        let mut row = Row {
            name: pin.name.clone(),
            release: format!("{}-{FLAVOUR}-{}", pin.release, self.options.arch.debian()),
            version: pin.version.clone(),
            arch: self.options.arch,
            accelerator: self.accelerator,
            sum: Sum::default(),
            took: started.elapsed(),
        };
        if let Err(error) = self.boot(pin, &mut row) {
            row.sum.complaints.push(format!("{error:#}"));
        }
        row.took = started.elapsed();
        row
    }

    fn boot(&self, pin: &Pin, row: &mut Row) -> Result<()> {
        let Options { arch, core, filters, .. } = self.options;
        let kernel = Kernel::get(pin, *arch)?;
        (row.release, row.version) = (kernel.release.clone(), kernel.version.clone());
        let left_out = self.pins.left_out(&pin.name, self.accelerator);
        let selection = Selection::new(core.then(|| self.pins.core()), filters, left_out);
        let job = Job::new(&self.programs, &selection, *arch, self.accelerator);
        let directory = target("vm/runs").join(format!("{}-{arch}", pin.name));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let guest = qemu::Guest {
            arch: *arch,
            accelerator: self.accelerator,
            kernel: kernel.image(),
            initramfs: initramfs::write(&directory, &kernel, &self.userland, &job)?,
            disks: [self.userland.disk(), kernel.disk(), self.checkout.clone()],
            directory,
        };
        let account = guest::run(&guest, &pin.name, *core)?;
        row.sum = account.sum(&selection);
        let on = format!("{} {arch}", pin.name);
        if self.options.accept {
            self.ledger.borrow_mut().accept(&on, account.costs().clone());
        }
        row.sum.complaints.extend(self.ledger.borrow().faults(&on, account.costs()));
        if let Some(other) = account.release().filter(|release| *release != kernel.release) {
            bail!("{other} was booted instead of {}", kernel.release);
        }
        Ok(())
    }
}
