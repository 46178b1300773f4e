//! Agents elsewhere: each address of a name is asked over HTTP how it is.
//!
//! Knows nothing of this machine. What answers may be anything: time and size are bounded.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::Method;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    cli::client::send,
    metrics::declared::{BUILD_INFO, PROGRAM_ATTACHED},
    printable::printable,
    view::check::{Finding, Level, Subject},
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of one answer: room for a thousand pods' series.
const ROOM: usize = 4 << 20;

/// One finding for each agent at `name`.
pub(super) async fn findings(name: &str) -> Vec<Finding> {
    let addresses = match tokio::net::lookup_host(name).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let means = "no agent found; use HOST:PORT";
            return vec![Finding::new(Level::Fail, Subject::Agents, format!("{name}: {error}"), means)];
        }
    };
    // Sorted, and each once.
    let addresses: BTreeSet<_> = addresses.collect();
    let mut findings = Vec::new();
    for address in addresses {
        let found = match agent(address).await {
            Ok(version) => (Level::Ok, format!("{address} ready, {version}"), "it gates the pods of its node"),
            Err(error) => (Level::Fail, format!("{address}: {error:#}"), "pods of its node may not be held"),
        };
        findings.push(Finding::new(found.0, Subject::Agent, printable(&found.1, 1000), found.2));
    }
    findings
}

/// The version of an agent that is well.
async fn agent(address: SocketAddr) -> anyhow::Result<String> {
    let (status, said) = get(address, "/readyz").await?;
    anyhow::ensure!(status == 200, "not ready: {}", said.trim().replace('\n', "; "));
    let (status, metrics) = get(address, "/metrics").await?;
    anyhow::ensure!(status == 200, "/metrics answers {status}");
    verdict(&metrics)
}

/// The version, or what is missing.
fn verdict(metrics: &str) -> anyhow::Result<String> {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let samples = |name: &'static str| metrics.lines().filter(move |line| line.starts_with(&format!("{name}{{")));
    let detached = samples(PROGRAM_ATTACHED.name).filter(|line| line.ends_with(" 0"));
    // The connect hooks may be left out on purpose: connections are held, but not attributed.
    let detached = detached.filter_map(|line| label(line, "program")).filter(|program| !program.starts_with("connect"));
    let detached: Vec<_> = detached.collect();
    anyhow::ensure!(detached.is_empty(), "not attached: {}", detached.join(", "));
    samples(BUILD_INFO.name).find_map(|line| label(line, "version")).context("its metrics have no version")
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let asking = async {
        let response = send(TcpStream::connect(address).await?, Method::GET, path).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ROOM).collect().await.map_err(|error| anyhow::anyhow!(error))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    timeout(PATIENCE, asking).await.with_context(|| format!("no answer to {path} within {PATIENCE:?}"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_of_an_agent_without_a_program_names_it() {
        let version = "conngate_build_info{version=\"0.1.0\",abi=\"4\"} 1\n";
        let attached = "conngate_program_attached{program=\"egress\"} 1\n";
        assert_eq!(verdict(&format!("{version}{attached}")).unwrap(), "0.1.0");
        let without = "conngate_program_attached{program=\"connect4\"} 0\n";
        assert_eq!(verdict(&format!("{version}{attached}{without}")).unwrap(), "0.1.0", "on purpose");
        let error = verdict(&format!("{version}{}", attached.replace("} 1", "} 0"))).unwrap_err();
        assert_eq!(error.to_string(), "not attached: egress");
        assert!(verdict("conngate_gates 1\n").is_err());
    }

    #[tokio::test]
    async fn findings_of_a_name_without_addresses_and_of_nobody_are_failures() {
        for name in ["no-such-host.invalid:9477", "127.0.0.1", "127.0.0.1:1"] {
            let findings = findings(name).await;
            assert_eq!(findings.len(), 1, "{name}");
            assert!(findings[0].level == Level::Fail && findings[0].found.contains(name), "{}", findings[0].found);
        }
    }
}
