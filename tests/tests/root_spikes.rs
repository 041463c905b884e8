//! A flood, and logins that fail one after the other, are told with who it was and what to do.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{gate, session};
use relay::hosts::dial::{connect, send_syn};
use tests::forger::Forger;
use tests::misconduct::guess;
use tests::need;
use tests::world::World;

/// From the first SYN of a flood to the alert.
const SOON_MS: i64 = 1_000;
/// How long the flood lasts, and the pause between two SYNs of it.
const FLOOD: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(1);
/// Forged attempts in each look at the journal: a look each 10 ms makes several hundred a second, where the floor is
/// twenty.
const FORGED: u16 = 5;
/// The attempts of strangers in each look, each in another's name: the kernel looks at the source of one of sixteen.
const SCATTERED: u16 = 50;
/// The connections of a client in a rush, one after the other, and how long one may take.
const RUSH: u32 = 8_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for the line of the journal that tells of a spike, doing something at each look.
fn line_amid(stage: &Stage, class: &str, mut does: impl FnMut() -> Option<()>) -> Result<String> {
    let wanted = format!("spike-opened class={class} ");
    wait_for(&wanted, || {
        does()?;
        let log = stage.log();
        log.lines().find(|line| line.contains(&wanted)).map(str::to_owned)
    })
    .with_context(|| stage.log())
}

fn line(stage: &Stage, class: &str) -> Result<String> {
    line_amid(stage, class, || Some(()))
}

/// Waits until the gate has watched for some seconds: a window has no rate before it is full.
fn watched(stage: &Stage) -> Result<()> {
    wait_for("a gate that watches", || {
        let log = stage.log();
        let since: Timestamp = log.split(' ').next()?.parse().ok()?;
        (Timestamp::now().as_millisecond() - since.as_millisecond() > 3_000).then_some(())
    })
}

/// Waits for the alert of a flood, which goes on at each look, at a gate that has watched for some seconds. It must
/// show in the window of a second: in ten seconds it would show too, and later.
fn flood_line(stage: &Stage, class: &str, mut flood: impl FnMut() -> Result<()>) -> Result<String> {
    watched(stage)?;
    let first = Timestamp::now();
    let line = line_amid(stage, class, || flood().ok())?;
    took(&line, first)?;
    ensure!(line.contains(" window-seconds=1 "), "{line}");
    Ok(line)
}

/// Returns how long after the first SYN a line was written, milliseconds.
fn took(line: &str, first: Timestamp) -> Result<i64> {
    let told: Timestamp =
        line.split(' ').next().context("no time")?.parse().context(line.to_owned())?;
    let took = told.as_millisecond() - first.as_millisecond();
    println!("the alert came {took} ms after the first SYN");
    Ok(took)
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
    let took = took(&line, first)?;
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
    ensure!(line.contains(&format!("command=\"sallyport explain {CLIENT}\"")), "{line}");
    ensure!(line.contains("reasons={\"unknown_login\":"), "no reason: {line}");
    ensure!(line.contains(&format!("sample=\"{CLIENT}")), "no sample: {line}");
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
    let line = flood_line(stage, "spike-forged", || forger.send(FORGED))?;
    ensure!(line.contains("command=\"sallyport doctor --from "), "{line}");
    ensure!(line.contains("\"reason\":\"no_handshake\""), "nobody is named: {line}");
    ensure!(line.contains("reasons={\"admitted\":"), "no reason: {line}");
    ensure!(line.contains(", admitted\""), "no frame: {line}");
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

#[test]
fn a_rush_of_a_client_that_the_relay_accepts_late_is_no_forgery() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    watched(stage)?;
    stage.world.within(|| -> std::io::Result<()> {
        for _ in 0..RUSH {
            connect(CLIENT, GUARDED, PATIENCE)?;
        }
        Ok(())
    })??;
    line(stage, "spike-entry")?;
    // Who comes last is greeted when all before him were accepted.
    session(stage, CLIENT)?;
    let log = stage.log();
    ensure!(!log.contains("class=spike-forged"), "{log}");
    Ok(())
}

#[test]
fn a_flood_from_many_places_is_told_as_one_by_the_window_of_a_second() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let mut forger = Forger::at(stage)?;
    flood_line(stage, "spike-sources", || forger.send_as_strangers(SCATTERED)).map(drop)
}
