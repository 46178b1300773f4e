//! Who said what, and when: the application, conngate and the oracle, on one channel.
//!
//! Knows nothing of what follows from it. A line's time is that of its arrival: late by a fraction of a millisecond.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read},
    sync::mpsc::Sender,
    thread,
};

use conngate_testbed::clock::mono_ns;
use serde_json::Value;

/// One thing that was said.
#[derive(Debug)]
pub(crate) struct Heard {
    /// CLOCK_MONOTONIC nanoseconds.
    pub(crate) at: u64,
    pub(crate) said: Said,
}

/// What can be said.
#[derive(Debug)]
pub(crate) enum Said {
    /// The oracle: the control plane has given Envoy its listeners.
    Answered,
    /// The oracle: Envoy is ready.
    Ready,
    /// The application is started.
    Starting,
    /// The application calls connect().
    Connecting(String),
    /// The application's connect() has returned.
    Connected,
    /// Any other line of the application.
    Word(String),
    /// The application's or the remedy's complaint.
    Complaint(String),
    /// An event of conngate (docs/cli.md).
    Conngate(Value),
}

impl Said {
    /// conngate's last event, which counts what no case here has.
    pub(crate) fn is_summary(&self) -> bool {
        matches!(self, Self::Conngate(event) if event["event"] == "summary")
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => write!(formatter, "Envoy        is given its listeners"),
            Self::Ready => write!(formatter, "Envoy        /ready says 200"),
            Self::Starting => write!(formatter, "application  is started"),
            Self::Connected => write!(formatter, "application  connected"),
            Self::Connecting(line) | Self::Word(line) | Self::Complaint(line) => {
                write!(formatter, "application  {line}")
            }
            Self::Conngate(event) => {
                let word = |name: &str| event[name].as_str().map(|word| format!(" {word}")).unwrap_or_default();
                let kind = event["event"].as_str().unwrap_or("?");
                write!(formatter, "conngate     {kind}{}{}{}", word("destination"), word("outcome"), word("reason"))
            }
        }
    }
}

/// Tells each line of `stream`, as `meaning` understands it, until it ends.
pub(crate) fn listen(
    stream: impl Read + Send + 'static,
    meaning: impl Fn(String) -> Said + Send + 'static,
    tell: Sender<Heard>,
) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let at = mono_ns();
            if tell.send(Heard { at, said: meaning(line) }).is_err() {
                return;
            }
        }
    });
}

/// A line on stdout, which is the application's alone.
pub(crate) fn on_stdout(line: String) -> Said {
    match line.as_str() {
        "starting" => Said::Starting,
        "connected" => Said::Connected,
        other if other.starts_with("connecting") => Said::Connecting(line),
        _ => Said::Word(line),
    }
}

/// A line on stderr, which conngate and the application share.
pub(crate) fn on_stderr(line: String) -> Said {
    match serde_json::from_str::<Value>(&line) {
        Ok(event) if event.is_object() => Said::Conngate(event),
        Ok(_) | Err(_) => Said::Complaint(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_stdout_lines_of_the_applications_mean_what_they_say() {
        assert!(matches!(on_stdout("starting".into()), Said::Starting));
        assert!(matches!(on_stdout("connecting to 198.51.100.10:80".into()), Said::Connecting(_)));
        assert!(matches!(on_stdout("connected".into()), Said::Connected));
        assert!(matches!(on_stdout("the upstream says hello".into()), Said::Word(_)));
    }

    #[test]
    fn on_stderr_json_is_conngates_and_all_else_is_a_complaint() {
        assert!(matches!(on_stderr(r#"{"event":"opened"}"#.into()), Said::Conngate(_)));
        assert!(matches!(on_stderr("connect: Connection refused".into()), Said::Complaint(_)));
        assert!(matches!(on_stderr("111".into()), Said::Complaint(_)));
    }
}
