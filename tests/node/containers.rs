//! Which of a pod's containers are held: init containers, several applications, named ones, restarted ones, ones that are
//! added to a running pod.

use anyhow::Result;
use conngate_testbed::{
    cluster::pod::Container,
    report::{CONNECTED, GAVE_UP},
};

use crate::{
    application::{
        DATABASE, Paused, REFUSED, WEB, connections, connects, first_before_restart, gated, hasty, never_ready,
        tireless, wait_held,
    },
    install::installed,
    kinds::redirect,
    pods::{Namespace, container, is_ready},
};

/// Istio's own init container comes last, so that the others are not captured. With istio-cni they are: so is port 81 here.
pub(crate) fn init_container_is_refused_as_without_conngate() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-init", true)?;
    let early = Container::script("early", &connects("198.51.100.10:81"));
    let pod = gated(&namespace).init_container(redirect("81")).init_container(early);
    namespace.create(pod.container(hasty("app", WEB)))?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    assert_eq!(connections(&namespace, "early", false)?[0].outcome, REFUSED);
    assert_eq!(connections(&namespace, "app", false)?[0].outcome, CONNECTED);
    Ok(())
}

pub(crate) fn two_applications_of_a_pod_are_both_held_until_the_proxy_is_ready() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-two", true)?;
    namespace.create(gated(&namespace).container(hasty("one", WEB)).container(hasty("two", DATABASE)))?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    for name in ["one", "two"] {
        assert_eq!(container(&pod, name)["restartCount"], 0, "{name}");
        assert_eq!(connections(&namespace, name, false)?[0].outcome, CONNECTED, "{name}");
    }
    Ok(())
}

pub(crate) fn container_that_is_not_named_is_not_held() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-named", true)?;
    let pod = never_ready(&namespace).annotation("conngate.io/containers", "held");
    namespace.create(pod.container(hasty("held", WEB)).container(tireless("free", DATABASE)))?;
    namespace.wait("app", "runs", |pod| container(pod, "free")["state"]["running"].is_object())?;
    wait_held(&namespace, "app", "free", WEB)?;
    let free = connections(&namespace, "free", false)?;
    assert!(!free.is_empty() && free.iter().all(|connection| connection.outcome == REFUSED), "{free:?}");
    assert_eq!(connections(&namespace, "held", false)?, []);
    Ok(())
}

pub(crate) fn ephemeral_container_is_held_like_an_application() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-debug", true)?;
    namespace.create(never_ready(&namespace).container(Container::new("app", &["sleep", "infinity"])))?;
    namespace.wait("app", "runs", |pod| container(pod, "app")["state"]["running"].is_object())?;
    let image = format!("--image={}", conngate_testbed::cluster::APP);
    let debug = ["debug", "app", &image, "--container=debug", "--target=app", "--profile=general", "--"];
    namespace.kubectl(&[&debug[..], &["bash", "-c", &connects(WEB)]].concat())?;
    wait_held(&namespace, "app", "app", WEB)
}

pub(crate) fn restarted_application_is_held_again() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-again", true)?;
    // It ends because it has waited long enough, and is started again.
    let script = format!(
        "said=$({} --give-up 3000); echo \"$said\"; [[ $said == *'\"{CONNECTED}\"'* ]] && exec sleep infinity; exit 1",
        connects(WEB),
    );
    namespace.create(gated(&namespace).container(Container::script("app", &script)))?;
    let paused = Paused::istiod(&cluster)?;
    namespace.wait("app", "is restarted", |pod| {
        let app = container(pod, "app");
        app["restartCount"].as_u64() > Some(0) && app["state"]["running"].is_object()
    })?;
    wait_held(&namespace, "app", "app", WEB)?;
    drop(paused);
    namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(first_before_restart(&namespace, "app")?.outcome, GAVE_UP);
    assert_eq!(connections(&namespace, "app", false)?[0].outcome, CONNECTED);
    Ok(())
}
