//! A container is recognised by its termination log, and by nothing that the pod has made.

use std::path::{Path, PathBuf};

use conngate::proc::{
    identity::{Identity, IdentityError, identify},
    processes::ProcessesError,
};

use crate::{
    container::Kubelet,
    fixture::{Node, UID, inside, run_inside, wait_for},
};

const LOG: &str = "pods/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/containers/app/1a2b3c4d";
const MOUNT_LOG: &str = r#"touch "$1/mnt/log"; mount --bind "$2/pods/"*/containers/app/1a2b3c4d "$1/mnt/log";"#;

/// A tmpfs of the container's own, with a file that looks like another container's log from its root on.
const MOUNT_FORGED: &str = r#"
    mkdir "$1/mnt/own"; mount -t tmpfs own "$1/mnt/own"
    forged="$1/mnt/own/pods/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/containers/proxy"; mkdir -p "$forged"
    touch "$forged/1a2b3c4d" "$1/mnt/forged"; mount --bind "$forged/1a2b3c4d" "$1/mnt/forged";
"#;

fn kubelet() -> Kubelet {
    let kubelet = Kubelet::new();
    kubelet.file(LOG);
    kubelet
}

fn cgroup(node: &Node) -> PathBuf {
    node.make(&format!("kubepods/burstable/pod{UID}/{}", "0".repeat(64)))
}

fn identify_now(cgroup: &Path) -> Result<Identity, IdentityError> {
    identify(cgroup, UID.parse().unwrap())
}

/// The answer once the container has started.
fn identified(cgroup: &Path) -> Result<Identity, IdentityError> {
    wait_for("the container", || match identify_now(cgroup) {
        Err(IdentityError::NotYet { .. }) => None,
        answer => Some(answer),
    })
}

#[test]
#[ignore = "needs root"]
fn container_with_its_log_anywhere_is_identified() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let _process = kubelet.start(&cgroup, MOUNT_LOG);
    let identity = identified(&cgroup).unwrap();
    assert_eq!(identity, Identity { uid: UID.parse().unwrap(), name: "app".to_owned() });
}

#[test]
#[ignore = "needs root"]
fn container_in_a_cgroup_below_its_own_is_identified() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let crun = cgroup.join("container");
    std::fs::create_dir(&crun).unwrap();
    let _process = kubelet.start(&crun, MOUNT_LOG);
    assert_eq!(identified(&cgroup).unwrap().name, "app");
}

#[test]
#[ignore = "needs root"]
fn container_without_a_log_is_the_sandbox() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let _process = kubelet.start(&cgroup, "");
    assert!(matches!(identified(&cgroup), Err(IdentityError::Pause { .. })));
}

#[test]
#[ignore = "needs root"]
fn container_that_has_not_left_the_host_is_not_named_yet() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    assert!(matches!(identify_now(&cgroup), Err(IdentityError::NotYet { .. })), "no process");
    let _process = kubelet.start_on_host(&cgroup);
    wait_for("the process", || (!conngate::proc::processes::all(&cgroup).unwrap().is_empty()).then_some(()));
    assert!(matches!(identify_now(&cgroup), Err(IdentityError::NotYet { .. })), "runtime's init");
}

#[test]
#[ignore = "needs root"]
fn look_alike_in_an_empty_dir_is_not_believed() {
    let (node, kubelet) = (Node::new(), kubelet());
    let empty_dir = format!("pods/{UID}/volumes/kubernetes.io~empty-dir/x");
    kubelet.file(&format!("{empty_dir}/pods/{UID}/containers/proxy/1a2b3c4d"));
    let mount = format!(
        r#"touch "$1/mnt/forged"; mount --bind "$2/{empty_dir}/pods/{UID}/containers/proxy/1a2b3c4d" "$1/mnt/forged";"#
    );
    let cgroup = cgroup(&node);
    let process = kubelet.start(&cgroup, &format!("{mount}{MOUNT_LOG}"));
    assert_eq!(identified(&cgroup).unwrap().name, "app");
    drop(process);
    let _process = kubelet.start(&cgroup, &mount);
    assert!(matches!(identified(&cgroup), Err(IdentityError::Pause { .. })), "alone it is nothing");
}

#[test]
#[ignore = "needs root"]
fn look_alike_in_a_file_system_of_its_own_makes_it_ambiguous() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let _process = kubelet.start(&cgroup, &format!("{MOUNT_FORGED}{MOUNT_LOG}"));
    assert!(matches!(identified(&cgroup), Err(IdentityError::Ambiguous { .. })));
}

#[test]
#[ignore = "needs root"]
fn mounts_of_a_later_process_do_not_count() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let _first = kubelet.start(&cgroup, MOUNT_LOG);
    assert_eq!(identified(&cgroup).unwrap().name, "app");
    let second = self::kubelet();
    let below = cgroup.join("below");
    std::fs::create_dir(&below).unwrap();
    let _second = second.start(&below, MOUNT_FORGED);
    assert!(matches!(identified(&below), Ok(Identity { name, .. }) if name == "proxy"));
    assert_eq!(identify_now(&cgroup).unwrap().name, "app");
}

#[test]
#[ignore = "needs root"]
fn log_of_another_pod_is_a_mismatch() {
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let _process = kubelet.start(&cgroup, MOUNT_LOG);
    identified(&cgroup).unwrap();
    let other = "ffffffff-4e5f-6071-8293-a4b5c6d7e8f9".parse().unwrap();
    assert!(matches!(identify(&cgroup, other), Err(IdentityError::Mismatch { .. })));
}

#[test]
#[ignore = "needs root"]
fn processes_of_another_pid_namespace_are_named_as_such() {
    if let Some(values) = inside() {
        let error = identify_now(values[0].as_ref()).unwrap_err();
        assert!(matches!(error, IdentityError::Processes(ProcessesError::OtherPidNamespace { .. })), "{error}");
        return;
    }
    let (node, kubelet) = (Node::new(), kubelet());
    let cgroup = cgroup(&node);
    let _process = kubelet.start(&cgroup, MOUNT_LOG);
    identified(&cgroup).unwrap();
    let test = "identity::processes_of_another_pid_namespace_are_named_as_such";
    let script = "exec unshare --pid --fork --mount-proc $RUN";
    run_inside(test, script, &[cgroup.to_str().unwrap()]);
}
