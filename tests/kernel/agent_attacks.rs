//! A hostile pod beside a victim: whatever an ordinary user does in a pod, it harms that pod alone.
//!
//! The law, of every attack: the victim's connection is not accepted before its proxy has said 200, and is made then; the
//! heartbeat is never older than a second; /healthz answers throughout. The agent has no more descriptors than a container.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Result;
use conngate_testbed::{
    lab::{
        self, Agent, Node, Pod,
        redirect::CAPTURE_PORT,
        siege::{Attack, DESTINATION, Siege, Victim},
        upstream::raise_file_limit,
        wait::patience,
        wait_until,
    },
    report::CONNECTED,
};

use crate::{
    agent_crowded::{DESCRIPTORS, limit_descriptors},
    agent_world::PATIENCE,
};

/// An application's, which is not root.
const USER: u32 = 1_000;

/// The law, under `attack`, when `is_felt`.
fn assert_harmless(attack: Attack, is_felt: impl FnOnce(&mut Siege<'_>) -> Result<()> + Send) -> Result<()> {
    lab::run(|| {
        raise_file_limit()?;
        let node = Node::new()?;
        let homes = [Pod::alone()?, Pod::alone()?];
        let mut siege = Siege::quiet(&node, &homes[1..])?;
        limit_descriptors(&siege.agent, Some(DESCRIPTORS))?;
        if let Some(lack) = siege.attack(&node, &homes[0], attack)? {
            writeln!(io::stderr(), "LEFT OUT: the attack {}: {lack}", attack.name())?;
            return Ok(());
        }
        is_felt(&mut siege)?;
        for victim in siege.victims.drain(..) {
            assert_released(victim)?;
        }
        let watched = siege.end()?;
        assert!(watched.healthz.iter().all(|asked| asked.is_healthy), "{watched:?}");
        assert!(watched.oldest < patience(Duration::from_secs(1)), "the heartbeat was silent for {:?}", watched.oldest);
        Ok(())
    })
}

fn assert_released(victim: Victim<'_>) -> Result<()> {
    let release = victim.release()?;
    assert_eq!((release.early, release.connection.outcome.as_str()), (0, CONNECTED), "{release:?}");
    Ok(())
}

/// Not all of the hostile pod's SYNs could be replayed after its gate's timeout.
fn replays_fail(siege: &mut Siege<'_>) -> Result<()> {
    wait_until(PATIENCE, "replays fail", || {
        let failed = siege
            .agent
            .logged_as(|event| event["message"] == "replayed" && event["sent"].as_u64() < event["of"].as_u64());
        (!failed.is_empty()).then_some(())
    })
}

#[test]
fn agent_pod_whose_rules_reject_all_but_its_own_user_is_released_as_that_user() -> Result<()> {
    for target in ["REJECT", "REJECT --reject-with tcp-reset"] {
        lab::run(|| {
            let (node, home) = (Node::new()?, Pod::alone()?);
            let rule =
                format!("-A OUTPUT -p tcp --syn -d 127.0.0.1 --dport {CAPTURE_PORT} -m owner ! --uid-owner {USER}");
            home.iptables(&format!("{rule} -j {target}"))?;
            let agent = Agent::start(&node, &[])?;
            let victim = Victim::new(&node, &home, |app| app.connect_as(USER, DESTINATION, &["--no-greeting"]))?;
            agent.wait_for("connection held", 1)?;
            assert_released(victim)
        })?;
    }
    Ok(())
}

#[test]
fn agent_pod_with_a_token_bucket_on_its_loopback_harms_no_other() -> Result<()> {
    assert_harmless(Attack::Tbf, replays_fail)
}

#[test]
fn agent_pod_with_a_slow_loopback_harms_no_other() -> Result<()> {
    assert_harmless(Attack::Netem, replays_fail)
}

#[test]
fn agent_pod_with_twenty_thousand_rules_of_nf_tables_harms_no_other() -> Result<()> {
    assert_harmless(Attack::Nft, replays_fail)
}

#[test]
fn agent_pod_with_twenty_thousand_rules_of_ip_tables_harms_no_other() -> Result<()> {
    assert_harmless(Attack::Iptables, replays_fail)
}

#[test]
fn agent_thousand_connections_of_a_container_without_a_main_thread_harm_no_other() -> Result<()> {
    assert_harmless(Attack::MainThread, |siege| siege.agent.wait_for("connection held", 1_001).map(drop))
}

#[test]
fn agent_thousands_of_connections_of_an_exempt_container_harm_no_other() -> Result<()> {
    assert_harmless(Attack::Exempt, |siege| siege.wait_ended())
}

#[test]
fn agent_thousands_of_connections_of_a_container_that_cannot_be_told_apart_harm_no_other() -> Result<()> {
    assert_harmless(Attack::Untold, |siege| siege.wait_ended())
}

#[test]
fn agent_hundreds_of_namespaces_with_held_connections_harm_no_other() -> Result<()> {
    assert_harmless(Attack::Namespaces, |siege| siege.agent.wait_for("connection held", 401).map(drop))
}

#[test]
fn agent_floods_of_listeners_of_a_pod_with_regate_harm_no_other() -> Result<()> {
    assert_harmless(Attack::Flood, |siege| siege.wait_ended())
}
