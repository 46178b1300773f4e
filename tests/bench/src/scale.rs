//! `bench scale`: what a cluster's agents take from its API server when all of them start, and when it does.
//!
//! Knows nothing of nodes. There is an API server with its etcd, there are pods that are bound to nodes without a kubelet, and as
//! many copies of the agent's own source of pods as there are nodes, each with a connection of its own.

mod copies;
mod counters;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use conngate_testbed::{
    cluster::{
        self, Cluster,
        pod::{Container, Pod},
    },
    lab,
};
use kube::{
    Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::Request,
};
use serde::Serialize;
use serde_json::json;
use tokio::{runtime, task::JoinSet};

use self::{copies::Copies, counters::Counters};
use crate::{
    machine::Machine,
    report::{self, table},
};

/// Where pods are.
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Requests that are under way at once while pods are made.
const AT_ONCE: usize = 32;

/// For anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Updates of pods that are watched.
const UPDATES: usize = 1_000;

/// Many nodes' sources of pods against one API server: lists that reach etcd, bytes, and how soon all know their pods
#[derive(Args)]
pub(super) struct Options {
    /// Pods of the cluster
    #[arg(long, default_value_t = 20_000)]
    pods: usize,
    /// Copies of the source, one for each node
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Bytes of each pod's largest annotation: the default makes a pod as large as one with Istio's sidecar
    #[arg(long, default_value_t = 9_000)]
    padding: usize,
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    pods: usize,
    nodes: usize,
    /// Of one pod, as JSON.
    pod_bytes: usize,
    /// Of one update of a pod, as a watch sends it.
    event_bytes: f64,
    phases: Vec<Phase>,
}

/// What the API server did meanwhile.
#[derive(Serialize)]
struct Phase {
    what: &'static str,
    /// Until every copy knew its pods and watched them.
    seconds: f64,
    counters: Counters,
}

pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(options.nodes > 0 && options.pods.is_multiple_of(options.nodes), "--pods must be a multiple of --nodes");
    let machine = Machine::here()?;
    println!("{}", machine.line());
    lab::upstream::raise_file_limit()?;
    let mut figures = None;
    lab::run_openly(|| {
        figures = Some(on_a_cluster(options, machine)?);
        Ok(())
    })?;
    let figures = figures.context("the laboratory was not opened")?;
    println!("\n{}", figures.table());
    report::write("scale", &figures)
}

fn on_a_cluster(options: &Options, machine: Machine) -> Result<Figures> {
    let cluster = Cluster::start(cluster::Options::default())?;
    // They would remove pods of nodes that do not exist.
    for component in ["kube-controller-manager", "kube-scheduler", "kubelet"] {
        cluster.stop_component(component)?;
    }
    let network = cluster.network()?;
    network.enter(|| {
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&cluster, options, machine))
    })
}

async fn measure(cluster: &Cluster, options: &Options, machine: Machine) -> Result<Figures> {
    let &Options { pods, nodes, padding } = options;
    let client = client(cluster).await?;
    let started = Instant::now();
    create(&client, pods, nodes, padding).await?;
    eprintln!("==> {pods} pods: {:.0} s", started.elapsed().as_secs_f64());
    let one = client.request_text(Request::new(PODS).get("pod-0", &kube::api::GetParams::default())?).await?;

    let mut phases = Vec::new();
    let control = Counters::now(&client).await?;
    let began = Instant::now();
    let newest = format!("{PODS}?fieldSelector=spec.nodeName%3Dnode-0");
    for _ in 0..10 {
        client.request_text(http_get(&newest)?).await?;
    }
    phases.push(Phase {
        what: "ten lists at the most recent version",
        seconds: began.elapsed().as_secs_f64(),
        counters: Counters::now(&client).await?.since(&control),
    });

    // The API server's own.
    let others = control.watches;
    let all_watch = |now: &Counters| now.watches >= others + nodes as u64;
    let mut phase = async |what, copies: Option<Copies>| {
        drop(copies);
        counters::wait(&client, "no source watches", |now| now.watches <= others).await?;
        let (before, began) = (Counters::now(&client).await?, Instant::now());
        let copies = Copies::start(cluster, nodes, pods / nodes).await?;
        copies.know_all().await?;
        let after = counters::wait(&client, "every source watches", all_watch).await?;
        phases.push(Phase { what, seconds: began.elapsed().as_secs_f64(), counters: after.since(&before) });
        Ok::<_, anyhow::Error>(copies)
    };
    let copies = phase("all agents start", None).await?;
    let copies = phase("all agents start again", Some(copies)).await?;

    let before = Counters::now(&client).await?;
    update(&client, pods).await?;
    let after = counters::wait(&client, "every update is sent", |now| {
        now.since(&before).watch_events >= UPDATES.min(pods) as u64
    });
    let updates = after.await?.since(&before);
    let event_bytes = updates.watch_bytes as f64 / updates.watch_events as f64;

    cluster.stop_component("kube-apiserver")?;
    let began = Instant::now();
    cluster.start_component("kube-apiserver")?;
    let after = counters::wait(&client, "every source watches again", all_watch).await?;
    copies.know_all().await?;
    // Its counters begin anew.
    phases.push(Phase { what: "the API server starts again", seconds: began.elapsed().as_secs_f64(), counters: after });
    Ok(Figures { machine, pods, nodes, pod_bytes: one.len(), event_bytes, phases })
}

