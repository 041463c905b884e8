//! The firewalls that are compared on a wire, each with the same list.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use aya::programs::XdpMode;
use relay::gate::{Place, detach, load};
use relay_common::addr::{Family, Net};
use tests::frames::PORT;
use tests::measure::Measure;

use super::lists::{List, list, rules};
use super::packets::{Which, XdpFilter, hosts};
use super::wire::{CLIENT, Clients, Drops, GUARDED, Wires, nft};

/// The networks of the list: as many as xdp-filter has room for.
const NETWORKS: usize = 10_000;

/// Measures them one after the other; `bpf` is a BPF file system of this thread's own.
pub fn compare(bpf: &Path, seed: u64) -> Result<Vec<Drops>> {
    // The client takes one place.
    let List { mut nets, strangers, .. } = list(Family::V4, NETWORKS - 1, seed);
    nets.push(Net::from(IpAddr::from(CLIENT)));
    nets.sort();
    nets.dedup();
    let mut wires = Wires::join(&strangers)?;
    let mut drops = Vec::new();

    drops.push(wires.measure("none", Clients::Listed)?);
    for (name, table, hook) in [
        ("nftables, input hook", "inet", "type filter hook input priority filter;".to_owned()),
        (
            "nftables, netdev hook",
            "netdev",
            format!("type filter hook ingress device \"{GUARDED}\" priority 0;"),
        ),
    ] {
        nft(&wires.guarded, &rules_of_nft(table, &hook, &nets))?;
        drops.push(wires.measure(name, Clients::Listed)?);
        nft(&wires.guarded, "flush ruleset\n")?;
    }
    for (name, which, clients) in [
        ("xdp-filter by address", Which::Address, Clients::Listed),
        ("xdp-filter by port", Which::Port, Clients::Nobody),
    ] {
        let Some(mut filter) =
            XdpFilter::load(&bpf.join(format!("xdp-filter-{}", which as usize)))?
        else {
            continue;
        };
        filter.fill(&hosts(&nets))?;
        wires.guarded.within(|| filter.attach(which, GUARDED))??;
        drops.push(wires.measure(name, clients)?);
    }
    let mut wall = Measure::load()?;
    let program = wall.program("wall")?;
    wires.guarded.within(|| program.attach(GUARDED, XdpMode::Driver))??;
    drops.push(wires.measure("a program that drops all", Clients::Nobody)?);
    drop(wall);

    let place = Place { pins: bpf.join("on-the-wire"), group: None };
    let interfaces = [GUARDED.to_owned()];
    let attach = || load(&place)?.fill(&rules(&nets))?.attach(&interfaces);
    let gate = wires.guarded.within(attach)??;
    drops.push(wires.measure("sallyport", Clients::Listed)?);
    drop(gate);
    detach(&place.pins)?;
    Ok(drops)
}

fn rules_of_nft(table: &str, hook: &str, nets: &[Net]) -> String {
    let mut text = format!(
        "table {table} bench {{\n set listed {{ type ipv4_addr; flags interval; auto-merge; elements = {{ "
    );
    for net in nets {
        let _ = write!(text, "{}/{}, ", IpAddr::from(net.addr()), net.prefix());
    }
    let _ = write!(
        text,
        "}}\n }}\n chain gate {{ {hook}\n tcp dport {PORT} ip saddr != @listed drop\n }}\n}}\n"
    );
    text
}
