//! `cargo xtask bench gate`: what the gate costs, beside others in one run.
//!
//! Needs root. Writes `gate.json` and `gate.svg` into the folder that it is given.

#![forbid(unsafe_code)]

mod exchange;
mod firewalls;
mod lists;
mod packets;
mod picture;
mod report;
mod wire;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use exchange::{Exchange, Operating};
use packets::{Cost, XdpFilter};
use relay::gate::{Filled, Place, load};
use relay::hosts::private_bpf;
use relay_common::addr::Family;
use serde::Serialize;
use tests::measure::Measure;
use wire::Drops;

/// The sizes of lists.
const SIZES: [usize; 5] = [10, 1_000, 10_000, 100_000, 1_000_000];
/// As many single addresses as xdp-filter has room for.
const XDP_FILTER_MAX: usize = 10_000;
const SEED: u64 = 2525;

/// All that was measured.
#[derive(Debug, Serialize)]
struct Measured {
    kernel: String,
    cpus: usize,
    packets: Vec<Cost>,
    lists: Vec<Exchange>,
    /// The memory of the gate's tables but for the lists themselves.
    tables_bytes: u64,
    operators: Operating,
    wire: Vec<Drops>,
}

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: bench_gate FOLDER")?;
    let folder = Path::new(&folder);
    ensure!(rustix::process::geteuid().is_root(), "this needs root: run `cargo xtask bench gate`");
    let scratch = tempfile::tempdir()?;
    let bpf = scratch.path().join("bpf");
    let _mounted = private_bpf(&bpf)?;
    let place = Place { pins: bpf.join("sallyport"), group: None };
    let mut gate = load(&place)?.fill(&lists::rules(&[]))?;
    let tables_bytes = locked_by_maps()?.saturating_sub(u64::try_from(gate.list_bytes())?);
    let (packets, lists) = of_lists(&bpf, &mut gate)?;
    drop(gate);
    let wire = firewalls::compare(&bpf, SEED)?;
    eprintln!("bench: what operators wait for");
    let operators = exchange::of_operators()?;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism()?.get();
    let measured = Measured { kernel, cpus, packets, lists, tables_bytes, operators, wire };
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("gate.json"), serde_json::to_string_pretty(&measured)?)?;
    std::fs::write(folder.join("gate.svg"), picture::draw(&measured))?;
    println!("{}", report::tables(&measured));
    println!("{} and gate.svg are written", folder.join("gate.json").display());
    Ok(())
}

/// Measures lists of all sizes, of both families, and what lies beside them in the same run.
fn of_lists(bpf: &Path, gate: &mut Filled) -> Result<(Vec<Cost>, Vec<Exchange>)> {
    let (mut costs, mut exchanges) = (Vec::new(), Vec::new());
    for family in [Family::V4, Family::V6] {
        for size in SIZES {
            eprintln!("bench: a list of {size} networks of {family:?}");
            let list = lists::list(family, size, SEED);
            let mut measure = Measure::load()?;
            exchanges.push(exchange::of_list(&mut measure, gate, family, &list)?);
            costs.extend(packets::of_list(&mut measure, gate, family, &list)?);
            if family == Family::V6 || size > XDP_FILTER_MAX {
                continue;
            }
            if size == XDP_FILTER_MAX {
                costs.extend(packets::of_shapes(&mut measure, gate, &list)?);
            }
            match XdpFilter::load(&bpf.join(format!("xdp-filter-{size}")))? {
                Some(mut filter) => {
                    costs.extend(packets::of_xdp_filter(&mut measure, &mut filter, &list)?);
                }
                None => eprintln!("bench: xdp-filter is not here (Debian's xdp-tools)"),
            }
        }
    }
    Ok((costs, exchanges))
}

/// Returns the memory that the maps take which this process holds, bytes.
fn locked_by_maps() -> Result<u64> {
    let mut sum = 0;
    for descriptor in std::fs::read_dir("/proc/self/fdinfo")? {
        // One is that of the folder itself, which is gone.
        let Ok(text) = std::fs::read_to_string(descriptor?.path()) else { continue };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(_), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            sum += bytes.trim().parse::<u64>()?;
        }
    }
    Ok(sum)
}
