//! What becomes of an API object, a hostile one included.

use serde_json::{Value, json};

use super::*;
use crate::pods::testing::{json_pod, parsed, uid};

fn error(json: Value) -> String {
    let pod: PodObject = serde_json::from_value(json).unwrap();
    let error = Pod::try_from(&pod).unwrap_err();
    std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[test]
fn try_from_every_field_that_matters_is_taken() {
    let mut json = json_pod("shop", "web", &uid(1));
    json["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    json["metadata"]["annotations"] = json!({"conngate.io/mode": "hold", "other.io/mode": "x"});
    json["spec"]["hostNetwork"] = json!(true);
    json["spec"]["hostUsers"] = json!(false);
    json["spec"]["initContainers"] = json!([{"name": "setup"}, {"name": "logs", "restartPolicy": "Always"}]);
    json["spec"]["ephemeralContainers"] = json!([{"name": "debug"}]);
    let status =
        |name: &str, ready| json!({"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0});
    json["status"] = json!({
        "phase": "Failed",
        "initContainerStatuses": [status("logs", true)],
        "containerStatuses": [status("app", false), status("istio-proxy", true)],
    });
    let pod = parsed(json);
    assert_eq!(pod.path(), "shop/web");
    assert!(pod.terminating && pod.finished && pod.host_network && !pod.host_users && !pod.is_mirror());
    assert_eq!(pod.node_name.as_deref(), Some("node-1"));
    assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["conngate.io/mode"]);
    let containers: Vec<_> = pod.containers.iter().map(|one| (one.name.as_str(), one.kind, one.ready)).collect();
    assert_eq!(
        containers,
        [
            ("setup", ContainerKind::Init, false),
            ("logs", ContainerKind::NativeSidecar, true),
            ("app", ContainerKind::App, false),
            ("istio-proxy", ContainerKind::App, true),
            ("debug", ContainerKind::Ephemeral, false),
        ]
    );
}

#[test]
fn try_from_object_of_a_server_null_lists_and_what_is_not_read_included() {
    let mut json = json_pod("shop", "web", &uid(1));
    json["metadata"]["managedFields"] = json!([{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]);
    json["metadata"]["creationTimestamp"] = Value::Null;
    json["metadata"]["annotations"] = Value::Null;
    json["spec"]["initContainers"] = Value::Null;
    json["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    json["status"] = json!({"conditions": [], "containerStatuses": [{"name": "app", "containerID": "containerd://1"}]});
    let object: PodObject = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(
        (object.metadata.resource_version.as_deref(), object.metadata.managed_fields.as_ref()),
        (Some("1"), None)
    );
    assert_eq!(parsed(json).containers[0].id.as_deref(), Some("containerd://1"));
}

#[test]
fn try_from_container_began_when_the_earlier_of_its_states_did_and_had_that_ones_id() {
    let began = |state: Value, last: Value| {
        let mut json = json_pod("shop", "web", &uid(1));
        let status = json!({"name": "app", "containerID": "containerd://2", "state": state, "lastState": last});
        json["status"] = json!({"containerStatuses": [status]});
        parsed(json).containers[0].started.clone()
    };
    let running = json!({"running": {"startedAt": "1970-01-01T00:00:09Z"}});
    let ended = json!({"terminated": {"startedAt": "1970-01-01T00:00:05Z", "containerID": "containerd://1"}});
    let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let id = |id: &str| Some(format!("containerd://{id}"));
    assert_eq!(began(running.clone(), json!({})), Some((at(9), id("2"))));
    assert_eq!(began(running, ended.clone()), Some((at(5), id("1"))));
    assert_eq!(began(ended, json!({})), Some((at(5), id("1"))));
    assert_eq!(began(json!({"waiting": {"reason": "PodInitializing"}}), json!({})), None);
    assert_eq!(began(json!({"terminated": {"startedAt": null}}), json!({})), None);
}

#[test]
fn try_from_mirror_pod_has_the_uid_of_its_cgroup() {
    let mut json = json_pod("kube-system", "etcd-node-1", &uid(1));
    let hash = "0a1b2c3d4e5f60718293a4b5c6d7e8ff";
    json["metadata"]["annotations"] = json!({
        "kubernetes.io/config.mirror": hash, "kubernetes.io/config.hash": hash, "kubernetes.io/config.source": "file",
    });
    let pod = parsed(json.clone());
    assert_eq!((pod.uid.to_string(), pod.api_uid.to_string()), (uid(255), uid(1)));
    assert!(pod.is_mirror() && pod.is_static);

    json["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": hash});
    assert_eq!(parsed(json).uid.to_string(), uid(1));
}

#[test]
fn try_from_pod_that_cannot_be_told_from_others_is_refused_by_name() {
    let without = |field: &str| {
        let mut json = json_pod("shop", "web", &uid(1));
        json["metadata"].as_object_mut().unwrap().remove(field);
        error(json)
    };
    assert_eq!(without("uid"), "pod shop/web has no metadata.uid");
    assert_eq!(without("name"), "pod shop/? has no metadata.name");
    assert_eq!(without("namespace"), "pod ?/web has no metadata.namespace");
    let refused = error(json_pod("shop", "web", "not-a-uid"));
    assert!(refused.starts_with("pod shop/web: metadata.uid: `not-a-uid` is not a pod UID"), "{refused}");
    let mut mirror = json_pod("shop", "web", &uid(1));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert!(error(mirror).contains("config.hash"));
}

#[test]
fn try_from_huge_values_are_refused_or_cut() {
    assert!(error(json_pod("shop", &"n".repeat(254), &uid(1))).contains("at most 253"));
    assert!(error(json_pod("shop", "web", &"0".repeat(10_000))).len() < 600);

    let mut many = json_pod("shop", "web", &uid(1));
    many["spec"]["containers"] = json!(vec![json!({"name": "c"}); 1025]);
    assert!(error(many).contains("at most 1024"));

    let mut json = json_pod("shop", "web", &uid(1));
    let keys = (0..100).map(|n| (format!("conngate.io/k{n:03}"), json!("é".repeat(5000))));
    json["metadata"]["annotations"] = Value::Object(keys.collect());
    let pod = parsed(json);
    assert_eq!(pod.annotations.len(), MAX_ANNOTATIONS);
    assert!(pod.annotations.values().all(|value| (MAX_VALUE + 1..=MAX_VALUE + 4).contains(&value.len())));
}

#[test]
fn try_from_runtime_classes_and_ambient_marks_are_known_by_their_makers_names() {
    let with = |runtime: Value, redirection: &str| {
        let mut json = json_pod("shop", "web", &uid(1));
        json["spec"]["runtimeClassName"] = runtime;
        json["metadata"]["annotations"] = json!({"ambient.istio.io/redirection": redirection});
        let pod = parsed(json);
        (pod.sandboxed, pod.ambient)
    };
    for name in ["gvisor", "runsc", "kata", "kata-qemu", "kata-mshv-vm-isolation", "kata-remote", "runsc-kvm"] {
        assert_eq!(with(name.into(), "disabled"), (true, false), "{name}");
    }
    for name in [Value::Null, "runc".into(), "nvidia".into(), "katana".into(), "crun".into()] {
        assert_eq!(with(name.clone(), "enabled"), (false, true), "{name}");
    }
}
