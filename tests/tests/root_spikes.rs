//! A flood, and logins that fail one after the other, are told with who it was and what to do.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{gate, session};
use relay::hosts::dial::send_syn;
use tests::forger::Forger;
use tests::misconduct::guess;
use tests::need;
use tests::world::World;

/// From the first SYN of a flood to the alert.
const SOON_MS: i64 = 1_000;
/// How long the flood lasts, and the pause between two SYNs of it.
const FLOOD: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(1);
/// Forged attempts in each look at the journal: a look each 10 ms makes several hundred a second, where the floor of a
/// window of ten seconds is six.
const FORGED: u16 = 5;

/// Waits for the line of the journal that tells of a spike.
fn line(stage: &Stage, class: &str) -> Result<String> {
    let wanted = format!("spike-opened class={class} ");
    wait_for(&wanted, || {
        let log = stage.log();
        log.lines().find(|line| line.contains(&wanted)).map(str::to_owned)
    })
    .with_context(|| stage.log())
}

#[test]
fn a_flood_is_told_within_a_second_of_its_first_syn_with_its_source_and_a_command() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let first = Timestamp::now();
    let begun = Instant::now();
    stage.world.within(|| -> std::io::Result<()> {
        while begun.elapsed() < FLOOD {
            send_syn(STRANGER, GUARDED)?;
            std::thread::sleep(PACE);
        }
        Ok(())
    })??;
    let line = line(stage, "spike-refused")?;
    let told: Timestamp =
        line.split(' ').next().context("no time")?.parse().context(line.clone())?;
    let took = told.as_millisecond() - first.as_millisecond();
    println!("the alert came {took} ms after the first SYN");
    ensure!((0..=SOON_MS).contains(&took), "{took} ms after the first SYN: {line}");
    ensure!(line.contains(&format!("{STRANGER}/32")), "its source is not named: {line}");
    ensure!(line.contains(&format!("command=\"sallyport explain {STRANGER}\"")), "{line}");
    ensure!(line.contains("unlisted_syn"), "no reason: {line}");
    ensure!(line.contains(&format!("sample=\"{STRANGER} to port 2525 by ")), "no frame: {line}");
    let status = gate(stage)?;
    let spikes = status["spikes"].as_array().context("no spikes in the status")?;
    ensure!(spikes.iter().any(|spike| spike["class"] == "spike-refused"), "{status}");
    Ok(())
}

#[test]
fn logins_that_fail_one_after_the_other_are_told_by_the_gate_though_only_the_relay_sees_them()
-> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    for round in 0..2 {
        guess(stage, CLIENT, round)?;
    }
    let line = line(stage, "logins-failed")?;
    ensure!(line.contains(&format!("{CLIENT}/32")), "its source is not named: {line}");
    ensure!(line.contains(&format!("command=\"sallyport ban add {CLIENT}\"")), "{line}");
    Ok(())
}

#[test]
fn attempts_in_the_name_of_listed_clients_are_told_and_keep_no_client_out() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let mut forger = Forger::at(stage)?;
    // The class has no rate before ten seconds are full.
    let line = wait_for("a spike of forged sources", || {
        forger.send(FORGED).ok()?;
        let log = stage.log();
        log.lines()
            .find(|line| line.contains("spike-opened class=spike-forged "))
            .map(str::to_owned)
    })
    .with_context(|| stage.log())?;
    ensure!(line.contains("command=\"sallyport "), "{line}");
    let told = wait_for("the alert at the relay", || {
        let listing = stage.listing(&["alert", "list"]).ok()?;
        let open = listing["open"].as_array()?;
        open.iter().find(|trouble| trouble["alert"]["class"] == "spike-forged").cloned()
    })?;
    ensure!(told["origin"] == "gate" && told["told"].is_string(), "{told}");
    session(stage, CLIENT)?.send(
        "a@example.net",
        "b@example.com",
        b"From: a@example.net\r\n\r\nhello\r\n",
    )?;
    Ok(())
}
