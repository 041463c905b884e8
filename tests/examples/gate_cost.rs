//! What a frame costs in the gate, beside an empty XDP program in the same run.
//!
//! `cargo run -p tests --example gate_cost --release`, as root. The kernel runs each program over each frame
//! many times (BPF_PROG_TEST_RUN) in rounds that take turns; shown is the median of the rounds. The tables
//! hold ten networks. Every run of a frame finds warm caches: a flood of changing sources costs more.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use relay::gate::{Entry, EntryPoint, Filled, Place, Ruleset, load};
use relay::hosts::private_bpf;
use relay_common::addr::Net;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::EntryId;
use tests::frames;

const ROUNDS: usize = 11;
const REPEATS: u32 = 1_000_000;
/// What is measured: a row's name, a written frame, and the entry point that it runs through.
const ROWS: [(&str, &str, EntryPoint); 9] = [
    ("empty program", "ipv4/syn", EntryPoint::Empty),
    ("unrelated: UDP", "ipv4/udp-to-the-port", EntryPoint::Gate),
    ("unrelated: TCP to another port", "ipv4/syn-to-another-port", EntryPoint::Gate),
    ("refused SYN, IPv4", "ipv4/syn", EntryPoint::Gate),
    ("refused SYN, IPv6", "ipv6/syn", EntryPoint::Gate),
    ("refused SYN behind two tags", "tags/priority-tags-2", EntryPoint::Gate),
    ("refused SYN behind one header", "ipv6/destination-options-1", EntryPoint::Gate),
    ("refused SYN behind a hundred", "ipv6/destination-options-100", EntryPoint::Gate),
    ("later fragment", "fragments/later-at-8", EntryPoint::Gate),
];

fn main() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "BPF_PROG_TEST_RUN needs root");
    let folder = tempfile::tempdir()?;
    let bpf = folder.path().join("bpf");
    let _mounted = private_bpf(&bpf)?;
    let mut gate =
        load(&Place { pins: bpf.join("sallyport"), group: None })?.fill(&ten_networks()?)?;

    for point in [EntryPoint::Empty, EntryPoint::Gate, EntryPoint::Explain] {
        let verified = gate.verified_instructions(point)?;
        let verified = verified.map_or("unknown".to_owned(), |count| count.to_string());
        println!("{:<8} {verified:>8} instructions verified", point.name());
    }
    let corpus = frames::all()?;
    let frame = |name: &'static str| corpus.iter().find(|frame| frame.name == name).context(name);
    let mut times = vec![Vec::new(); ROWS.len()];
    for _ in 0..ROUNDS {
        for ((_, name, point), times) in ROWS.iter().zip(&mut times) {
            times.push(nanoseconds(&mut gate, *point, &frame(name)?.bytes)?);
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    println!("\n{:<32} {:>8} {:>8} {:>8}", "frame", "ns", "net ns", "ratio");
    for ((row, _, _), ns) in ROWS.iter().zip(&medians) {
        println!("{row:<32} {ns:>8.1} {:>8.1} {:>8.2}", ns - medians[0], ns / medians[0]);
    }
    Ok(())
}

/// Ten networks, none of which holds a source of the written frames.
fn ten_networks() -> Result<Ruleset> {
    let entry = |id: u8| -> Result<Entry> {
        let net = Net::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, id * 16)), 28)?;
        Ok(Entry {
            net,
            id: EntryId(u32::from(id)),
            tag: None,
            rate: None,
            source_rate: None,
            until_ns: None,
        })
    };
    Ok(Ruleset {
        ports: vec![frames::PORT],
        scope: Scope::EverySegment,
        own_host: OwnHost::Admitted,
        entries: (0..10).map(entry).collect::<Result<_>>()?,
        bans: Vec::new(),
    })
}

/// Returns the mean time of a run in nanoseconds. The kernel tells whole ones, so it is asked ten times.
fn nanoseconds(gate: &mut Filled, point: EntryPoint, frame: &[u8]) -> Result<f64> {
    let mut sum = 0.0;
    for _ in 0..10 {
        sum += gate.run(point, frame, REPEATS / 10)?.mean.as_secs_f64();
    }
    Ok(sum / 10.0 * 1e9)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
