//! The applications of the tests that gate pods: what they run, what they say, and whether they are being held.
//!
//! Knows nothing of conngate but its annotations.

use anyhow::Result;
use conngate_testbed::{
    cluster::{
        Cluster,
        pod::{Container, Pod},
    },
    lab::wait_until,
    report::{CONNECTED, Connection},
};

use crate::pods::{NATIVE_SIDECAR, Namespace, PATIENCE};

pub(crate) const MODE: &str = "conngate.io/mode";

/// What a connection is that nobody held and nobody listened for.
pub(crate) const REFUSED: &str = "ECONNREFUSED";

/// Destinations that the mesh captures.
pub(crate) const WEB: &str = "198.51.100.10:80";
pub(crate) const DATABASE: &str = "203.0.113.10:5432";

/// A pod called `app` in `namespace` that asks to be held, with a sidecar that starts beside its application.
pub(crate) fn gated(namespace: &Namespace<'_>) -> Pod {
    namespace.pod("app").annotation(NATIVE_SIDECAR, "false").annotation(MODE, "hold")
}

/// As [`gated`], of a proxy that is never ready: at that address nobody configures it.
pub(crate) fn never_ready(namespace: &Namespace<'_>) -> Pod {
    gated(namespace).annotation("proxy.istio.io/config", r#"{"discoveryAddress":"192.0.2.77:15012"}"#)
}

/// Connects to `destination` in its first millisecond, says what came of it, and ends when there is no connection.
pub(crate) fn hasty(name: &str, destination: &str) -> Container {
    let connects = connects(destination);
    let connected = format!("[[ $said == *'\"{CONNECTED}\"'* ]]");
    let script = format!("said=$({connects}); echo \"$said\"; {connected} && exec sleep infinity; exit 1");
    Container::script(name, &script)
}

/// Connects to `destination` again and again, and says each time what came of it.
pub(crate) fn tireless(name: &str, destination: &str) -> Container {
    Container::script(name, &format!("while :; do {}; sleep 0.3; done", connects(destination)))
}

/// The command that connects to `destination` once.
pub(crate) fn connects(destination: &str) -> String {
    format!("conngate-test-client connect --no-greeting {destination}")
}

/// The connections that a container of the pod `app` has told of; `previous`: before its last restart.
pub(crate) fn connections(namespace: &Namespace<'_>, container: &str, previous: bool) -> Result<Vec<Connection>> {
    let said = namespace.log("app", container, previous)?;
    Ok(said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The first connection that the `container` of the pod `app` has told of before its last restart. Waits for it: the
/// kubelet removes the log of all but the last container that ended, and may be asked for it just then.
pub(crate) fn first_before_restart(namespace: &Namespace<'_>, container: &str) -> Result<Connection> {
    wait_until(PATIENCE, "the log of the container that ended is there", || {
        connections(namespace, container, true).ok()?.into_iter().next()
    })
}

/// Waits until a connection of `pod` to `destination` is being held, as its `container` sees it: its SYN was sent more than
/// once, and is not answered. One that is not held is refused at its first.
pub(crate) fn wait_held(namespace: &Namespace<'_>, pod: &str, container: &str, destination: &str) -> Result<()> {
    let port = destination.rsplit_once(':').map_or("0", |(_, port)| port).parse::<u16>()?;
    let mut last = String::new();
    let held = wait_until(PATIENCE, &format!("a connection to {destination} is held"), || {
        last = namespace.kubectl(&["exec", pod, "--container", container, "--", "cat", "/proc/net/tcp"]).ok()?;
        last.lines().any(|line| is_held(line, port)).then_some(())
    });
    held.map_err(|error| error.context(last))
}

/// Whether a line of /proc/net/tcp is of a connection to `port` whose SYN was sent again: columns rem_address, st, retrnsmt.
fn is_held(line: &str, port: u16) -> bool {
    let columns: Vec<_> = line.split_whitespace().collect();
    let [_, _, remote, state, _, _, sent_again, ..] = columns[..] else { return false };
    remote.ends_with(&format!(":{port:04X}")) && state == "02" && sent_again != "00000000"
}

/// istiod, paused: proxies that start meanwhile are not ready. It goes on when dropped.
pub(crate) struct Paused<'a>(&'a Cluster);

impl<'a> Paused<'a> {
    /// Pauses istiod. What creates pods comes before: it injects them.
    pub(crate) fn istiod(cluster: &'a Cluster) -> Result<Self> {
        cluster.pause("istiod")?;
        Ok(Self(cluster))
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.resume("istiod") {
            eprintln!("istiod stays paused: {error:#}");
        }
    }
}
