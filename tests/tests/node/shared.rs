//! The cluster that the tests share: started by the first that asks, ended by [`end`].
//!
//! Knows nothing of the tests. Where the start fails, every test that asks fails with the reason, and none tries again.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use conngate_tests::cluster::{Cluster, Options, Place};

static CLUSTER: Mutex<Option<Result<Arc<Cluster>, String>>> = Mutex::new(None);

/// The cluster.
pub(crate) fn cluster() -> Result<Arc<Cluster>> {
    let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let start = || Cluster::start(Options { mesh: true, conngate: true }).map(Arc::new).map_err(|e| format!("{e:#}"));
    shared.get_or_insert_with(start).clone().map_err(|error| anyhow!(error)).context("the shared cluster")
}

/// Ends the cluster, if there is one. Fails if it leaves anything behind.
pub(crate) fn end() -> Result<()> {
    drop(CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).take());
    let remains = Place::test()?.remains()?;
    ensure!(remains.is_empty(), "the cluster left behind: {remains:?}");
    Ok(())
}
