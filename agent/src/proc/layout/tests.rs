//! Every layout that is known from the wild, and texts that are none.

use proptest::prelude::*;

use super::*;

const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Writes `{uid}`, `{uid_}`, `{md5}` and `{id}` out.
fn path(pattern: &str) -> String {
    let pattern = pattern.replace("{uid}", UID).replace("{uid_}", &UID.replace('-', "_"));
    pattern.replace("{md5}", &UID.replace('-', "")).replace("{id}", ID)
}

#[test]
fn layout_of_every_known_node_is_located() {
    use Qos::{BestEffort, Burstable, Guaranteed};
    let cases = [
        // kubelet, systemd driver; containerd (k3s with systemd, kubeadm, EKS, GKE, AKS).
        (
            "/kubepods.slice",
            "/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
            Burstable,
        ),
        (
            "/kubepods.slice",
            "/kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice/cri-containerd-{id}.scope",
            BestEffort,
        ),
        ("/kubepods.slice", "/kubepods-pod{uid_}.slice/cri-containerd-{id}.scope", Guaranteed),
        // A static pod: the manifest's MD5 (pkg/kubelet/config/common.go).
        (
            "/kubepods.slice",
            "/kubepods-burstable.slice/kubepods-burstable-pod{md5}.slice/cri-containerd-{id}.scope",
            Burstable,
        ),
        // kubelet, cgroupfs driver; containerd (k3s without systemd, microk8s, Talos) and cri-dockerd.
        ("/kubepods", "/burstable/pod{uid}/{id}", Burstable),
        ("/kubepods", "/besteffort/pod{uid}/{id}", BestEffort),
        ("/kubepods", "/pod{uid}/{id}", Guaranteed),
        ("/kubepods", "/burstable/pod{md5}/{id}", Burstable),
        // cri-o, systemd and cgroupfs (internal/config/cgmgr); crun makes a cgroup deeper (find_systemd_subgroup).
        ("/kubepods.slice", "/kubepods-pod{uid_}.slice/crio-{id}.scope", Guaranteed),
        ("/kubepods.slice", "/kubepods-pod{uid_}.slice/crio-{id}.scope/container", Guaranteed),
        ("/kubepods", "/besteffort/pod{uid}/crio-{id}", BestEffort),
        // cri-dockerd with the systemd driver.
        (
            "/kubepods.slice",
            "/kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice/docker-{id}.scope",
            BestEffort,
        ),
        // kind (cgroupRoot /kubelet), inside the node and from the host under both docker drivers.
        (
            "/kubelet.slice/kubelet-kubepods.slice",
            "/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
            Burstable,
        ),
        (
            "/system.slice/docker-{id}.scope/kubelet.slice/kubelet-kubepods.slice",
            "/kubelet-kubepods-pod{uid_}.slice/cri-containerd-{id}.scope",
            Guaranteed,
        ),
        ("/docker/{id}/kubelet/kubepods", "/besteffort/pod{uid}/{id}", BestEffort),
        // minikube and k3d in docker: no cgroupRoot of their own.
        ("/docker/{id}/kubepods.slice", "/kubepods-pod{uid_}.slice/docker-{id}.scope", Guaranteed),
        ("/system.slice/docker-{id}.scope/kubepods", "/burstable/pod{uid}/{id}", Burstable),
        // A container with a cgroup namespace that it may write nests as deep as it likes (systemd in a container).
        ("/kubepods", "/pod{uid}/{id}/init.scope", Guaranteed),
        // A cluster in a pod of another (CI): the outer pod is what this node knows.
        ("/kubepods", "/pod{uid}/{id}/kubelet/kubepods/burstable/pod{md5}/{id}", Guaranteed),
    ];
    for (root, rest, qos) in cases {
        let (root, rest) = (path(root), path(rest));
        let whole = format!("{root}{rest}");
        let expected = Location { root: &root, qos, pod: UID.parse().unwrap(), leaf: Some(Leaf::Container(ID)) };
        assert_eq!(locate(&whole), Some(expected), "{whole}");
    }
}

#[test]
fn pod_without_a_container_is_located() {
    let text = path("/kubepods/burstable/pod{uid}/");
    let location = locate(&text).unwrap();
    assert_eq!((location.root, location.qos, location.leaf), ("/kubepods", Qos::Burstable, None));
}

#[test]
fn monitor_of_a_container_is_no_container() {
    assert_eq!(leaf(&path("crio-conmon-{id}.scope")), Leaf::Conmon);
    assert_eq!(leaf(&path("crio-conmon-{id}")), Leaf::Conmon);
}

#[test]
fn leaf_without_an_id_is_unknown() {
    for name in ["", ".scope", "cri-containerd-.scope", "cri-containerd-0123.scope", "init.scope", &"g".repeat(64)] {
        assert_eq!(leaf(name), Leaf::Unknown, "{name}");
    }
}

#[test]
fn path_outside_of_pods_is_no_location() {
    for pattern in [
        "",
        "/",
        "/kubepods",
        "/kubepods/burstable",
        "/kubepods.slice/kubepods-burstable.slice",
        "/system.slice/kubelet.service",
        "/pod{uid}/{id}",
        "/podruntime/kubelet",
        "/mykubepods/pod{uid}",
        "/kubepods-2/pod{uid}",
        "/kubepods/burstable/besteffort/pod{uid}",
        "/kubepods/pod",
        "/kubepods/podwithout-a-uid/{id}",
        "/kubepods.slice/kubepods-pod{uid}.slice",
        "/kubepods.slice/other-burstable.slice/other-burstable-pod{uid_}.slice",
        "/kubepods/../kubepods/pod{uid}",
        "/kubepods/./pod{uid}",
        "/kubepods/pod{uid}/..",
    ] {
        assert_eq!(locate(&path(pattern)), None, "{pattern}");
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in any::<String>()) {
        let _ = (locate(&text), qos(&text), pod(&text), leaf(&text));
    }

    #[test]
    fn location_never_goes_up(parts in proptest::collection::vec("kubepods|burstable|\\.\\.|\\.||pod0a1b2c3d4e5f60718293a4b5c6d7e8f9|[a-f0-9]{64}", 0..8)) {
        let text = parts.join("/");
        if let Some(location) = locate(&text) {
            prop_assert!(!parts.iter().any(|part| part == ".." || part == "."));
            prop_assert!(text.starts_with(location.root) && location.root.ends_with("kubepods"));
        }
    }
}

#[test]
fn container_that_is_named_as_for_systemd_is_told_from_others() {
    let pod = "kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice";
    let id = "0".repeat(64);
    assert!(is_meant_for_systemd(&format!("{pod}:cri-containerd:{id}")));
    assert!(is_meant_for_systemd(&format!("kubelet-{pod}:crio:{id}")));
    for other in [
        pod.to_owned(),
        format!("{pod}:cri-containerd"),
        format!("{pod}:cri-containerd:short"),
        format!("system.slice:cri-containerd:{id}"),
        format!("pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9:x:{id}"),
        String::new(),
    ] {
        assert!(!is_meant_for_systemd(&other), "{other}");
    }
}
