//! Waiting for something to become true, with a deadline.
//!
//! Knows nothing of what it waits for. Deadlines are made for a machine of one's own; a slower one says by what factor.

use std::{
    env,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks: short against everything that is waited for, long against the look itself.
const INTERVAL: Duration = Duration::from_millis(2);

/// Environment variable with the factor by which every deadline is longer, such as in a guest that is emulated.
const FACTOR: &str = "CONNGATE_TEST_PATIENCE";

/// What `deadline` is on this machine.
#[must_use]
pub fn patience(deadline: Duration) -> Duration {
    static PATIENCE: OnceLock<u32> = OnceLock::new();
    let factor = PATIENCE.get_or_init(|| env::var(FACTOR).ok().and_then(|factor| factor.parse().ok()).unwrap_or(1));
    deadline * *factor
}

/// Asks `probe` until it has an answer. Fails when `deadline` has passed, [`patience`] considered, naming `what`.
pub fn wait_until<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = patience(deadline);
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = probe() {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("not within {deadline:?}: {what}");
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_until_third_look_answers_returns_it() {
        let mut looks = 0;
        let answer = wait_until(Duration::from_secs(60), "three looks", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn wait_until_never_answered_names_what_was_awaited() {
        let error = wait_until(Duration::ZERO, "the impossible", || None::<()>).unwrap_err();
        assert!(error.to_string().contains("the impossible"), "{error}");
    }
}
