//! `conngate bugreport`: one tar with all that a bug report needs, of the agent and of its machine.
//!
//! Knows nothing of what the files say. What cannot be had is named in the tar, and the rest is there all the same.

mod machine;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::Method;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    Output, Programs,
    check::{Place, here},
    client::{Client, escaped},
};
use crate::{
    bpf::object::SOURCES,
    exit::Exit,
    report::page,
    serve::socket,
    view::{Time, VERSION, bundle::Bundle, redact::Redactor, report::Report, status::Status},
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of an agent that is not ready, what it says with an error's status is what is looked for.
const READYZ: &str = "/readyz";

/// Options of `conngate bugreport`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "README.txt in the tar describes its contents. Exit status: 0; 1 when something is missing (missing.txt says what \
    and why); 125 when nothing can be written."
)]
pub struct Options {
    /// Pods to explain in addition to those with a gate: NAMESPACE/NAME.
    #[arg(value_name = "POD")]
    pub pods: Vec<String>,
    /// The tar, readable only by you; default: stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the names of pods, namespaces and nodes, addresses and URLs, each name by the same word.
    #[arg(long)]
    pub redact: bool,
    /// The agent's socket.
    #[arg(long, value_name = "PATH", env = "CONNGATE_SOCKET", hide_env_values = true, default_value = socket::DEFAULT)]
    pub socket: PathBuf,
    /// The node.
    #[command(flatten)]
    pub node: Place,
    /// The programs, which `check` loads.
    #[command(flatten)]
    pub programs: Programs,
}

/// What made the tar.
#[derive(Serialize)]
struct About {
    version: u32,
    conngate: &'static str,
    abi: u32,
    /// The digest of the sources of the built-in eBPF object.
    programs: &'static str,
    made: Time,
    redacted: bool,
}

const README: &str = "\
about.json        conngate's version, and when this was written
status.json       conngate status: the agent, its programs and gates
check.json        conngate check: kernel, rights, cgroups, programs of others, pins
events.json       conngate events: recent events
explain/          conngate explain, for each pod with a gate and each pod named on the command line
report.json       conngate report: the last gates and a timeline of their connections
report.html       the same as a page; it opens offline
metrics.txt       /metrics
readyz.txt        /readyz
log.txt           the end of the agent's log
attachments.json  the programs at each of conngate's hooks, other owners' included, by cgroup, in the order in which they run
machine.json      kernel, system, cgroup mounts, lockdown, capabilities, and the sysctls that affect a hold
missing.txt       what is missing, and why
";

/// Writes it.
///
/// # Errors
/// When stdout is a terminal, or nothing can be written.
pub fn bugreport(options: &Options) -> anyhow::Result<Exit> {
    if options.output.is_none() && io::stdout().is_terminal() {
        eprintln!("conngate: refusing to write a tar to a terminal: use -o FILE, or > FILE");
        return Ok(Exit::Usage);
    }
    let client = Client { socket: options.socket.clone(), output: Output::Json };
    let mut bundle = client.block_on(async { Ok(collected(options, &client).await) })?;
    if options.redact {
        bundle = bundle.redacted(&mut Redactor::default());
    }
    match &options.output {
        Some(path) => bundle.save("conngate", path).with_context(|| format!("cannot write {} (-o)", path.display()))?,
        None => bundle.write("conngate", io::stdout().lock())?,
    }
    io::stdout().flush()?;
    Ok(if bundle.is_whole() { Exit::Success } else { Exit::No })
}

