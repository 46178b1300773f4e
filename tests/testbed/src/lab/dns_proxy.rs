//! A mesh's proxy as far as DNS concerns it, or the DNS server alone that runs beside one.
//!
//! Knows nothing of redirects. What it is told and what it says is in dns_proxy.py.

use anyhow::Result;

use super::{client::Client, namespace::Namespace, process, redirect::PROXY_ID};

const PROGRAM: &str = include_str!("dns_proxy.py");

/// Starts it inside, as the proxy's user; its clock begins with a word ([`Client::go`]).
pub fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Client> {
    let mut command = namespace.command("python3");
    command.args(["-c", PROGRAM]).args(arguments);
    process::run_as(&mut command, PROXY_ID);
    let mut proxy = Client::start(command)?;
    while proxy.line()? != "started" {}
    Ok(proxy)
}
