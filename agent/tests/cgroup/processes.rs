//! A process is in the cgroup that it is in now, whatever its number was before.

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use conngate::proc::{pods, processes, processes::ProcessesError};

use crate::{
    container::Kubelet,
    fixture::{Node, UID, wait_for},
};

#[test]
#[ignore = "needs root"]
fn process_that_left_or_ended_is_no_longer_contained() {
    let (node, kubelet) = (Node::new(), Kubelet::new());
    let (from, to) = (node.make("a/b"), node.make("c"));
    let child = kubelet.start_on_host(&from);
    let first = || processes::first(&node.path().join("a")).unwrap();
    let process = wait_for("the process", first);
    assert_eq!(process.pid(), child.pid());
    assert!(processes::contains(&from, &process));
    fs::write(to.join("cgroup.procs"), process.pid().to_string()).unwrap();
    assert!(!processes::contains(&from, &process));
    assert!(processes::contains(&to, &process));
    drop(child);
    assert!(!processes::contains(&to, &process));
    assert!(first().is_none());
}

#[test]
#[ignore = "needs root"]
fn process_that_was_started_first_is_first_wherever_it_is() {
    let (node, kubelet) = (Node::new(), Kubelet::new());
    let (above, below) = (node.make("a"), node.make("a/b/c"));
    let first = kubelet.start_on_host(&below);
    wait_for("the first", || processes::first(&above).unwrap());
    let _second = kubelet.start_on_host(&above);
    let all = wait_for("the second", || Some(processes::all(&above).unwrap()).filter(|pids| pids.len() == 2));
    assert!(all.contains(&first.pid()));
    assert_eq!(processes::first(&above).unwrap().unwrap().pid(), first.pid());
}

#[test]
#[ignore = "needs root"]
fn first_processes_of_a_pods_containers_lead_to_its_namespace() {
    let (node, kubelet) = (Node::new(), Kubelet::new());
    let containers = ["1", "2"].map(|digit| node.make(&format!("kubepods/pod{UID}/{}", digit.repeat(64))));
    let children = containers.each_ref().map(|cgroup| kubelet.start_on_host(cgroup));
    let pod = pods::walk(&node.path().join("kubepods"), |_| {}).unwrap().remove(0);
    let mut expected = children.each_ref().map(|child| child.pid());
    expected.sort_unstable();
    wait_for("both processes", || {
        let mut found: Vec<_> = pod.first_processes().unwrap().iter().map(|process| process.pid()).collect();
        found.sort_unstable();
        (found == expected).then_some(())
    });
}

#[test]
#[ignore = "needs root"]
fn cgroup_that_is_gone_is_named() {
    let node = Node::new();
    let error = processes::all(&node.path().join("gone")).unwrap_err();
    assert!(matches!(&error, ProcessesError::Read { .. }), "{error}");
    assert!(error.to_string().ends_with("/gone"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn group_of_a_users_processes_is_known_while_they_agree() {
    let (node, kubelet) = (Node::new(), Kubelet::new());
    let container = node.make("a");
    assert_eq!(processes::group(&container, 0), None, "there is nobody to ask");
    let _first = kubelet.start_on_host(&container);
    wait_for("the first", || processes::first(&container).unwrap());
    assert_eq!((processes::group(&container, 0), processes::group(&container, 1000)), (Some(0), None));
    let mut other = Command::new("sleep").arg("1000").gid(7).spawn().unwrap();
    fs::write(container.join("cgroup.procs"), other.id().to_string()).unwrap();
    let of_two_minds = processes::group(&container, 0);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(of_two_minds, None);
    assert_eq!(processes::group(&container, 0), Some(0));
}
