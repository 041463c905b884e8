//! `cargo xtask bench spool`: what the spool takes alone, behind a session, and with a million messages.
//!
//! Needs root: Postfix's master does, and the bench has a network of its own. Writes `spool.json` and
//! `spool.svg` into the folder that it is given, which should be on the disk that is to be measured.

#![forbid(unsafe_code)]

mod alone;
mod backlog;
mod picture;
mod report;

use std::path::Path;

use alone::{Appends, Flushes};
use anyhow::Result;
use backlog::Backlog;
use relay::cli::tls;
use serde::Serialize;
use tests::contest::rounds::{self, Load};
use tests::contest::rows::{PRODUCERS, ROWS, Row};
use tests::contest::servers::Servers;
use tests::contest::sink::Sink;
use tests::contest::{self, NAME};

/// The loads behind sessions: accepted and held, and all the way.
const SHOWN: [&str; 3] = ["10 reused connections", PRODUCERS, "end to end, 10 reused connections"];
/// Messages that wait at the start.
const WAITING: u64 = 1_000_000;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The kernel's release.
    pub kernel: String,
    /// CPUs, which producers, generator and servers share.
    pub cpus: usize,
    /// Postfix's version, if it is here.
    pub postfix: Option<String>,
    /// One write and flush, with nothing around it.
    pub flushes: Flushes,
    /// The spool alone.
    pub appends: Vec<Appends>,
    /// The start with a million messages.
    pub backlog: Backlog,
    /// Messages over sessions.
    pub loads: Vec<Load>,
}

fn main() -> Result<()> {
    let measured = contest::bench("spool", measure, picture::draw)?;
    println!("{}", report::tables(&measured));
    Ok(())
}

/// Measures all, inside a network of its own.
fn measure(scratch: &Path) -> Result<Measured> {
    let flushes = alone::flushes(scratch)?;
    let appends = alone::appends(&scratch.join("alone"))?;
    let made = tls::make(&[NAME.to_owned()])?;
    let program = tests::world::program()?;
    let mut servers = Servers::set(scratch, &program, &made)?;
    eprintln!("bench: a start with {WAITING} messages");
    let backlog = backlog::measure(&mut servers.product, WAITING)?;
    let _sink = Sink::start()?;
    let is_shown = |row: &&Row| SHOWN.contains(&row.name);
    let loads = rounds::run(&mut servers, ROWS.iter().filter(is_shown))?;
    Ok(Measured {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism()?.get(),
        postfix: servers.version_of_postfix().map(str::to_owned),
        flushes,
        appends,
        backlog,
        loads,
    })
}
