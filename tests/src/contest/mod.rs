//! The relay and Postfix under the same load, in one run: what the benches of the whole relay and of its spool share.
//!
//! ```text
//! client    one client of either server       product   our server: started, measured, ended
//! load      clients at work, and what it took  postfix   the other one
//! rows      the loads                          servers   both, and what they cost
//! rounds    loads in turns, their medians      sink      the next hop of what is delivered
//! figures   rates and percentiles              process   time and memory of a process
//! scratch   a folder on the disk to be measured
//! ```

pub mod client;
pub mod figures;
pub mod load;
pub mod postfix;
pub mod process;
pub mod product;
pub mod rounds;
pub mod rows;
pub mod scratch;
pub mod servers;
pub mod sink;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use relay::hosts::Host;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// The name in the certificate that both servers show.
pub const NAME: &str = "relay.example.net";
/// The login of the clients.
pub const LOGIN: &str = "app";
/// The next hop of the loads that end there.
pub const SINK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2601);

/// Runs `measure` in a network of its own, below the folder that the program was called with, and writes what came
/// of it there: `NAME.json` and the picture `NAME.svg`. Returns what was measured.
///
/// # Errors
///
/// Without a folder, without root, and with what failed.
pub fn bench<M: Serialize + Send>(
    name: &str,
    measure: impl FnOnce(&Path) -> Result<M> + Send,
    draw: impl FnOnce(&M) -> String,
) -> Result<M> {
    let folder = std::env::args_os().nth(1).context("usage: bench FOLDER")?;
    let folder = Path::new(&folder);
    let root = rustix::process::geteuid().is_root();
    ensure!(root, "this needs root: run `cargo xtask bench {name}`");
    std::fs::create_dir_all(folder)?;
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    let scratch = scratch::below(folder)?;
    let measured = Host::new()?.within(|| measure(scratch.path()))??;
    let json = folder.join(format!("{name}.json"));
    std::fs::write(&json, serde_json::to_string_pretty(&measured)?)?;
    std::fs::write(folder.join(format!("{name}.svg")), draw(&measured))?;
    eprintln!("bench: {} and {name}.svg are written", json.display());
    Ok(measured)
}
