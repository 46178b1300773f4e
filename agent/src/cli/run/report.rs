//! What `run` says: on stderr, for stdout is CMD's.
//!
//! Knows nothing of why. Text is one line per opened gate that held something; JSON is one object per notice, of the
//! shape in docs/cli.md.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    time::Duration,
};

use conngate_common::{
    counter::Counter,
    id::MonoTime,
    reason::Reason,
    record::{EndedRecord, Outcome, ParkedRecord},
    verdict::Verdict,
};
use conngate_core::node::What;
use serde_json::{Value, json};

use super::options::{AtTimeout, Options, ReadyWhen};
use crate::{
    bpf::{
        counters::Counted,
        records::{command, destination},
    },
    cli::Output,
    exit::Exit,
    gate::Summary,
};

/// Version of the JSON lines' shape.
const SHAPE: u32 = 1;

/// Says what happens.
pub(super) struct Reporter {
    output: Output,
    until: String,
    at_timeout: &'static str,
    ports: String,
    timeout: Duration,
}

impl Reporter {
    pub(super) fn new(options: &Options) -> Self {
        let ports = options.capture_ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        Self {
            output: options.common.output,
            until: match &options.ready_url {
                ReadyWhen::Url(url) => format!("{url} answered 2xx"),
                ReadyWhen::Listening => String::new(),
            },
            at_timeout: match options.on_timeout {
                AtTimeout::Release => "released",
                AtTimeout::Reset => "reset",
            },
            ports,
            timeout: options.timeout,
        }
    }

    /// Says what happened.
    pub(super) fn tell(&mut self, what: &What) {
        match (self.output, what) {
            (Output::Text, What::Opened { summary, .. }) if summary.held != 0 => {
                eprintln!("conngate: {}", self.opened(summary));
            }
            (Output::Json, What::Held { record, .. }) => say("held", held(record)),
            (Output::Json, What::Ended { record, outcome, .. }) => say("ended", ended(record, *outcome)),
            (Output::Json, What::Opened { summary, .. }) => say(
                "opened",
                json!({
                    "reason": summary.reason.word(),
                    "held": summary.held,
                    "waiting": summary.waiting,
                    "longest_seconds": summary.longest.as_secs_f64(),
                    "until": self.until_what(summary.reason),
                }),
            ),
            (Output::Text, What::Opened { .. } | What::Held { .. } | What::Ended { .. })
            | (
                _,
                What::Enrolled(_)
                | What::Changed { .. }
                | What::Truncated(_)
                | What::Classified(_)
                | What::Unclassified(_)
                | What::Listening
                | What::Container { .. }
                | What::StartedBefore { .. }
                | What::Untold { .. }
                | What::Renewed
                | What::Adopted
                | What::ResetLate
                | What::Terminating
                | What::Gone(_)
                | What::Remark(_),
            ) => {}
        }
    }

    /// Says what would have been held, where nothing is.
    pub(super) fn summary(&self, counted: &Counted) {
        let would_hold = Reason::ALL.iter().map(|reason| counted.judged(Verdict::WouldHold(*reason))).sum::<u64>();
        match self.output {
            Output::Json => say(
                "summary",
                json!({
                    "would_hold": would_hold,
                    "lost_records": counted.of(Counter::LostRecords),
                    "helper_errors": helper_errors(counted),
                }),
            ),
            Output::Text if would_hold != 0 => {
                eprintln!("conngate: would have held {}", count(would_hold, "connection attempt"));
            }
            Output::Text => {}
        }
    }

    /// CMD was not started.
    pub(super) fn not_started(&self, command: &[OsString], error: &io::Error) -> Exit {
        let program = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        failed(self.output, &anyhow::anyhow!("cannot run {program}: {error}"));
        if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::CannotExecute }
    }

    fn opened(&self, summary: &Summary) -> String {
        let held = count(summary.held, "connection");
        let seconds = summary.longest.as_secs_f64();
        format!("held {held} for {seconds:.2} s, until {} ({})", self.until_what(summary.reason), summary.reason)
    }

    fn until_what(&self, reason: Reason) -> String {
        match reason {
            Reason::Ready => self.until.clone(),
            Reason::Listening => format!("something listened on port {}", self.ports),
            Reason::Timeout => {
                format!("the timeout of {}, and {}", humantime::format_duration(self.timeout), self.at_timeout)
            }
            Reason::Operator => "an operator opened the gate".to_owned(),
            Reason::Terminating => "the command ended".to_owned(),
            Reason::KubeletReady
            | Reason::AgentStale
            | Reason::NotEnrolled
            | Reason::Exempt
            | Reason::NotReady
            | Reason::NoListener
            | Reason::Unclassified
            | Reason::Invalid => reason.to_string(),
        }
    }
}

/// conngate itself failed.
pub(super) fn failed(output: Output, error: &anyhow::Error) {
    match output {
        Output::Text => eprintln!("conngate: {error:#}"),
        Output::Json => say("error", json!({ "error": format!("{error:#}") })),
    }
}

/// The helpers that failed in the kernel: `{"egress/skb_load_bytes": 1}`.
fn helper_errors(counted: &Counted) -> Value {
    let failed = counted.failures().filter(|(.., times)| *times != 0);
    let failed = failed.map(|(program, helper, times)| (format!("{program}/{helper}"), times.into()));
    Value::Object(failed.collect())
}

fn say(event: &str, mut fields: Value) {
    if let Value::Object(map) = &mut fields {
        map.insert("version".to_owned(), SHAPE.into());
        map.insert("event".to_owned(), event.into());
        map.insert("monotonic_seconds".to_owned(), seconds(crate::clock::now()).into());
    }
    // In one write, so that a killed conngate leaves no half line.
    let line = format!("{fields}\n");
    // Nobody reads stderr any more: there is nobody to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn held(record: &ParkedRecord) -> Value {
    let connector = &record.connector;
    json!({
        "socket": record.header.socket.0,
        "reason": Reason::try_from(record.reason).unwrap_or(Reason::Invalid).word(),
        "destination": destination(record).to_string(),
        "capture_port": record.capture_port,
        "process": (connector.tgid != 0).then(|| json!({
            "pid": connector.tgid,
            "uid": connector.uid,
            "name": command(connector),
        })),
        "since": seconds(record.first_drop),
    })
}

fn ended(record: &EndedRecord, outcome: Outcome) -> Value {
    json!({
        "socket": record.header.socket.0,
        "outcome": outcome.word(),
        "attempts": record.attempts,
        "held_seconds": Duration::from_nanos(record.header.at.since(record.first_drop)).as_secs_f64(),
        "at": seconds(record.header.at),
    })
}

fn seconds(time: MonoTime) -> f64 {
    Duration::from_nanos(time.0).as_secs_f64()
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
