//! A server thread: one tokio runtime that serves until it is dropped.
//!
//! Knows nothing of namespaces: a socket belongs to the namespace it was made in, so the thread need not be there.

use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result};
use tokio::{runtime, sync::oneshot};

/// A running server. When dropped, its sockets are closed and its thread has ended.
#[derive(Debug)]
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Runs `begin` in a runtime of its own thread; what it spawns is served until the drop.
    pub(super) fn start<B>(name: &str, begin: B) -> Result<Self>
    where
        B: AsyncFnOnce() -> Result<()> + Send + 'static,
    {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
        let (stop, stopped) = oneshot::channel();
        let (begun, beginning) = std::sync::mpsc::channel();
        let thread = Builder::new()
            .name(name.into())
            .spawn(move || {
                runtime.block_on(async move {
                    // The receiver waits below for as long as this thread has not answered.
                    let _ = begun.send(begin().await);
                    // Either the drop's message or its sender's end.
                    let _ = stopped.await;
                });
            })
            .context("cannot start a thread")?;
        let server = Self { stop: Some(stop), thread: Some(thread) };
        beginning.recv().context("the server's thread ended")??;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the server has been printed; the test fails by what it misses.
            let _ = thread.join();
        }
    }
}
