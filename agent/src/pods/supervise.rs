//! Keeps tasks going: one that panics is named in the log and started again, later each time.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use kube::runtime::watcher::DefaultBackoff;

/// The longest wait before a task is started again.
const LONGEST: Duration = Duration::from_secs(30);

/// A task that is started again.
pub(super) struct Restarts {
    name: &'static str,
    backoff: DefaultBackoff,
}

impl Restarts {
    /// Of the task `name`.
    pub(super) fn of(name: &'static str) -> Self {
        Self { name, backoff: DefaultBackoff::default() }
    }

    /// Runs `task`.
    ///
    /// # Errors
    /// Why it panicked.
    pub(super) async fn run<T>(&self, task: impl Future<Output = T>) -> Result<T, String> {
        AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| {
            let why = format!("a defect of conngate, please report it: {}", message(&*panic));
            tracing::error!(task = self.name, why, "a task panicked: restarting it");
            why
        })
    }

    /// Returns when it is time to start it again.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.backoff.next().unwrap_or(LONGEST)).await;
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why")
}
