//! The log: tracing on stderr, together with what the eBPF programs log (aya-log speaks the `log` crate's language).
//!
//! Knows nothing of what is said.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    EnvFilter,
    fmt::writer::{BoxMakeWriter, MakeWriterExt as _},
};

use super::Verb;
use crate::log_tail::{self, Tail};

/// What is said, in the words of `tracing_subscriber::EnvFilter`.
const FILTER: &str = "CONNGATE_LOG";

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Begins to log for `verb`: the agent, and what runs before it, says what it does, the others only what is wrong. What waits to
/// be written is written when the guard is dropped.
#[must_use]
pub fn begin(verb: &Verb) -> Option<WorkerGuard> {
    let (level, format) = match verb {
        Verb::Agent(options) => ("info", options.log_format),
        Verb::Boot(_) => ("info", LogFormat::Text),
        Verb::Run(_)
        | Verb::Check(_)
        | Verb::Status(_)
        | Verb::Explain(_)
        | Verb::Events(_)
        | Verb::Open(_)
        | Verb::Report(_)
        | Verb::Bugreport(_)
        | Verb::Completions(_)
        | Verb::Man(_) => ("warn", LogFormat::Text),
    };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(level));
    let colours = io::stderr().is_terminal();
    let (writer, guard) = if let Verb::Agent(_) = verb {
        let (stderr, guard) = log_tail::unhurried_stderr();
        (BoxMakeWriter::new(stderr.and(|| Tail)), Some(guard))
    } else {
        (BoxMakeWriter::new(io::stderr), None)
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    guard
}