/// All that can be had.
async fn collected(options: &Options, client: &Client) -> Bundle {
    let mut bundle = Bundle::default();
    bundle.add("README.txt", Ok::<_, io::Error>(README));
    bundle.add("about.json", json(Ok(about(options))));
    let status = fetched(client, "/v1/status").await;
    let pods = status.as_ref().map(Vec::as_slice).map(gates).unwrap_or_default();
    bundle.add("status.json", status.map_err(chain));
    for pod in pods.into_iter().chain(options.pods.clone()) {
        let explained = fetched(client, &format!("/v1/pods/{}", escaped(&pod))).await;
        bundle.add(&format!("explain/{}.json", safe(&pod)), explained.map_err(chain));
    }
    bundle.add("events.json", fetched(client, "/v1/events").await.map_err(chain));
    let report = fetched(client, "/v1/report").await;
    let html = report.as_ref().map_err(|error| format!("{error:#}")).and_then(|report| {
        serde_json::from_slice::<Report>(report).map(|report| page(&report)).map_err(|error| error.to_string())
    });
    bundle.add("report.html", html);
    bundle.add("report.json", report.map_err(chain));
    for (file, path) in [("metrics.txt", "/metrics"), ("readyz.txt", READYZ), ("log.txt", "/v1/log")] {
        bundle.add(file, fetched(client, path).await.map_err(chain));
    }
    bundle.add("check.json", json(here(client, &options.programs, &options.node).await));
    bundle.add("attachments.json", json(machine::attachments(&options.node)));
    bundle.add("machine.json", json(Ok(machine::Machine::look())));
    bundle
}

fn about(options: &Options) -> About {
    About {
        version: VERSION,
        conngate: env!("CARGO_PKG_VERSION"),
        abi: conngate_common::ABI_VERSION,
        programs: SOURCES.trim_ascii_end(),
        made: Time::now(),
        redacted: options.redact,
    }
}

/// The pods that have a gate.
fn gates(status: &[u8]) -> Vec<String> {
    let status = serde_json::from_slice::<Status>(status).ok();
    let live = status.and_then(|status| status.live);
    live.into_iter().flat_map(|live| live.gates).map(|gate| gate.pod).collect()
}

/// The whole answer of the agent.
async fn fetched(client: &Client, path: &str) -> anyhow::Result<Vec<u8>> {
    let asking = async {
        let response = match path {
            READYZ => client.answer(Method::GET, path).await?,
            _ => client.request(Method::GET, path).await?,
        };
        anyhow::Ok(response.into_body().collect().await?.to_bytes().to_vec())
    };
    timeout(PATIENCE, asking).await.with_context(|| format!("no answer within {PATIENCE:?}"))?
}

fn json(value: anyhow::Result<impl Serialize>) -> Result<Vec<u8>, String> {
    let mut text = serde_json::to_vec_pretty(&value.map_err(chain)?).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}

/// A pod's name as a path that leads nowhere else, whatever its pod is called.
fn safe(pod: &str) -> String {
    let kept = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let text = pod.replace("..", "_");
    text.chars().map(|letter| if kept(letter) { letter } else { '_' }).collect::<String>().trim_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_of_hostile_names_stays_below_the_directory() {
        for (pod, path) in
            [("shop/web-0.a", "shop/web-0.a"), ("../../etc/passwd", "_/_/etc/passwd"), ("/a b\n", "a_b_")]
        {
            assert_eq!(safe(pod), path);
        }
    }

    #[test]
    fn collected_without_an_agent_has_the_machine_and_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("none");
        let client = Client { socket: socket.clone(), output: Output::Json };
        let place = Place { cgroup_root: Some(directory.path().to_owned()), bpffs: directory.path().to_owned() };
        let options = Options {
            pods: vec!["shop/web-0".to_owned()],
            output: None,
            redact: false,
            socket,
            node: place,
            programs: Programs { bpf_log: 0, bpf_object: None },
        };
        let bundle = client.block_on(async { Ok(collected(&options, &client).await) }).unwrap();
        assert!(!bundle.is_whole());
        let machine: serde_json::Value = serde_json::from_slice(bundle.file("machine.json").unwrap()).unwrap();
        assert!(machine["sysctls"]["net.ipv4.tcp_syn_retries"].is_string(), "{machine:#}");
        assert!(machine["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("Linux ")), "{machine:#}");
        let paths: Vec<_> = bundle.paths().collect();
        assert!(!paths.contains(&"status.json") && paths.contains(&"check.json"), "{paths:?}");
        let mut tar = Vec::new();
        bundle.write("x", &mut tar).unwrap();
        let missing = Bundle::read(tar.as_slice()).unwrap();
        let missing = String::from_utf8(missing.file("missing.txt").unwrap().to_vec()).unwrap();
        assert!(
            missing.contains("status.json: no agent can be reached") && missing.contains("explain/shop/web-0.json: "),
            "{missing}"
        );
    }
}
