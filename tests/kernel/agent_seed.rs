//! What conngate was made for, whole: an application in a JVM that fetches the configuration of its logging by name in second 2,
//! in a mesh that captures DNS and whose Envoy is ready in second 16. It starts at the first try.

use std::time::Duration;

use anyhow::Result;
use conngate_testbed::lab::{
    self, Agent, Answer, ControlPlane, Envoy, KubePod, Node, Pod, Qos, Redirect, Upstream, envoy::virtual_outbound,
    resolver,
};

use crate::agent_resolvers::{capture, proxy};

const URL: &str = "http://log-config-server:12345/";

/// What the mesh calls it.
const NAME: &str = "log-config-server.shop.svc.cluster.local";

/// As the kubelet writes it.
const RESOLV_CONF: &str = "nameserver 10.96.0.10\n\
    search shop.svc.cluster.local svc.cluster.local cluster.local\n\
    options ndots:5\n";

#[test]
fn agent_jvm_that_asks_by_name_in_second_2_starts_at_the_first_try_though_envoy_is_ready_in_second_16() -> Result<()> {
    lab::run(|| {
        let (node, upstream, program) = (Node::new()?, Upstream::with_web()?, resolver::java("LogConfig")?);
        let netns = Pod::new(&upstream)?;
        netns.redirect(&Redirect::default())?;
        capture(&netns)?;
        let late = Answer::After(Duration::from_secs(16));
        let control_plane = ControlPlane::start(&netns, vec![virtual_outbound()], late)?;
        let pod = KubePod::new(&node, &netns, Qos::Burstable)?;
        pod.tell()?;
        let agent = Agent::start(&node, &[])?;
        agent.wait_for("gated", 1)?;
        let (sidecar, app) = (pod.container("istio-proxy")?, pod.container("app")?.resolving_by(RESOLV_CONF));
        let mut dns = proxy(&netns, &["never", "16", NAME])?;

        let _envoy = Envoy::start_in(&netns, &control_plane, Some(sidecar.cgroup()))?;
        dns.go()?;
        let mut jvm = app.run(&program, &[URL])?;
        assert_eq!(jvm.line()?, "started");
        assert_eq!(jvm.line()?, "configured by 198.51.100.10:12345");
        // Longer than the C library waits for an answer over UDP.
        let mut asked = dns.line()?;
        while asked == "bound" {
            asked = dns.line()?;
        }
        assert_eq!(asked, format!("tcp {NAME}"));
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}
