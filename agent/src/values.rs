//! Values that the command line and the annotations share: how long a hold may last, how many ports a gate can have.
//!
//! Knows nothing of options or keys: who asks names them.

use std::time::Duration;

/// Bounds of a hold.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(600);

/// What [`hold_time`] takes.
pub const HOLD_TIMES: &str = "1s to 10m, such as 90s or 2m30s";

/// More values than the kernel's tables have room for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is given {given} times, at most {allowed} are possible")]
pub struct TooMany {
    name: &'static str,
    given: usize,
    allowed: usize,
}

/// The longest hold, from 1 second to 10 minutes.
///
/// # Errors
/// For text that is no duration, or one out of bounds; says what is allowed.
pub fn hold_time(text: &str) -> Result<Duration, String> {
    // humantime knows more units and spellings: what an admission policy can judge as well is enough.
    if !is_plain(text) {
        return Err(format!("allowed: {HOLD_TIMES}"));
    }
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; allowed: {HOLD_TIMES}"))?;
    if (SHORTEST..=LONGEST).contains(&duration) { Ok(duration) } else { Err(format!("allowed: {HOLD_TIMES}")) }
}

/// Whether `text` is numbers of at most five digits, each with one of the units m, s and ms.
fn is_plain(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let after = ["ms", "m", "s"].iter().find_map(|known| unit.strip_prefix(known));
        match (after, rest.len() - unit.len()) {
            (Some(after), 1..=5) => rest = after.trim_start_matches(' '),
            _ => return false,
        }
    }
    !text.is_empty()
}

/// How often something is shown, from 100 ms to 1 hour.
///
/// # Errors
/// As [`hold_time`].
pub fn interval(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "100ms to 1h, such as 500ms or 2s";
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; allowed: {ALLOWED}"))?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    if range.contains(&duration) { Ok(duration) } else { Err(format!("allowed: {ALLOWED}")) }
}

/// `given` in a table of `N` slots, the rest `unused`; `name` is for the error.
///
/// # Errors
/// When they do not fit.
pub fn slots<T: Copy, const N: usize>(name: &'static str, given: &[T], unused: T) -> Result<[T; N], TooMany> {
    let mut slots = [unused; N];
    let taken = slots.get_mut(..given.len()).ok_or(TooMany { name, given: given.len(), allowed: N })?;
    taken.copy_from_slice(given);
    Ok(slots)
}
