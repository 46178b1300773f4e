//! The cluster that the tests share: started by the first that asks, ended by [`end`]. With `CONNGATE_TEST_CLUSTER=up` it is
//! the one that `cargo xtask cluster up` has started, which stays.
//!
//! Knows nothing of the tests. Where the start fails, every test that asks fails with the reason, and none tries again.

use std::{
    env,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow, ensure};
use conngate_tests::cluster::{Cluster, Options, Place};

static CLUSTER: Mutex<Option<Result<Arc<Cluster>, String>>> = Mutex::new(None);

/// The cluster.
pub(crate) fn cluster() -> Result<Arc<Cluster>> {
    let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    shared
        .get_or_insert_with(|| start().map(Arc::new).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
        .context("the shared cluster")
}

fn start() -> Result<Cluster> {
    if env::var_os("CONNGATE_TEST_CLUSTER").is_some_and(|place| place == "up") {
        return Cluster::attach(&Place::up()?);
    }
    Cluster::start(Options { mesh: true, conngate: true })
}

/// Ends the cluster, if there is one. Fails if it leaves anything behind.
pub(crate) fn end() -> Result<()> {
    drop(CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).take());
    let remains = Place::test()?.remains()?;
    ensure!(remains.is_empty(), "the cluster left behind: {remains:?}");
    Ok(())
}
