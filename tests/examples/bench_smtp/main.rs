//! `cargo xtask bench smtp`: what the relay takes, beside Postfix in one run.
//!
//! Needs root: Postfix's master does, and the bench has a network of its own. Writes `smtp.json` and `smtp.svg`
//! into the folder that it is given, which should be on the disk that is to be measured.

#![forbid(unsafe_code)]

mod picture;
mod report;

use std::path::Path;

use anyhow::Result;
use relay::cli::tls;
use serde::Serialize;
use tests::contest::rounds::{self, Load};
use tests::contest::rows::ROWS;
use tests::contest::servers::{Memory, Servers, Start, Who};
use tests::contest::sink::Sink;
use tests::contest::{self, NAME};

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The kernel's release.
    pub kernel: String,
    /// CPUs, which generator and server share.
    pub cpus: usize,
    /// Postfix's version, if it is here.
    pub postfix: Option<String>,
    /// What the handshake of each server came to.
    pub tls: Vec<(&'static str, String)>,
    /// The loads.
    pub loads: Vec<Load>,
    /// Idle sessions.
    pub memory: Vec<Memory>,
    /// Our start with messages in the spool.
    pub start: Start,
}

fn main() -> Result<()> {
    let measured = contest::bench("smtp", measure, picture::draw)?;
    println!("{}", report::tables(&measured));
    Ok(())
}

/// Measures all, inside a network of its own.
fn measure(scratch: &Path) -> Result<Measured> {
    // A load with a connection for each message needs more ports than are usual.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65535")?;
    let made = tls::make(&[NAME.to_owned()])?;
    let program = tests::world::program()?;
    let mut servers = Servers::set(scratch, &program, &made)?;
    let _sink = Sink::start()?;
    let mut tls = Vec::new();
    for who in [Who::Sallyport, Who::Postfix] {
        tls.extend(servers.tls(who)?.map(|words| (who.name(), words)));
    }
    let loads = rounds::run(&mut servers, ROWS)?;
    eprintln!("bench: idle sessions, and a start");
    let memory = servers.memory()?;
    let start = servers.start()?;
    Ok(Measured {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism()?.get(),
        postfix: servers.version_of_postfix().map(str::to_owned),
        tls,
        loads,
        memory,
        start,
    })
}
