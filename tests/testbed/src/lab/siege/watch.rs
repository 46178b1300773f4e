//! Looks at the agent without a pause: how old its heartbeat gets, and whether /healthz answers.
//!
//! Knows nothing of what happens meanwhile, and judges nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::lab::{heartbeat::Heartbeat, http};

/// Between two looks at the heartbeat, and between two questions.
const LOOK: Duration = Duration::from_millis(5);
const ASK: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The oldest heartbeat.
    pub oldest: Duration,
    /// Each question to /healthz.
    pub healthz: Vec<Asked>,
}

/// A question to /healthz.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The answer was 200.
    pub is_healthy: bool,
    /// When it came.
    pub after: Duration,
}

/// Looks until it is ended or dropped.
#[derive(Debug)]
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    oldest: Option<JoinHandle<Duration>>,
    healthz: Option<JoinHandle<Vec<Asked>>>,
}

impl Watch {
    pub(super) fn start(heartbeat: Heartbeat, address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let looks = every(LOOK, over.clone());
        let oldest = thread::spawn(move || {
            // A heartbeat that cannot be read is as old as can be.
            let age = |()| heartbeat.silent_ns().unwrap_or(u64::MAX);
            Duration::from_nanos(looks.map(age).max().unwrap_or(u64::MAX))
        });
        let questions = every(ASK, over.clone());
        let healthz = thread::spawn(move || {
            let ask = |()| {
                let asked = Instant::now();
                let is_healthy = http::fetch(address, "/healthz").is_ok_and(|(status, _)| status == 200);
                Asked { is_healthy, after: asked.elapsed() }
            };
            questions.map(ask).collect()
        });
        Self { over, oldest: Some(oldest), healthz: Some(healthz) }
    }

    pub(super) fn end(mut self) -> Result<Watched> {
        self.over.store(true, Ordering::Relaxed);
        let (oldest, healthz) = (self.oldest.take().context("once")?, self.healthz.take().context("once")?);
        let joined = oldest.join().ok().zip(healthz.join().ok()).context("watching panicked")?;
        Ok(Watched { oldest: joined.0, healthz: joined.1 })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn every(pause: Duration, over: Arc<AtomicBool>) -> impl Iterator<Item = ()> {
    std::iter::from_fn(move || {
        thread::sleep(pause);
        (!over.load(Ordering::Relaxed)).then_some(())
    })
}
