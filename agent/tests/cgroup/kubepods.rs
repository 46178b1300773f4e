//! The kubepods root in a directory that is given, and the pods below it.

use std::path::Path;

use conngate::proc::{
    hierarchy,
    hierarchy::Hierarchy,
    kubepods::{Kubepods, KubepodsError},
    layout::Qos,
    pods,
};

use crate::fixture::{Node, UID};

fn find(path: &Path) -> Result<Kubepods, KubepodsError> {
    Kubepods::find(Some(path)).map(Option::unwrap)
}

#[test]
#[ignore = "needs root"]
fn root_is_found_by_itself_and_from_above_with_its_level() {
    let node = Node::new();
    for relative in ["kubepods", "kubelet.slice/kubelet-kubepods.slice"] {
        let root = node.make(relative);
        let found = [find(&root).unwrap(), find(root.parent().unwrap()).unwrap()];
        assert_eq!(found[0], found[1]);
        assert_eq!((&found[0].path, found[0].id), (&root, hierarchy::id(&root).unwrap()));
        let level = found[0].level(|_| -> Result<_, ()> { panic!("the hierarchy's root can be seen") });
        assert_eq!(level, Ok(Some(Hierarchy::find().unwrap().level(&root))));
        std::fs::remove_dir(&root).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn several_roots_are_an_error_that_lists_them() {
    let node = Node::new();
    let roots = [node.make("docker/a/kubepods"), node.make("docker/b/kubelet.slice/kubelet-kubepods.slice")];
    let error = find(node.path()).unwrap_err().to_string();
    for root in &roots {
        assert!(error.contains(root.to_str().unwrap()), "{error}");
        assert_eq!(&find(root).unwrap().path, root);
    }
    assert!(error.contains("--cgroup-root"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn root_of_another_name_is_known_by_what_is_in_it() {
    let node = Node::new();
    for inside in ["kubepods-burstable.slice".to_owned(), format!("pod{UID}")] {
        let root = node.make(&format!("mounted/{inside}")).parent().unwrap().to_owned();
        assert_eq!(find(&root).unwrap().path, root);
        std::fs::remove_dir(root.join(inside)).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn root_inside_a_pod_is_not_the_nodes() {
    let node = Node::new();
    let root = node.make("kubepods");
    node.make(&format!("kubepods/pod{UID}/{}/kubelet/kubepods", "0".repeat(64)));
    assert_eq!(find(node.path()).unwrap().path, root);
}

#[test]
#[ignore = "needs root"]
fn directory_that_is_something_else_is_refused_by_name() {
    let node = Node::new();
    node.make("system.slice");
    let refused = |path: &Path| find(path).unwrap_err();
    assert!(matches!(refused(node.path()), KubepodsError::NoPods { .. }));
    assert!(matches!(refused("/".as_ref()), KubepodsError::NotCgroup2 { .. }));
    assert!(matches!(refused(&node.path().join("cgroup.procs")), KubepodsError::NotCgroup2 { .. }));
    let error = refused("/nonexistent".as_ref());
    assert!(matches!(error, KubepodsError::Unreadable { .. }), "{error}");
    assert!(error.to_string().starts_with("--cgroup-root /nonexistent"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn pods_of_both_drivers_are_listed_with_ids_and_containers() {
    let id = "0123456789abcdef".repeat(4);
    let (underscored, digits) = (UID.replace('-', "_"), UID.replace('-', ""));
    let layouts = [
        (
            "kubepods",
            [format!("pod{UID}"), format!("burstable/pod{UID}"), format!("besteffort/pod{digits}")],
            [id.clone(), format!("crio-{id}"), format!("crio-conmon-{id}")],
        ),
        (
            "kubelet-kubepods.slice",
            [
                format!("kubelet-kubepods-pod{underscored}.slice"),
                format!("kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{underscored}.slice"),
                format!("kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{digits}.slice"),
            ],
            [format!("cri-containerd-{id}.scope"), format!("crio-{id}.scope"), format!("crio-conmon-{id}.scope")],
        ),
    ];
    for (name, directories, containers) in layouts {
        let node = Node::new();
        let root = node.make(name);
        node.make(&format!("{name}/something-else.scope"));
        for directory in &directories {
            containers.iter().for_each(|container| drop(node.make(&format!("{name}/{directory}/{container}"))));
        }
        let kubepods = find(&root).unwrap();
        let found = pods::walk(&root, |_| {}).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        for (directory, qos) in directories.iter().zip([Qos::Guaranteed, Qos::Burstable, Qos::BestEffort]) {
            let path = root.join(directory);
            let pod = found.iter().find(|pod| pod.path == path).unwrap();
            assert_eq!((pod.id, pod.uid, pod.qos), (hierarchy::id(&path).unwrap(), UID.parse().unwrap(), qos));
            assert!(pod.exists());
            let listed = pod.containers().unwrap();
            assert_eq!(listed.len(), 2, "{listed:?}");
            for container in listed {
                assert_eq!(container.container.as_ref(), Some(&id));
                assert_eq!(container.id, hierarchy::id(&container.path).unwrap());
            }
        }
        let parents = kubepods.shared_parents().unwrap();
        assert_eq!(parents.len(), 2);
        for pod in &found[1..] {
            assert!(parents.contains(&hierarchy::id(pod.path.parent().unwrap()).unwrap()));
        }
    }
}
