//! Clients that misbehave.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::client::{Client, Secured};
use relay::demo::stage::{GUARDED, NAME, Stage};
use relay::hosts::dial::connect;

/// How long a connection is waited for that must come, and an answer on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The failed logins that deserve a ban.
pub const FAILURES: usize = 20;
/// The names that they must be over.
const NAMES: usize = 5;

fn dialled(stage: &Stage, from: IpAddr) -> Result<TcpStream> {
    stage.world.within(|| connect(from, GUARDED, PATIENCE))?.context("connect")
}

/// Opens a session under TLS that does not log in.
///
/// # Errors
///
/// If there is no connection, or TLS fails.
pub fn stranger(stage: &Stage, from: IpAddr) -> Result<Secured> {
    Client::greet(dialled(stage, from)?)?.secure(NAME, &stage.ca)
}

/// Fails to log in so often over so many names that one failure more deserves a ban. Each has a session of
/// its own, since a session makes the next failure wait. `round` makes the names new ones.
///
/// # Errors
///
/// If a failure is answered with anything but 535.
pub fn guess(stage: &Stage, from: IpAddr, round: usize) -> Result<()> {
    for number in 0..FAILURES - 1 {
        let mut client = stranger(stage, from).with_context(|| format!("guess {number}"))?;
        fail(&mut client, round, number)?;
    }
    Ok(())
}

/// Fails to log in once.
///
/// # Errors
///
/// If that is answered with anything but 535.
pub fn fail(client: &mut Secured, round: usize, number: usize) -> Result<()> {
    match client.login(&format!("guess-{round}-{}", number % NAMES), "wrong") {
        Ok(()) => bail!("guess {number} of round {round} was right"),
        Err(refusal) => {
            let refusal = format!("{refusal:#}");
            ensure!(refusal.contains("got 535 "), "guess {number} of round {round}: {refusal}");
            Ok(())
        }
    }
}

/// Speaks HTTP on a connection of its own, and returns what was answered.
///
/// # Errors
///
/// If there is no connection, or no end of it.
pub fn speak_http(stage: &Stage, from: IpAddr) -> Result<String> {
    let mut stream = dialled(stage, from)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: relay.example.net\r\n\r\n")?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
