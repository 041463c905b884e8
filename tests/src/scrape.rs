//! A product that tells its metrics, and a scraper.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result};
use relay::demo::stage::Stage;
use relay::hosts::Host;

use crate::world::World;

/// Sets a world whose relay tells its metrics, with series of their own for so many `entries`, and starts it.
///
/// # Errors
///
/// If it cannot be set, or does not start.
pub fn telling(entries: usize) -> Result<World> {
    let mut world = World::set()?;
    let file = world.folder.path().join("sallyport.toml");
    let text = fs::read_to_string(&file)?;
    // The host of the world is its own: nobody else has the port.
    let metrics = format!("[metrics]\naddress = \"127.0.0.1:9525\"\nentries = {entries}\n");
    fs::write(&file, text + &metrics)?;
    world.stage.start()?;
    Ok(world)
}

/// Asks the relay for a page; returns its head and its text.
///
/// # Errors
///
/// If it does not answer.
pub fn page(stage: &Stage, path: &str) -> Result<(String, String)> {
    page_of(&stage.relay, path)
}

/// Asks the relay on a host for a page, as [`page`] does.
///
/// # Errors
///
/// If it does not answer.
pub fn page_of(host: &Host, path: &str) -> Result<(String, String)> {
    let mut stream = host.within(|| TcpStream::connect("127.0.0.1:9525"))??;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok((head.to_owned(), text.to_owned()))
}

/// Makes so many single addresses, at most 2^24, the allowlist.
///
/// # Errors
///
/// If the list is refused.
pub fn list(world: &World, networks: u32) -> Result<()> {
    let mut list = String::new();
    for number in 0..networks {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(list, "10.{a}.{b}.{c}")?;
    }
    let file = world.folder.path().join("list");
    fs::write(&file, list)?;
    world.stage.command(&["allow", "apply", &file.display().to_string(), "--force"])?;
    Ok(())
}
