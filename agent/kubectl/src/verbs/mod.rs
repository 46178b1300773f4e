//! The verbs, one file each.

pub(crate) mod bugreport;
pub(crate) mod check;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod open;
pub(crate) mod status;
pub(crate) mod top;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{cli::Wait, exit::Exit};

/// How often all is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks until the answer is [`Exit::Success`], or the time is over: then whatever the last one was.
async fn until_well<T>(wait: Wait, ask: impl AsyncFn() -> anyhow::Result<(T, Exit)>) -> anyhow::Result<(T, Exit)> {
    let end = Instant::now() + wait.wait.unwrap_or_default();
    loop {
        let (answer, exit) = match ask().await {
            // While the agents are being installed there is none, and the API server may be away.
            Err(_) if Instant::now() < end => {
                sleep(PAUSE).await;
                continue;
            }
            asked => asked?,
        };
        if exit == Exit::Success || Instant::now() >= end {
            return Ok((answer, exit));
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn until_well_asks_again_until_all_is_well_or_the_time_is_over() {
        let asked = Cell::new(0);
        let ask = async || {
            asked.set(asked.get() + 1);
            anyhow::ensure!(asked.get() > 1, "not installed yet");
            Ok(((), if asked.get() > 3 { Exit::Success } else { Exit::No }))
        };
        let long = Wait { wait: Some(Duration::from_secs(60)) };
        assert_eq!(until_well(long, ask).await.unwrap().1, Exit::Success);
        assert_eq!(asked.get(), 4);
        let never = async || Ok(((), Exit::Partly));
        assert_eq!(until_well(long, never).await.unwrap().1, Exit::Partly);
        let once =
            until_well(Wait { wait: None }, async || anyhow::bail!("no cluster")).await as anyhow::Result<((), Exit)>;
        assert!(once.is_err());
    }
}
