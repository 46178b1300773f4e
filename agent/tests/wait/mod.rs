//! Waiting for something to become true, with a deadline.
//!
//! Knows nothing of what it waits for. As `conngate_testbed::lab::wait`, of which this crate does not know.

use std::{
    env, thread,
    time::{Duration, Instant},
};

/// Long enough for any busy machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The deadline on this machine; one that is slow says by what factor.
pub(crate) fn patience() -> Duration {
    let factor = env::var("CONNGATE_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    PATIENCE * factor.unwrap_or(1)
}

/// Polls until `ready` has something.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let (start, patience) = (Instant::now(), patience());
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} for {what}");
        thread::yield_now();
    }
}
