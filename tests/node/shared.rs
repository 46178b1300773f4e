//! The cluster that the tests share: started by the first that asks, ended by [`end`]. With [`ATTACH`] set it is the one of
//! `cargo xtask cluster up`, which stays.
//!
//! Knows nothing of the tests. Where the start fails, every test that asks fails with the reason, and none tries again.

use std::{
    env,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow, ensure};
use conngate_testbed::cluster::{Cluster, Options, Place};

/// The environment variable for work on a test: no cluster is started for it, and conngate is what was loaded last.
const ATTACH: &str = "CONNGATE_TEST_ATTACH";

static CLUSTER: Mutex<Option<Result<Arc<Cluster>, String>>> = Mutex::new(None);

/// Whether the cluster is another process's: what pods and programs there are at the end is then its affair.
pub(crate) fn is_attached() -> bool {
    env::var_os(ATTACH).is_some()
}

/// The cluster.
pub(crate) fn cluster() -> Result<Arc<Cluster>> {
    let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let start = || {
        if is_attached() {
            return Cluster::attach(&Place::up());
        }
        Cluster::start(Options { mesh: true, conngate: true })
    };
    let started = || start().map(Arc::new).map_err(|error| format!("{error:#}"));
    shared.get_or_insert_with(started).clone().map_err(|error| anyhow!(error)).context("the shared cluster")
}

/// Ends the cluster, if there is one. Fails if it leaves anything behind.
pub(crate) fn end() -> Result<()> {
    drop(CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).take());
    let remains = Place::test().remains()?;
    ensure!(remains.is_empty(), "the cluster left behind: {remains:?}");
    Ok(())
}
