//! Mounts of real containers, and mounts that only look so.

use proptest::prelude::*;

use super::*;

const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const OTHER: &str = "ffffffff-4e5f-6071-8293-a4b5c6d7e8f9";

fn pod() -> PodUid {
    UID.parse().unwrap()
}

/// A mountinfo of a container: each of `roots` is mounted somewhere. `{uid}`, `{other}` and `{md5}` are written out.
fn mountinfo(roots: &[&str]) -> Vec<u8> {
    let mut text = "900 800 0:77 / / rw,relatime - overlay overlay rw,lowerdir=/a\n".to_owned();
    for root in roots {
        let root = root.replace("{uid}", UID).replace("{other}", OTHER).replace("{md5}", &UID.replace('-', ""));
        text += &format!("901 900 254:0 {root} /some/where rw,relatime - ext4 /dev/vda rw\n");
    }
    text.into_bytes()
}

fn name(root: &str) -> Option<String> {
    recognise(&mountinfo(&[root]), pod()).unwrap()
}

#[test]
fn termination_log_of_any_kubelet_directory_is_recognised() {
    for root in [
        "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d",
        // /var/lib/kubelet is a file system of its own.
        "/pods/{uid}/containers/app/1a2b3c4d",
        // microk8s, k0s, a path with a blank.
        "/var/snap/microk8s/common/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d",
        "/var/lib/k0s/kubelet/pods/{uid}/containers/app/00000000",
        r"/my\040disk/kubelet/pods/{uid}/containers/app/1a2b3c4d",
        // kind: /var is an anonymous volume of docker, so that `volumes` comes before the kubelet's directory.
        "/var/lib/docker/volumes/0123456789abcdef/_data/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d",
        "/@/var/lib/containers/storage/volumes/x/_data/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d",
        // A static pod's directory has the MD5 of its manifest.
        "/var/lib/kubelet/pods/{md5}/containers/app/1a2b3c4d",
        // A directory above that is called pods.
        "/srv/pods/kubelet/pods/{uid}/containers/app/1a2b3c4d",
    ] {
        assert_eq!(name(root).as_deref(), Some("app"), "{root}");
    }
}

#[test]
fn look_alike_is_not_recognised() {
    for root in [
        "/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/x/pods/{uid}/containers/proxy/1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/volume-subpaths/x/app/0/pods/{uid}/containers/proxy/1a2b3c4d",
        "/pods/{other}/volumes/kubernetes.io~empty-dir/x/pods/{uid}/containers/proxy/1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d/pods/{uid}/containers/proxy/1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d//deleted",
        "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4",
        "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d5",
        "/var/lib/kubelet/pods/{uid}/containers/app/1A2B3C4D",
        "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d/",
        "/var/lib/kubelet/pods/{uid}/containers/app",
        "/var/lib/kubelet/pods/{uid}/containers//1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/containers/../1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/containers/-app/1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/containers/App/1a2b3c4d",
        r"/var/lib/kubelet/pods/{uid}/containers/a\040b/1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/plugins/app/1a2b3c4d",
        "/var/lib/kubelet/pods/{uid}/etc-hosts",
        "/var/lib/kubelet/mypods/{uid}/containers/app/1a2b3c4d",
    ] {
        assert_eq!(name(root), None, "{root}");
    }
    let long = |length: usize| name(&format!("/pods/{{uid}}/containers/{}/1a2b3c4d", "a".repeat(length)));
    assert!(long(63).is_some());
    assert!(long(64).is_none());
}

#[test]
fn name_in_several_mounts_is_one_answer() {
    let log = "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d";
    let restarted = "/var/lib/kubelet/pods/{uid}/containers/app/ffffffff";
    assert_eq!(recognise(&mountinfo(&[log, restarted, log]), pod()).unwrap().as_deref(), Some("app"));
}

#[test]
fn names_of_two_containers_are_ambiguous() {
    let logs = ["/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d", "/tmp/pods/{uid}/containers/proxy/1a2b3c4d"];
    let error = recognise(&mountinfo(&logs), pod()).unwrap_err();
    assert!(matches!(&error, IdentityError::Ambiguous { names, .. } if *names == ["app", "proxy"]), "{error}");
    assert!(error.to_string().ends_with("of app and proxy"), "{error}");
}

#[test]
fn log_of_another_pod_is_not_believed() {
    let foreign = "/var/lib/kubelet/pods/{other}/containers/proxy/1a2b3c4d";
    let error = recognise(&mountinfo(&[foreign]), pod()).unwrap_err();
    assert!(matches!(error, IdentityError::Mismatch { found, .. } if found == OTHER.parse().unwrap()), "{error}");
    // Beside its own it does not count: a node agent may mount what it likes of the kubelet's directory.
    let own = "/var/lib/kubelet/pods/{uid}/containers/app/1a2b3c4d";
    assert_eq!(recognise(&mountinfo(&[foreign, own]), pod()).unwrap().as_deref(), Some("app"));
}

proptest! {
    #[test]
    fn any_mounts_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = recognise(&bytes, pod());
    }

    #[test]
    fn nothing_inside_a_volume_names_a_container(
        inside in "(/[a-z0-9~._-]{1,8}){0,3}",
        volumes in "volumes|volume-subpaths|plugins",
    ) {
        let root = format!("/var/lib/kubelet/pods/{{uid}}/{volumes}{inside}/pods/{{uid}}/containers/proxy/1a2b3c4d");
        prop_assert_eq!(name(&root), None);
    }
}

#[test]
fn root_is_the_mount_on_top() {
    let text = b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /proc rw - proc proc rw\n3 1 0:9 /b / rw - overlay o rw\n";
    assert_eq!(root(text), Some(("0:9".to_owned(), "/b".into())));
}
