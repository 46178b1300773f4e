//! The closed sets of words that a report is made of, and lengths of time in words.
//!
//! Knows nothing of HTML. A word that is not known here is shown as it came.

use std::time::Duration;

use crate::view::report::{Life, Span};

/// How a held connection ended, as far as this page shows it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was connected.
    Established,
    /// The application ended it.
    Abandoned,
    /// A timeout ended it.
    Expired,
    /// It was answered with a reset.
    Refused,
    /// It waits.
    Waiting,
    /// Nobody saw how, or there is a new word for it.
    Other,
}

impl Outcome {
    pub(super) const ALL: [Self; 6] =
        [Self::Established, Self::Refused, Self::Expired, Self::Abandoned, Self::Waiting, Self::Other];

    /// The outcome of `span` in the life `life`: with its pod, whatever waited has ended.
    pub(super) fn of(span: &Span, life: &Life) -> Self {
        match span.outcome.as_deref() {
            Some("established") => Self::Established,
            Some("abandoned") => Self::Abandoned,
            Some("expired") => Self::Expired,
            Some("refused") => Self::Refused,
            None if span.ended.is_none() && life.gone.is_none() => Self::Waiting,
            Some(_) | None => Self::Other,
        }
    }

    /// Its word: a class of the style sheet too.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Abandoned => "abandoned",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
            Self::Other => "not seen",
        }
    }

    /// What that means.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Established => "It was connected.",
            Self::Abandoned => "The application closed it, or its process ended.",
            Self::Expired => "The kernel's retries or the application's own timeout ran out.",
            Self::Refused => "It was reset after its release.",
            Self::Waiting => "It was still held when this page was made.",
            Self::Other => "Its end was not recorded, or is unknown to this page.",
        }
    }
}

/// Why a gate opens, and what that means.
pub(super) const REASONS: [(&str, &str); 7] = [
    ("ready", "The proxy reported ready."),
    ("listening", "Something listened on the capture port, and that was enough."),
    (
        "kubelet-ready",
        "The ready endpoint could not be probed; something listened, and the kubelet reported the proxy ready.",
    ),
    ("timeout", "The pod's timeout had passed."),
    ("operator", "An operator opened it by hand."),
    ("terminating", "The pod was being deleted."),
    ("agent-stale", "The agent sent no heartbeat."),
];

/// How a life of a gate went, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The proxy became usable.
    Good,
    /// The gate opened without it.
    Bad,
    /// It has not opened yet.
    Pending,
    /// None of these.
    Plain,
}

impl Tone {
    /// The tone of an opening for `reason`.
    pub(super) fn of(reason: Option<&str>) -> Self {
        match reason {
            Some("ready" | "listening" | "kubelet-ready") => Self::Good,
            Some("timeout" | "agent-stale") => Self::Bad,
            Some(_) | None => Self::Plain,
        }
    }

    /// Its class in the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Pending => "pending",
            Self::Plain => "plain",
        }
    }
}

/// A length of time with about three figures; a negative one has a minus sign.
pub(super) fn length(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds.abs()).unwrap_or(Duration::MAX);
    let micros = duration.saturating_add(Duration::from_nanos(500)).as_micros();
    let whole = duration.saturating_add(Duration::from_millis(500)).as_secs();
    let (minutes, hours) = (whole / 60, whole / 3600);
    let length = match micros {
        0 => return "0 s".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..9_950 => format!("{:.1} ms", seconds.abs() * 1e3),
        9_950..999_500 => format!("{:.0} ms", seconds.abs() * 1e3),
        999_500..59_995_000 => format!("{:.2} s", seconds.abs()),
        _ if whole < 3600 => format!("{minutes} min {:02} s", whole % 60),
        _ if hours < 24 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {:02} h", hours / 24, hours % 24),
    };
    if seconds < 0.0 { format!("\u{2212}{length}") } else { length }
}

/// `1 connection`, `2 connections`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_each_magnitude_has_its_unit() {
        for (seconds, words) in [
            (0.0, "0 s"),
            (0.000_000_1, "0 s"),
            (0.000_42, "420 µs"),
            (0.003, "3.0 ms"),
            (0.009_96, "10 ms"),
            (0.312, "312 ms"),
            (0.999_6, "1.00 s"),
            (2.978, "2.98 s"),
            (59.999, "1 min 00 s"),
            (600.0, "10 min 00 s"),
            (3599.6, "1 h 00 min"),
            (7500.0, "2 h 05 min"),
            (300_000.0, "3 d 11 h"),
            (-0.012, "\u{2212}12 ms"),
        ] {
            assert_eq!(length(seconds), words, "{seconds}");
        }
        for seconds in [f64::MAX, f64::INFINITY, f64::NAN] {
            assert!(length(seconds).ends_with(" h"), "{seconds}");
        }
    }

    #[test]
    fn counted_one_has_no_plural() {
        assert_eq!(counted(0, "gate"), "0 gates");
        assert_eq!(counted(1, "gate"), "1 gate");
        assert_eq!(counted(2, "gate"), "2 gates");
    }
}
