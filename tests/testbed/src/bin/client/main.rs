//! conngate-test-client: connects in the many ways that applications do, and prints what came of it as JSON.
//!
//! Knows nothing of proxies or gates: it is the application. One line per connection ([`report::Connection`]), or one
//! for many ([`report::Summary`]). A refused connection is a result; only a bad use of the program is an error.
//!
//! [`report::Connection`]: conngate_testbed::report::Connection
//! [`report::Summary`]: conngate_testbed::report::Summary

mod attempt;
mod blocking;
mod nonblocking;
mod options;
mod socket;
mod uring;

use std::{
    io::{self, Read, Write},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Parser;
use conngate_testbed::{lab::wait::patience, report::Summary};

use self::{
    attempt::{Attempt, GREETING},
    options::{Cli, Command, Connect},
};

fn main() -> Result<()> {
    let Command::Connect(options) = Cli::parse().command;
    if options.on_word {
        io::stdin().read_line(&mut String::new()).context("cannot wait for a word")?;
    }
    let attempts = connect(&options)?;
    let deadline = Instant::now() + patience(GREETING);
    let (connections, open): (Vec<_>, Vec<_>) =
        attempts.into_iter().map(|attempt| attempt.finish(&options, deadline)).unzip();
    let mut out = io::stdout().lock();
    if options.is_one() || options.each {
        for connection in &connections {
            writeln!(out, "{}", serde_json::to_string(connection)?)?;
        }
    }
    if !options.is_one() {
        writeln!(out, "{}", serde_json::to_string(&Summary::of(&connections))?)?;
    }
    out.flush()?;
    if options.stay {
        io::stdin().read_to_end(&mut Vec::new()).context("cannot wait for the end of stdin")?;
    }
    drop(open);
    Ok(())
}

fn connect(options: &Connect) -> Result<Vec<Attempt>> {
    if options.io_uring {
        return Ok(vec![uring::connect(options)?]);
    }
    if !options.is_nonblocking() {
        return Ok(vec![blocking::connect(options)?]);
    }
    let shares = (0..options.threads).map(|thread| (options.count + thread) / options.threads);
    thread::scope(|scope| {
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || nonblocking::connect(options, share))).collect();
        let mut attempts = Vec::with_capacity(options.count);
        for thread in threads {
            attempts.extend(thread.join().expect("a connecting thread does not panic")?);
        }
        Ok(attempts)
    })
}
