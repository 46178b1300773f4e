//! The agent in a container: its cgroup namespace, its own cgroup2 mount, and the node's behind a hostPath.

use std::{fs, path::Path, thread};

use conngate::{
    bpf::{load, object::Object},
    proc::{
        hierarchy,
        hierarchy::Hierarchy,
        kubepods::{Kubepods, pod_levels},
    },
};
use conngate_common::id::CgroupId;
use tempfile::TempDir;

use crate::fixture::{Node, UID, inside, run_inside};

/// As kind lays it out; the agent is a pod of it.
const ROOT: &str = "kubelet.slice/kubelet-kubepods.slice";

#[test]
#[ignore = "needs root"]
fn root_behind_a_host_path_is_found_and_its_level_asked_from_the_kernel() {
    if let Some(values) = inside() {
        let [_, _, host, _, level, top] = &values[..] else { panic!("{values:?}") };
        let found = Kubepods::find(None).unwrap().unwrap();
        assert_eq!(found.path, Path::new(host).join(ROOT));
        let (mut loaded, _ring) = load::load(&Object::open(None).unwrap(), &load::Options::default()).unwrap();
        let mut asked = None;
        let answer = found.level(|id| {
            asked = Some(id.0);
            loaded.ancestor_level(id)
        });
        assert_eq!(answer.unwrap(), Some(level.parse().unwrap()));
        assert_eq!(asked, Some(top.parse().unwrap()), "the node's own cgroup is the highest that can be seen");
        // The answer for every ancestor, and for a cgroup that is none.
        assert_eq!(loaded.ancestor_level(found.id).unwrap(), Some(level.parse().unwrap()));
        assert_eq!(loaded.ancestor_level(CgroupId(u64::MAX)).unwrap(), None);
        let parents = found.shared_parents().unwrap();
        assert_eq!(loaded.ancestor_level(parents[0]).unwrap(), Some(pod_levels(level.parse().unwrap())[0]));
        return;
    }
    let (node, host) = (Node::new(), TempDir::new().unwrap());
    let hierarchy = Hierarchy::find().unwrap();
    let underscored = UID.replace('-', "_");
    let own = node.make(&format!(
        "{ROOT}/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{underscored}.slice/cri-containerd-{}.scope",
        "0".repeat(64)
    ));
    let script = r#"
        echo 0 > "$1/cgroup.procs"
        exec unshare --mount --propagation private sh -ec '
            all=$(while read -r _ _ _ _ point rest; do
                case $rest in (*" - cgroup2 "*) echo "$point" ;; esac
            done </proc/self/mountinfo)
            mount --bind "$2" "$3"
            umount -l $all
            exec unshare --cgroup sh -ec "mount -t cgroup2 none \"\$4\"; exec \$RUN" sh "$@"
        ' sh "$@"
    "#;
    let level = hierarchy.level(&node.path().join(ROOT)).to_string();
    let top = hierarchy::id(node.path()).unwrap().0.to_string();
    let paths = [own.as_path(), node.path(), host.path(), &hierarchy.mount].map(|path| path.to_str().unwrap());
    let values = [paths[0], paths[1], paths[2], paths[3], &level, &top];
    run_inside("nested::root_behind_a_host_path_is_found_and_its_level_asked_from_the_kernel", script, &values);
}

#[test]
#[ignore = "needs root"]
fn root_that_is_not_there_yet_is_waited_for() {
    if let Some(values) = inside() {
        let [_, mount] = &values[..] else { panic!("{values:?}") };
        assert_eq!(Kubepods::find(None).unwrap(), None);
        let root = Path::new(mount).join("kubepods");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = root.clone();
        let kubelet = thread::spawn(move || fs::create_dir(made).unwrap());
        assert_eq!(runtime.block_on(Kubepods::wait(None)).unwrap().path, root);
        kubelet.join().unwrap();
        return;
    }
    let node = Node::new();
    let script = r#"
        echo 0 > "$1/cgroup.procs"
        exec unshare --mount --cgroup --propagation private sh -ec '
            while read -r _ _ _ _ point rest; do
                case $rest in (*" - cgroup2 "*) echo "$point" ;; esac
            done </proc/self/mountinfo | xargs umount -l
            mount -t cgroup2 none "$2"
            exec $RUN
        ' sh "$@"
    "#;
    let mount = Hierarchy::find().unwrap().mount;
    let values = [node.path().to_str().unwrap(), mount.to_str().unwrap()];
    run_inside("nested::root_that_is_not_there_yet_is_waited_for", script, &values);
}