/// An administrator's client, as one that comes from the node.
async fn client(cluster: &Cluster) -> Result<Client> {
    let mut kubeconfig = Kubeconfig::read_from(cluster.file("/etc/kubernetes/admin.conf"))?;
    for known in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let authority = known.certificate_authority.take().context("the cluster has a CA")?;
        known.certificate_authority = Some(cluster.file(&authority).display().to_string());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Makes `pods` pods, bound to `nodes` nodes in turn.
async fn create(client: &Client, pods: usize, nodes: usize, padding: usize) -> Result<()> {
    each(client, pods, move |number| {
        let app = Container::script("app", "exec sleep infinity");
        let proxy = Container::script("istio-proxy", "exec sleep infinity").user(1337);
        let pod = Pod::new("default", &format!("pod-{number}"))
            .annotation("conngate.io/mode", "hold")
            .annotation("bench/padding", &"x".repeat(padding))
            .container(app)
            .container(proxy)
            .spec("nodeName", format!("node-{}", number % nodes));
        Ok(Request::new(PODS).create(&PostParams::default(), serde_json::to_vec(&pod.manifest())?)?)
    })
    .await
}

/// Changes the status of some pods, as a kubelet does.
async fn update(client: &Client, pods: usize) -> Result<()> {
    each(client, UPDATES.min(pods), |number| {
        let patch = Patch::Merge(json!({ "status": { "phase": "Running", "podIP": "10.0.0.1" } }));
        Ok(Request::new(PODS).patch_subresource("status", &format!("pod-{number}"), &PatchParams::default(), &patch)?)
    })
    .await
}

type Requested = http::Request<Vec<u8>>;

fn http_get(path: &str) -> Result<Requested> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

/// Sends the requests 0 to `count`, some at once.
async fn each(
    client: &Client,
    count: usize,
    request: impl Fn(usize) -> Result<Requested> + Clone + Send + 'static,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE {
        let (client, request) = (client.clone(), request.clone());
        tasks.spawn(async move {
            for number in (first..count).step_by(AT_ONCE) {
                client.request_text(request(number)?).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

impl Figures {
    fn table(&self) -> String {
        let rows = self.phases.iter().map(|Phase { what, seconds, counters }| {
            let mib = |bytes| format!("{:.1}", bytes as f64 / 1_048_576.0);
            [
                (*what).to_owned(),
                format!("{seconds:.1}"),
                counters.lists.to_string(),
                counters.etcd_lists.to_string(),
                mib(counters.list_bytes),
                format!("{:.1}", counters.cpu_seconds),
                mib(counters.resident_bytes),
            ]
        });
        let header = ["", "seconds", "lists", "of them from etcd", "MiB sent", "CPU seconds", "RSS, MiB"];
        let Self { pods, nodes, pod_bytes, event_bytes, .. } = self;
        format!(
            "{}\n{pods} pods on {nodes} nodes; a pod has {pod_bytes} bytes of JSON, an update of it {event_bytes:.0}",
            table(header, rows)
        )
    }
}
