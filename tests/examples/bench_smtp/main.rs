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
mod rows;
mod scratch;
mod servers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use figures::Round;
use relay::cli::tls;
use relay::hosts::Host;
use rows::ROWS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use servers::{Servers, Who};

/// The name in the certificate that both servers show.
pub const NAME: &str = "relay.example.net";
/// The login of the clients.
pub const LOGIN: &str = "app";
/// The next hop of the loads that end there.
pub const SINK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2601);
/// How often every load runs for every server; they take turns.
const ROUNDS: usize = 3;

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

/// One load of one server.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Which.
    pub row: &'static str,
    /// Whose.
    pub server: &'static str,
    /// Each figure's median over the rounds.
    pub median: Round,
    /// The rounds.
    pub rounds: Vec<Round>,
}

/// What idle sessions take.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Whose.
    pub server: &'static str,
    /// How far they got.
    pub sessions: &'static str,
    /// How many there were.
    pub count: usize,
    /// The server before them, bytes.
    pub alone: u64,
    /// For each of them, bytes.
    pub each: f64,
}

/// Our start after a crash.
#[derive(Debug, Serialize)]
pub struct Start {
    /// Messages in the spool.
    pub messages: u64,
    /// Until a client could connect, milliseconds.
    pub ms: f64,
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
    let loads = loads(&mut servers)?;
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

/// Runs every load of every server once in every round.
fn loads(servers: &mut Servers) -> Result<Vec<Load>> {
    let mut loads: Vec<Load> = Vec::new();
    for number in 1..=ROUNDS {
        for row in ROWS {
            eprintln!("bench: round {number} of {ROUNDS}: {}", row.name);
            for who in Who::ALL {
                let Some(round) = servers.measure(who, row)? else { continue };
                let same = |load: &&mut Load| load.row == row.name && load.server == who.name();
                match loads.iter_mut().find(same) {
                    Some(load) => load.rounds.push(round),
                    None => loads.push(Load {
                        row: row.name,
                        server: who.name(),
                        median: Round::default(),
                        rounds: vec![round],
                    }),
                }
            }
        }
    }
    for load in &mut loads {
        load.median = Round::median_of(&load.rounds);
    }
    Ok(loads)
}

/// Postfix's `smtp-sink`: a next hop that takes everything at once and keeps nothing.
struct Sink(Child);

/// Where Debian puts it.
const SMTP_SINK: &str = "/usr/sbin/smtp-sink";

impl Sink {
    fn start() -> Result<Option<Self>> {
        if !Path::new(SMTP_SINK).exists() {
            return Ok(None);
        }
        let mut command = Command::new(SMTP_SINK);
        command.args(["-u", "nobody", &SINK.to_string(), "256"]);
        let sink = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Some(Self(sink)))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It is gone either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
