//! What the annotations say: modes, timeouts, bad values, and values that change while the pod runs.

use anyhow::{Context, Result};
use conngate_testbed::{lab::wait_until, report::CONNECTED};
use serde_json::Value;

use crate::{
    application::{
        MODE, REFUSED, WEB, connections, first_before_restart, gated, hasty, never_ready, tireless, wait_held,
    },
    install::{installed, log},
    pods::{Namespace, PATIENCE, container, is_ready},
};

fn is_restarted(pod: &Value) -> bool {
    container(pod, "app")["restartCount"].as_u64() > Some(0)
}

pub(crate) fn mode_retry_holds_while_nobody_listens() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-retry", true)?;
    namespace.create(gated(&namespace).annotation(MODE, "retry").container(hasty("app", WEB)))?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert!(!is_restarted(&pod));
    assert_eq!(connections(&namespace, "app", false)?[0].outcome, CONNECTED);
    Ok(())
}

pub(crate) fn mode_observe_holds_nothing() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-observe", true)?;
    namespace.create(gated(&namespace).annotation(MODE, "observe").container(hasty("app", WEB)))?;
    namespace.wait("app", "is restarted and then ready", |pod| is_restarted(pod) && is_ready(pod))?;
    assert_eq!(first_before_restart(&namespace, "app")?.outcome, REFUSED);
    Ok(())
}

pub(crate) fn bad_annotation_gates_nothing_and_is_an_event_on_the_pod() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-bad", true)?;
    let pod = gated(&namespace).annotation("conngate.io/on-timeout", "explode");
    namespace.create(pod.container(hasty("app", WEB)))?;
    namespace.wait("app", "is restarted", is_restarted)?;
    assert_eq!(first_before_restart(&namespace, "app")?.outcome, REFUSED);
    let event = wait_until(PATIENCE, "there is an event", || {
        let invalid = "--field-selector=reason=InvalidAnnotation";
        let events = namespace.json(&["get", "events.events.k8s.io", invalid]).ok()?;
        events["items"].as_array()?.first().cloned()
    })?;
    assert_eq!((&event["type"], &event["regarding"]["name"]), (&"Warning".into(), &"app".into()));
    let note = event["note"].as_str().context("an event has a note")?;
    assert!(["conngate.io/on-timeout", "explode", "release, reset"].iter().all(|word| note.contains(word)), "{note}");
    Ok(())
}

/// The outcome of the first connection of a pod whose proxy is never ready.
fn after_the_timeout(namespace: &'static str, action: &str) -> Result<String> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, namespace, true)?;
    let pod = never_ready(&namespace).annotation("conngate.io/timeout", "3s");
    namespace.create(pod.annotation("conngate.io/on-timeout", action).container(tireless("app", WEB)))?;
    let first = wait_until(PATIENCE, "the first connection ends", || {
        connections(&namespace, "app", false).ok()?.into_iter().next()
    })?;
    assert!(first.seconds >= 3.0, "it was held until the timeout: {first:?}");
    Ok(first.outcome)
}

pub(crate) fn timeout_release_lets_the_connection_meet_what_is_there() -> Result<()> {
    let outcome = after_the_timeout("gated-release", "release")?;
    assert_eq!(outcome, REFUSED, "nobody listens: as without conngate");
    let opened = |line: &str| line.contains("gated-release/app") && line.contains("reason=timeout");
    let said = log(&*installed()?)?;
    assert!(said.lines().any(opened), "{said}");
    Ok(())
}

pub(crate) fn timeout_reset_ends_the_connection_with_an_error() -> Result<()> {
    assert_eq!(after_the_timeout("gated-reset", "reset")?, "ECONNABORTED");
    Ok(())
}

pub(crate) fn mode_that_changes_on_a_running_pod_is_heeded() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-changed", true)?;
    namespace.create(never_ready(&namespace).container(tireless("app", WEB)))?;
    namespace.wait("app", "runs", |pod| container(pod, "app")["state"]["running"].is_object())?;
    for number in 0..2 {
        wait_held(&namespace, "app", "app", WEB)?;
        let before = connections(&namespace, "app", false)?.len();
        assert!(number > 0 || before == 0, "the first is held");
        namespace.kubectl(&["annotate", "--overwrite", "pod/app", &format!("{MODE}=off")])?;
        wait_until(PATIENCE, "it is released, and nothing is held any longer", || {
            let now = connections(&namespace, "app", false).ok()?;
            (now.len() > before + 3 && now.iter().all(|connection| connection.outcome == REFUSED)).then_some(())
        })?;
        namespace.kubectl(&["annotate", "--overwrite", "pod/app", &format!("{MODE}=hold")])?;
    }
    wait_held(&namespace, "app", "app", WEB)
}
