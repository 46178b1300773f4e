//! Pods come and go, and none is missed.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use conngate::proc::{
    hierarchy,
    kubepods::Kubepods,
    watch::{CgroupEvent, PodWatch},
};
use conngate_common::id::CgroupId;
use conngate_testbed::lab::wait::patience;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fixture::{Node, PATIENCE, UID, inside, run_inside};

fn find(root: &Path) -> Kubepods {
    Kubepods::find(Some(root)).unwrap().unwrap()
}

fn open(root: &Path) -> (PodWatch, Instant) {
    let now = Instant::now();
    (PodWatch::open(find(root), now), now)
}

async fn next(watch: &mut PodWatch) -> CgroupEvent {
    tokio::time::timeout(patience(PATIENCE), watch.next()).await.expect("an event")
}

async fn appeared(watch: &mut PodWatch, path: &Path) {
    let event = next(watch).await;
    assert!(matches!(&event, CgroupEvent::PodAppeared(pod) if pod.path == path), "{event:?}");
}

#[tokio::test]
#[ignore = "needs root"]
async fn pods_that_are_there_and_that_come_appear() {
    let node = Node::new();
    let (root, first) = (node.make("kubepods"), node.make(&format!("kubepods/pod{UID}")));
    let (mut watch, _) = open(&root);
    appeared(&mut watch, &first).await;
    let second = node.make("kubepods/pod00000000000000000000000000000001");
    appeared(&mut watch, &second).await;
    // A QoS directory that comes later, with a pod in it before anybody can watch it, and with one after.
    let third = node.make("kubepods/burstable/pod00000000000000000000000000000002");
    appeared(&mut watch, &third).await;
    let fourth = node.make("kubepods/burstable/pod00000000000000000000000000000003");
    appeared(&mut watch, &fourth).await;
    assert_eq!(watch.pods().count(), 4);
}

#[tokio::test]
#[ignore = "needs root"]
async fn pod_that_goes_vanishes_and_one_of_its_name_is_another() {
    let node = Node::new();
    let (root, path) = (node.make("kubepods"), node.make(&format!("kubepods/besteffort/pod{UID}")));
    let (mut watch, _) = open(&root);
    appeared(&mut watch, &path).await;
    let id = hierarchy::id(&path).unwrap();
    // Its parent too, as a kubelet that is started anew may do.
    fs::remove_dir(&path).unwrap();
    fs::remove_dir(path.parent().unwrap()).unwrap();
    fs::create_dir_all(&path).unwrap();
    assert_eq!(next(&mut watch).await, CgroupEvent::PodVanished(UID.parse().unwrap(), id));
    appeared(&mut watch, &path).await;
    fs::remove_dir(&path).unwrap();
    assert!(matches!(next(&mut watch).await, CgroupEvent::PodVanished(..)));
    assert_eq!(watch.pods().count(), 0);
}

#[tokio::test]
#[ignore = "needs root"]
async fn root_that_goes_is_the_end() {
    let node = Node::new();
    let (root, path) = (node.make("kubepods"), node.make(&format!("kubepods/pod{UID}")));
    let (mut watch, _) = open(&root);
    appeared(&mut watch, &path).await;
    fs::remove_dir(&path).unwrap();
    assert!(matches!(next(&mut watch).await, CgroupEvent::PodVanished(..)));
    fs::remove_dir(&root).unwrap();
    fs::create_dir(&root).unwrap();
    assert_eq!(next(&mut watch).await, CgroupEvent::Gone);
    assert_eq!(next(&mut watch).await, CgroupEvent::Gone);
}

