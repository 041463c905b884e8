//! `cargo xtask bench spool`: what the spool takes alone, behind a session, and with a million messages.
//!
//! Needs root: Postfix's master does, and the bench has a network of its own. Writes `spool.json` and
//! `spool.svg` into the folder that it is given, which should be on the disk that is to be measured.

#![forbid(unsafe_code)]

mod alone;
mod backlog;
mod picture;
mod report;

#[path = "../bench_smtp/client.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod client;
#[path = "../bench_smtp/figures.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod figures;
#[path = "../bench_smtp/load.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod load;
#[path = "../bench_smtp/postfix.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod postfix;
#[path = "../bench_smtp/process.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod process;
#[path = "../bench_smtp/product.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod product;
#[path = "../bench_smtp/rounds.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod rounds;
#[path = "../bench_smtp/rows.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod rows;
#[path = "../bench_smtp/scratch.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod scratch;
#[path = "../bench_smtp/servers.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod servers;
#[path = "../bench_smtp/sink.rs"]
#[allow(dead_code, reason = "the bench of the whole relay uses more of it")]
mod sink;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use alone::{Appends, Flushes};
use anyhow::{Context as _, Result, ensure};
use backlog::Backlog;
use relay::cli::tls;
use relay::hosts::Host;
use rounds::Load;
use rows::{PRODUCERS, ROWS, Row};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use servers::Servers;
use sink::Sink;

/// The name in the certificate that both servers show.
pub const NAME: &str = "relay.example.net";
/// The login of the clients.
pub const LOGIN: &str = "app";
/// The next hop of the loads that end there.
pub const SINK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2601);
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
    let folder = std::env::args_os().nth(1).context("usage: bench_spool FOLDER")?;
    let folder = Path::new(&folder);
    ensure!(rustix::process::geteuid().is_root(), "this needs root: run `cargo xtask bench spool`");
    std::fs::create_dir_all(folder)?;
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    let scratch = scratch::below(folder)?;
    let measured = Host::new()?.within(|| measure(scratch.path()))??;
    std::fs::write(folder.join("spool.json"), serde_json::to_string_pretty(&measured)?)?;
    std::fs::write(folder.join("spool.svg"), picture::draw(&measured))?;
    println!("{}", report::tables(&measured));
    println!("{} and spool.svg are written", folder.join("spool.json").display());
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
