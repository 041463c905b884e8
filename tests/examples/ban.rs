//! How long it takes from the failed login that deserves a ban to the first SYN that is dropped.
//!
//! `SALLYPORT_BIN=target/release/sallyport target/release/examples/ban [ROUNDS]`, as root. The real product in
//! network namespaces; the clock begins when the client reads the answer to its failure, or when it sends it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{GUARDED, STRANGER, Stage};
use relay::hosts::dial::{Answer, dial};
use tests::misconduct::{FAILURES, fail, guess, stranger};
use tests::world::World;

/// How long a SYN is waited for: a SYN-ACK comes within a hundredth of that.
const SILENCE: Duration = Duration::from_millis(200);
/// How long the drop may take at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// The rounds if nobody says otherwise.
const ROUNDS: usize = 20;

/// Two times of one round.
#[derive(Clone, Copy)]
struct Times {
    since_reply: Duration,
    since_command: Duration,
}

fn round(stage: &Stage, number: usize) -> Result<Times> {
    guess(stage, STRANGER, number)?;
    let mut client = stranger(stage, STRANGER)?;
    let sent = Instant::now();
    // The ban may cut the session before the failure is answered.
    let _ = fail(&mut client, number, FAILURES);
    let replied = Instant::now();
    loop {
        let begin = Instant::now();
        ensure!(begin - replied < PATIENCE, "round {number}: no drop");
        let answer = stage.world.within(|| dial(STRANGER, GUARDED, SILENCE))??;
        if answer == Answer::Silence {
            let (since_reply, since_command) = (begin - replied, begin - sent);
            stage.command(&["ban", "remove", &STRANGER.to_string()])?;
            return Ok(Times { since_reply, since_command });
        }
    }
}

fn report(what: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort();
    let last = times.len().checked_sub(1).context("no rounds")?;
    let at = |hundredths: usize| times[(last * hundredths).div_ceil(100)].as_secs_f64() * 1e3;
    println!(
        "{what}: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, of {} rounds",
        at(50),
        at(90),
        at(99),
        times.len()
    );
    Ok(())
}

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let world = World::serving()?;
    world.stage.command(&["allow", "add", &STRANGER.to_string(), "--tag", "demo"])?;
    let mut all = Vec::new();
    for number in 0..rounds {
        all.push(round(&world.stage, number).with_context(|| world.stage.log())?);
    }
    report(
        "reply to the failed login -> first SYN dropped",
        all.iter().map(|t| t.since_reply).collect(),
    )?;
    report(
        "the failed login sent -> first SYN dropped",
        all.iter().map(|t| t.since_command).collect(),
    )
}
