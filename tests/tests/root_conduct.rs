//! Misconduct seen by the relay becomes a ban in the kernel.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{attempt, session};
use relay::hosts::dial::Answer;
use tests::misconduct::{FAILURES, fail, guess, speak_http, stranger};
use tests::need;
use tests::world::World;

/// A client with an entry of its own, as [`STRANGER`] gets one.
const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 98));
/// How long silence is waited for: one retransmission of a SYN.
const SILENCE: Duration = Duration::from_millis(1_200);
/// How long a connection is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets a world in which [`STRANGER`] and [`NEIGHBOUR`] have entries of a single address, and [`CLIENT`] is
/// in 192.0.2.0/28.
fn world() -> Result<World> {
    let world = World::serving()?;
    world.stage.world.address("wire0", IpNetwork::new(NEIGHBOUR, 24)?)?;
    let (one, other) = (STRANGER.to_string(), NEIGHBOUR.to_string());
    world.stage.command(&["allow", "add", &one, &other, "--tag", "demo"])?;
    Ok(world)
}

/// Waits until somebody is banned, and returns all bans.
fn bans(stage: &Stage) -> Result<serde_json::Value> {
    wait_for("a ban", || {
        let bans = stage.listing(&["ban", "list"]).ok()?;
        bans.as_array().is_some_and(|bans| !bans.is_empty()).then_some(bans)
    })
    .with_context(|| stage.log())
}

fn only(bans: &serde_json::Value) -> Result<&serde_json::Value> {
    let all = bans.as_array().context("no list")?;
    ensure!(all.len() == 1, "{} are banned: {bans}", all.len());
    ensure!(all[0]["cidr"] == format!("{STRANGER}/32"), "{bans}");
    Ok(&all[0])
}

#[test]
fn who_guesses_passwords_from_an_address_of_his_own_meets_silence_and_nobody_else_does()
-> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = world()?;
    let stage = &world.stage;
    let mut open = stranger(stage, STRANGER)?;
    let _trusted = session(stage, NEIGHBOUR)?;
    // Whoever is not to be banned comes first: bans are asked for one after the other.
    for from in [CLIENT, NEIGHBOUR, STRANGER] {
        guess(stage, from, 0)?;
        // The ban may cut the session before this failure is answered.
        let _ = fail(&mut stranger(stage, from)?, 0, FAILURES);
    }
    let bans = bans(stage)?;
    let note = "20 failed logins over 5 names in 10 minutes";
    assert_eq!(only(&bans)?["note"], note, "{bans}");
    assert_eq!(attempt(stage, STRANGER, GUARDED, SILENCE)?, Answer::Silence);
    assert!(open.last_words()?.starts_with("421 "), "its open session ends");
    for from in [CLIENT, NEIGHBOUR] {
        assert_eq!(attempt(stage, from, GUARDED, PATIENCE)?, Answer::Connected, "{from}");
    }
    let audit = stage.command(&["audit"])?;
    let line =
        audit.lines().find(|line| line.contains("ban add")).context("no ban in the audit")?;
    assert!(line.contains("nobody") && line.contains(note), "{line}");
    let log = stage.log();
    assert_eq!(log.matches("offender").count(), 1, "{log}");
    Ok(())
}

#[test]
fn who_speaks_http_from_an_address_of_his_own_is_slowed_down_and_meets_silence() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = world()?;
    let stage = &world.stage;
    for from in [CLIENT, STRANGER] {
        let first = speak_http(stage, from)?;
        assert!(first.starts_with("220 ") || first.starts_with("554 "), "{first}");
        // From now on the greeting is late, so that the request is early.
        for _ in 1..FAILURES - 1 {
            let said = speak_http(stage, from)?;
            assert!(said.starts_with("554 "), "{said}");
        }
        // The last one may be cut.
        let _ = speak_http(stage, from);
    }
    let bans = bans(stage)?;
    let note = only(&bans)?["note"].as_str().context("no note")?;
    assert!(note.starts_with("20 offences in 10 minutes: "), "{note}");
    assert!(note.contains("early talk"), "{note}");
    assert_eq!(attempt(stage, STRANGER, GUARDED, SILENCE)?, Answer::Silence);
    assert_eq!(attempt(stage, CLIENT, GUARDED, PATIENCE)?, Answer::Connected);
    Ok(())
}
