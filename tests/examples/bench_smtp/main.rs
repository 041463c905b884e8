//! `cargo xtask bench smtp`: what the relay takes, beside Postfix in one run.
//!
//! Needs root: Postfix's master does, and the bench has a network of its own. Writes `smtp.json` and `smtp.svg`
//! into the folder that it is given, which should be on the disk that is to be measured.

#![forbid(unsafe_code)]

mod client;
mod figures;
mod load;
mod picture;
mod postfix;
mod process;
mod product;
mod report;
mod rounds;
mod rows;
mod scratch;
mod servers;
mod sink;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls;
use relay::hosts::Host;
use rows::ROWS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use servers::{Servers, Who};
use sink::Sink;

pub use rounds::Load;
pub use servers::{Memory, Start};

/// The name in the certificate that both servers show.
pub const NAME: &str = "relay.example.net";
/// The login of the clients.
pub const LOGIN: &str = "app";
/// The next hop of the loads that end there.
pub const SINK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2601);
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
    let folder = std::env::args_os().nth(1).context("usage: bench_smtp FOLDER")?;
    let folder = Path::new(&folder);
    ensure!(rustix::process::geteuid().is_root(), "this needs root: run `cargo xtask bench smtp`");
    std::fs::create_dir_all(folder)?;
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    let scratch = scratch::below(folder)?;
    let measured = Host::new()?.within(|| measure(scratch.path()))??;
    std::fs::write(folder.join("smtp.json"), serde_json::to_string_pretty(&measured)?)?;
    std::fs::write(folder.join("smtp.svg"), picture::draw(&measured))?;
    println!("{}", report::tables(&measured));
    println!("{} and smtp.svg are written", folder.join("smtp.json").display());
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