#[tokio::test]
#[ignore = "needs root"]
async fn root_that_was_made_anew_is_followed_and_what_has_gone_meanwhile_is_told() {
    let node = Node::new();
    let (root, path) = (node.make("kubepods"), node.make(&format!("kubepods/pod{UID}")));
    let (mut watch, _) = open(&root);
    appeared(&mut watch, &path).await;
    let id = hierarchy::id(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    fs::remove_dir(&root).unwrap();
    let second = node.make("kubepods/pod00000000000000000000000000000001");
    watch.follow(find(&root));
    assert_eq!(next(&mut watch).await, CgroupEvent::PodVanished(UID.parse().unwrap(), id));
    appeared(&mut watch, &second).await;
}

/// In a user namespace of its own, whose inotify instances are its own.
#[tokio::test]
#[ignore = "needs root"]
async fn watch_without_inotify_walks_and_tries_again() {
    let Some(inside) = inside() else {
        let node = Node::new();
        let root = node.make("kubepods");
        let script = "exec unshare --user --map-root-user $RUN";
        return run_inside("watch::watch_without_inotify_walks_and_tries_again", script, &[root.to_str().unwrap()]);
    };
    let (root, limit) = (Path::new(&inside[0]), "/proc/sys/user/max_inotify_instances");
    fs::write(limit, "0").unwrap();
    let (mut watch, opened) = open(root);
    let CgroupEvent::Degraded(Some(why)) = next(&mut watch).await else { panic!("not degraded") };
    assert!(why.starts_with("no inotify: ") && why.contains("fs.inotify.max_user_instances"), "{why}");
    let path = root.join(format!("pod{UID}"));
    fs::create_dir(&path).unwrap();
    appeared(&mut watch, &path).await;
    fs::remove_dir(&path).unwrap();
    assert!(matches!(next(&mut watch).await, CgroupEvent::PodVanished(..)));

    fs::write(limit, "1").unwrap();
    assert!(watch.pod(CgroupId(0), opened + Duration::from_secs(60)).is_none());
    assert_eq!(next(&mut watch).await, CgroupEvent::Degraded(None));
    fs::create_dir(&path).unwrap();
    appeared(&mut watch, &path).await;
}

/// In a process of its own, which opens nothing for a while.
#[tokio::test]
#[ignore = "needs root"]
async fn walk_that_fails_once_ends_nothing() {
    let Some(inside) = inside() else {
        let node = Node::new();
        let root = node.make("kubepods");
        return run_inside("watch::walk_that_fails_once_ends_nothing", "exec $RUN", &[root.to_str().unwrap()]);
    };
    let (mut watch, opened) = open(Path::new(&inside[0]));
    let path = Path::new(&inside[0]).join(format!("pod{UID}"));
    fs::create_dir(&path).unwrap();
    let id = hierarchy::id(&path).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    assert!(watch.pod(id, opened + Duration::from_millis(100)).is_none());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let CgroupEvent::Degraded(Some(why)) = next(&mut watch).await else { panic!("not degraded") };
    assert!(why.starts_with("cannot list the pods' cgroups in "), "{why}");
    assert_eq!(next(&mut watch).await, CgroupEvent::Degraded(None));
    appeared(&mut watch, &path).await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn unknown_id_is_looked_for_at_a_bounded_rate() {
    let node = Node::new();
    let root = node.make("kubepods");
    let (mut watch, opened) = open(&root);
    let path = node.make(&format!("kubepods/pod{UID}"));
    let id = hierarchy::id(&path).unwrap();
    assert!(watch.pod(id, opened + Duration::from_millis(99)).is_none());
    assert_eq!(watch.pod(id, opened + Duration::from_millis(100)).unwrap().path, path);
    // What a question has found is told as well.
    appeared(&mut watch, &path).await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn many_pods_at_once_all_appear_once() {
    let node = Node::new();
    let root = node.make("kubepods/burstable").parent().unwrap().to_owned();
    let (mut watch, _) = open(&root);
    for number in 0..200 {
        node.make(&format!("kubepods/burstable/pod{number:032x}"));
    }
    for _ in 0..200 {
        assert!(matches!(next(&mut watch).await, CgroupEvent::PodAppeared(_)));
    }
    assert_eq!(watch.pods().count(), 200);
}
