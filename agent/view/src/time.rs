//! A moment, for people: RFC 3339 in UTC with microseconds, in JSON and in words.
//!
//! Knows nothing of the kernel's clock: whoever makes one converts.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub SystemTime);

impl Time {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now())
    }

    /// How long after `earlier`, zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0).unwrap_or_default()
    }

    /// The time of day, with milliseconds.
    #[must_use]
    pub fn of_day(self) -> String {
        humantime::format_rfc3339_millis(self.0).to_string().chars().skip(11).take(12).collect()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros(self.0).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_json_is_read_as_it_was_written() {
        let time: Time = serde_json::from_str(r#""2026-11-26T08:05:23.000042Z""#).unwrap();
        assert_eq!(time.to_string(), "2026-11-26T08:05:23.000042Z");
        assert_eq!(serde_json::to_string(&time).unwrap(), r#""2026-11-26T08:05:23.000042Z""#);
        assert_eq!(time.of_day(), "08:05:23.000");
        assert!(serde_json::from_str::<Time>(r#""yesterday""#).is_err());
    }
}
