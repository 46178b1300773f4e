//! Takes the startup taint off this node once its agent is ready: pods that do not tolerate it wait for that. It never adds one.
//!
//! Whoever makes nodes may put it there again, so it is looked for each minute. Needs get and patch on nodes; an admission policy of the
//! chart leaves of that this node and this key.

use std::{convert::Infallible, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GetParams, Patch, PatchParams},
    runtime::watcher::DefaultBackoff,
};
use serde_json::{Value, json};
use tokio::{
    runtime,
    sync::watch,
    time::{sleep, timeout},
};

use super::{source::explain, supervise::Restarts};

/// How often it is looked for.
const AGAIN: Duration = Duration::from_secs(60);

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(30);

/// Somebody else may change the node's taints between a read and a write: not every conflict is worth a word.
const CONFLICTS: u32 = 3;

/// What it takes.
const RIGHTS: &str = "get and patch on nodes";

/// A taint that is to go.
pub struct StartupTaint {
    /// The API server.
    pub client: Client,
    /// This node's name.
    pub node: String,
    /// Its key.
    pub key: String,
}

impl StartupTaint {
    /// Starts the task that removes it whenever the agent is `ready`, on `runtime`; `say`: why it cannot, or `None`.
    pub fn keep_off(
        self,
        runtime: &runtime::Handle,
        ready: watch::Receiver<bool>,
        say: impl Fn(Option<String>) + Send + Sync + 'static,
    ) {
        runtime.spawn(async move {
            let mut restarts = Restarts::of("startup taint");
            loop {
                let Err(why) = restarts.run(self.work(ready.clone(), &say)).await;
                say(Some(format!("startup taint: {why}")));
                restarts.wait().await;
            }
        });
    }

    async fn work(&self, mut ready: watch::Receiver<bool>, say: &impl Fn(Option<String>)) -> Infallible {
        let (mut backoff, mut failures) = (DefaultBackoff::default(), 0_u32);
        loop {
            // Its sender lives as long as the process.
            let _ = ready.wait_for(|ready| *ready).await;
            let pause = match self.take_off(failures > 0).await {
                Ok(was_there) => {
                    if was_there {
                        tracing::info!(key = self.key, "the startup taint is removed: pods may come");
                    }
                    say(None);
                    (backoff, failures) = (DefaultBackoff::default(), 0);
                    AGAIN
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let is_conflict = matches!(&error, kube::Error::Api(status) if [409, 422].contains(&status.code));
                    if !is_conflict || failures >= CONFLICTS {
                        say(Some(format!("startup taint {}: {}", self.key, explain(&error, RIGHTS))));
                    }
                    backoff.next().unwrap_or(LONGEST).min(LONGEST)
                }
            };
            sleep(pause).await;
        }
    }

    /// Whether it was there. The node is read from the API server's cache, unless it is to be `fresh`: what has changed since, the
    /// write notices.
    async fn take_off(&self, fresh: bool) -> kube::Result<bool> {
        let nodes: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<Node>(&()));
        let version = (!fresh).then(|| "0".to_owned());
        let node = within(nodes.get_with(&self.node, &GetParams { resource_version: version })).await?;
        let Some(patch) = removal(&node.data["spec"]["taints"], &self.key) else { return Ok(false) };
        let patch = serde_json::from_value(patch).map(Patch::Json::<()>).map_err(kube::Error::SerdeError)?;
        within(nodes.patch(&self.node, &PatchParams::default(), &patch)).await?;
        Ok(true)
    }
}

/// What takes the taints of this `key`, whatever their effect, out of `taints`, as long as those are what they are (RFC 6902); `None`:
/// there is none.
fn removal(taints: &Value, key: &str) -> Option<Value> {
    let all = taints.as_array()?;
    let others: Vec<_> = all.iter().filter(|taint| taint["key"] != key).collect();
    let path = "/spec/taints";
    (others.len() < all.len()).then(
        || json!([{ "op": "test", "path": path, "value": all }, { "op": "replace", "path": path, "value": others }]),
    )
}

async fn within<T>(asked: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    let late = |_| kube::Error::Service(format!("it did not answer within {PATIENCE:?}").into());
    timeout(PATIENCE, asked).await.map_err(late)?
}

#[cfg(test)]
mod tests;
