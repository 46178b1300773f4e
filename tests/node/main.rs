//! The node tests: one real Kubernetes node with a real Istio, that all of them share; and the proof that nothing of it
//! is left behind, however it ends. Root and Go are needed; without root they say so loudly, and under CI they fail.
//!
//! A harness of its own, because the cluster has to end after the last test, and libtest has no such moment.

mod application;
mod containers;
mod cure;
mod exit;
mod families;
mod fault;
mod install;
mod istio;
mod kinds;
mod kubectl;
mod manifests;
mod meshes;
mod modes;
mod nodes;
mod operate;
mod pods;
mod policy;
mod rights;
mod rollout;
mod seed;
mod shared;
mod sources;
mod stand_in;
mod workload;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use conngate_testbed::lab;
use libtest_mimic::{Arguments, Trial};

/// The trials of functions, each named as it is called here.
macro_rules! trials {
    ($($module:ident::$test:ident,)+) => {
        vec![$(trial(concat!(stringify!($module), "::", stringify!($test)), $module::$test)),+]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let trials = trials![
        exit::node_of_a_killed_owner_is_gone,
        exit::node_of_a_killed_keeper_is_removed_by_the_next_down,
        exit::unfinished_node_is_removed_by_down,
        exit::node_in_use_is_not_started_twice,
        world::node_has_its_own_name_network_and_files,
        world::outside_of_the_node_is_the_upstream,
        world::component_stopped_and_started_serves_again,
        pods::plain_pod_reaches_services_names_and_the_world,
        pods::conngate_image_runs_on_nothing_but_itself,
        pods::injected_pod_with_a_native_sidecar_becomes_ready_without_a_restart,
        fault::application_that_connects_at_once_is_refused_and_restarts,
        fault::proxy_of_a_paused_istiod_is_not_ready_until_it_is_resumed,
        cure::first_connection_succeeds_in_every_start,
        cure::first_connection_succeeds_in_every_start_beside_a_starved_agent,
        kinds::pod_with_a_native_sidecar_is_not_held,
        kinds::pod_without_a_sidecar_connects_at_once,
        kinds::pod_of_the_hosts_network_connects_at_once,
        kinds::job_with_a_native_sidecar_completes,
        kinds::static_pod_is_held,
        kinds::pod_deleted_in_mid_hold_ends_and_leaves_no_gate,
        istio::native_nftables_in_both_families_holds_until_the_proxy_is_ready,
        istio::application_that_istio_holds_until_the_proxy_starts_is_not_held_again,
        istio::pod_of_istio_cni_in_mode_retry_is_held_after_its_validation_has_listened,
        containers::init_container_is_refused_as_without_conngate,
        containers::two_applications_of_a_pod_are_both_held_until_the_proxy_is_ready,
        containers::container_that_is_not_named_is_not_held,
        containers::ephemeral_container_is_held_like_an_application,
        containers::restarted_application_is_held_again,
        modes::mode_retry_holds_while_nobody_listens,
        modes::mode_observe_holds_nothing,
        modes::bad_annotation_gates_nothing_and_is_an_event_on_the_pod,
        modes::timeout_release_lets_the_connection_meet_what_is_there,
        modes::timeout_reset_ends_the_connection_with_an_error,
        modes::mode_that_changes_on_a_running_pod_is_heeded,
        seed::jvm_that_asks_by_name_in_second_2_starts_at_the_first_try_though_istio_is_ready_after_second_16,
        meshes::kumas_pod_is_held_by_name_until_its_own_probe_says_ready,
        meshes::consuls_pod_is_held_by_name_until_envoys_admin_says_ready,
        meshes::linkerds_pod_is_held_until_its_probes_named_port_says_ready,
        meshes::pods_behind_rules_of_nf_tables_are_held_until_each_is_ready,
        meshes::linkerds_native_sidecar_is_ready_before_anything_is_held,
        meshes::daprs_pod_is_held_on_loopback_until_it_answers_204,
        manifests::chart_is_admitted_by_the_api_server_with_and_without_values,
        manifests::kustomizations_and_examples_are_admitted_by_the_api_server,
        manifests::namespace_of_the_agent_needs_the_level_privileged_and_no_more,
        policy::admission_policy_refuses_each_bad_value_and_admits_each_good_one,
        policy::namespace_and_selected_defaults_hold_and_explain_says_whose_word_it_is,
        rights::agent_has_the_capabilities_of_the_chart_and_no_others,
        rights::agents_account_has_the_rights_of_the_chart_and_no_others,
        rights::capability_that_is_missing_is_named_by_an_agent_that_does_all_else,
        rights::agent_that_may_not_load_programs_says_what_the_kernel_refuses_and_lives_on,
        rights::connection_is_held_and_goes_on_without_the_right_to_replay,
        rights::right_to_pods_that_is_missing_is_named_with_its_remedy,
        rights::right_to_events_that_is_missing_is_said_once_and_nothing_else_suffers,
        rights::right_to_namespaces_that_is_missing_is_named_and_annotated_pods_are_held,
        sources::kubelet_with_a_pinned_certificate_tells_of_pods_and_another_one_is_named,
        sources::kubelet_of_the_clusters_ca_tells_of_pods_and_without_the_right_says_which,
        sources::api_server_that_goes_and_comes_is_named_and_changes_nothing_for_known_pods,
        sources::api_server_that_goes_and_comes_beside_a_trusted_kubelet_only_degrades,
        sources::watch_whose_version_has_expired_is_begun_anew,
        sources::kubelet_and_containerd_started_anew_change_nothing_for_pods_and_new_ones_are_gated,
        operate::prometheus_scrapes_the_agent_its_rules_hold_and_every_panel_has_data,
        operate::command_line_answers_inside_of_the_daemon_set,
        operate::agents_port_is_the_loopbacks_alone_unless_somebody_else_is_to_ask,
        operate::helm_test_asks_every_agent,
        operate::log_at_its_usual_level_has_one_line_for_each_gate,
        operate::gate_that_times_out_says_on_the_pod_what_was_not_ready,
        kubectl::plugin_merges_the_answers_of_two_nodes_and_names_what_does_not_answer,
        kubectl::plugin_explains_reports_and_opens_a_held_pod_in_a_terminal,
        nodes::pods_of_a_tainted_node_wait_for_the_agent_and_none_is_refused,
        nodes::pods_that_are_there_before_the_agent_have_an_event_each,
        nodes::agents_account_takes_its_own_nodes_startup_taint_off_and_changes_nothing_else,
        nodes::node_that_starts_again_with_the_boot_unit_refuses_nothing,
        rollout::upgrade_in_mid_hold_refuses_nothing_and_the_new_agent_opens_the_gate,
        rollout::agent_killed_in_mid_hold_refuses_nothing_and_its_successor_opens_the_gate,
        rollout::uninstall_after_detach_on_exit_leaves_nothing_pinned,
        rollout::uninstall_leaves_pins_that_refuse_nothing_more_and_the_cleanup_removes_them,
    ];
    if arguments.list {
        println!("{} tests, 0 benchmarks", trials.len());
        libtest_mimic::run(&arguments, trials).exit();
    }
    // One machine of two cores under one cluster: side by side, tests would mostly slow each other down.
    arguments.test_threads.get_or_insert(1);
    let mut failed = false;
    let run = || {
        failed = libtest_mimic::run(&arguments, trials).has_failed();
        shared::end()
    };
    let outcome = if shared::is_attached() { lab::alone().and_then(|_alone| run()) } else { lab::run_openly(run) };
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    if failed || outcome.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The test `test`, reported as `name`.
fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || test().map_err(|error| format!("{error:?}").into()))
}
