//! What a frame costs, of many kinds, over lists of many sizes, beside others in the same run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::{ProgramFd, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use relay::gate::{EntryPoint, Filled};
use relay::selftest::craft::{ACK, DESTINATION, Ends, PLAIN, Segment, V4, V6};
use relay_common::addr::{Family, Net};
use serde::Serialize;
use tests::frames::PORT;
use tests::measure::{Kind, Measure};

use super::lists::List;

/// Rounds that take turns, so that what else the machine does falls on all alike; the mean of the middle third
/// counts, which is finer than the kernel's whole nanoseconds.
const ROUNDS: usize = 15;
const REPEATS: u32 = 200_000;

/// What one row is about.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Whose program.
    pub program: String,
    /// What kind of frame.
    pub frame: String,
    /// How many networks the list has.
    pub networks: usize,
    /// Nanoseconds of a run with the frame's source exchanged before it.
    pub ns: f64,
    /// The same without what a program costs that passes everything.
    pub net_ns: f64,
}

/// A program, a frame and its sources.
struct Row {
    program: &'static str,
    name: &'static str,
    kind: Kind,
    frame: Vec<u8>,
    sources: Vec<IpAddr>,
    /// The action that is expected.
    action: u32,
}

const DROP: u32 = 1;
const PASS: u32 = 2;

/// The frames of the gate that are measured with a list, the plain ones.
pub fn of_list(
    measure: &mut Measure,
    gate: &mut Filled,
    family: Family,
    list: &List,
) -> Result<Vec<Cost>> {
    let syn = plain(family, &ends(PORT), &PLAIN);
    let ack = plain(family, &ends(PORT), &Segment { flags: ACK, ..PLAIN });
    let (refused, admitted, segment) = match family {
        Family::V4 => ("refused SYN, IPv4", "admitted SYN, IPv4", "listed segment, IPv4"),
        Family::V6 => ("refused SYN, IPv6", "admitted SYN, IPv6", "listed segment, IPv6"),
    };
    let row = |program, name, frame: &Vec<u8>, action| Row {
        program,
        name,
        kind: Kind::Pieces,
        frame: frame.clone(),
        sources: if action == DROP { &list.strangers } else { &list.listed }.clone(),
        action,
    };
    let rows = [
        row("sallyport", refused, &syn, DROP),
        row("sallyport", admitted, &syn, PASS),
        row("sallyport", segment, &ack, PASS),
        row("trie", refused, &syn, DROP),
        row("trie", admitted, &syn, PASS),
    ];
    let programs = BTreeMap::from([
        ("sallyport", gate.program(EntryPoint::Gate)?.try_clone()?),
        ("trie", measure.program("trie")?.fd()?.try_clone()?),
    ]);
    measured(measure, &programs, &rows, list.nets.len())
}

/// Frames that no list is asked about, and those that are hard to read.
pub fn of_shapes(measure: &mut Measure, gate: &mut Filled, list: &List) -> Result<Vec<Cost>> {
    let v4 = |make: &dyn Fn(&Ends) -> Vec<u8>| make(&ends(PORT));
    let fragment = V4 { fragment: 0x2000, ..V4 };
    let whole = |ends: &Ends| Segment { data: &[0; 40], ..PLAIN }.over_v4(ends);
    let chain = |length: usize| {
        let options: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
        let chain = vec![(DESTINATION, options); length];
        V6 { chain: &chain, ..V6 }.frame(&ends(PORT), &PLAIN.over_v6(&ends(PORT)))
    };
    let v6_strangers: Vec<IpAddr> =
        (0..4_096_u128).map(|n| Ipv6Addr::from(0x2001_0db8_u128 << 96 | n << 64).into()).collect();
    let row = |name, frame, sources: &[IpAddr], action| Row {
        program: "sallyport",
        name,
        kind: Kind::Pieces,
        frame,
        sources: sources.to_vec(),
        action,
    };
    let rows = [
        row(
            "unrelated UDP",
            v4(&|ends| V4 { protocol: 17, ..V4 }.frame(ends, &[0; 64])),
            &list.strangers,
            PASS,
        ),
        row(
            "unrelated TCP",
            v4(&|_| V4.frame(&ends(443), &PLAIN.over_v4(&ends(443)))),
            &list.strangers,
            PASS,
        ),
        row(
            "first fragment",
            v4(&|ends| fragment.frame(ends, &whole(ends)[..24])),
            &list.strangers,
            DROP,
        ),
        row(
            "later fragment",
            v4(&|ends| V4 { fragment: 3, ..V4 }.frame(ends, &whole(ends)[24..])),
            &list.strangers,
            PASS,
        ),
        row("IPv6 behind 1 header", chain(1), &v6_strangers, DROP),
        row("IPv6 behind 8 headers", chain(8), &v6_strangers, DROP),
        row("IPv6 behind 100 headers", chain(100), &v6_strangers, DROP),
    ];
    let programs = BTreeMap::from([("sallyport", gate.program(EntryPoint::Gate)?.try_clone()?)]);
    measured(measure, &programs, &rows, list.nets.len())
}

/// xdp-filter over as many single addresses as it has room for.
pub fn of_xdp_filter(
    measure: &mut Measure,
    filter: &mut XdpFilter,
    list: &List,
) -> Result<Vec<Cost>> {
    let hosts = hosts(&list.nets);
    filter.fill(&hosts)?;
    let syn = plain(Family::V4, &ends(PORT), &PLAIN);
    let listed: Vec<IpAddr> = hosts.iter().map(|host| (*host).into()).collect();
    let row = |program, name, frame: Vec<u8>, sources: &[IpAddr], action| Row {
        program,
        name,
        kind: Kind::Whole,
        frame,
        sources: sources.to_vec(),
        action,
    };
    let other = V4.frame(&ends(443), &PLAIN.over_v4(&ends(443)));
    let rows = [
        row("xdp-filter by address", "refused SYN, IPv4", syn.clone(), &list.strangers, DROP),
        row("xdp-filter by address", "admitted SYN, IPv4", syn.clone(), &listed, PASS),
        row("xdp-filter by port", "refused SYN, IPv4", syn, &list.strangers, DROP),
        row("xdp-filter by port", "unrelated TCP", other, &list.strangers, PASS),
    ];
    let programs = BTreeMap::from([
        ("xdp-filter by address", filter.program(Which::Address)?),
        ("xdp-filter by port", filter.program(Which::Port)?),
    ]);
    measured(measure, &programs, &rows, list.nets.len())
}

/// Returns the first address of each network of IPv4.
pub fn hosts(nets: &[Net]) -> Vec<Ipv4Addr> {
    let first = |net: &Net| match IpAddr::from(net.addr()) {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    nets.iter().filter_map(first).collect()
}

/// Measures rows in rounds that take turns.
fn measured(
    measure: &mut Measure,
    programs: &BTreeMap<&'static str, ProgramFd>,
    rows: &[Row],
    networks: usize,
) -> Result<Vec<Cost>> {
    let mut times: Vec<Vec<[f64; 2]>> = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for (row, times) in rows.iter().zip(&mut times) {
            measure.set_sources(&row.sources)?;
            let nothing = measure.nothing(row.kind, &row.frame, REPEATS)?;
            measure.aim(row.kind, &programs[row.program])?;
            let (ns, action) = measure.run(row.kind, &row.frame, REPEATS)?;
            ensure!(action == row.action, "{}, {}: action {action}", row.program, row.name);
            times.push([ns, nothing]);
        }
    }
    let cost = |(row, times): (&Row, Vec<[f64; 2]>)| {
        let ns = middle(times.iter().map(|[ns, _]| *ns));
        let net_ns = ns - middle(times.iter().map(|[_, nothing]| *nothing));
        let (program, frame) = (row.program.to_owned(), row.name.to_owned());
        Cost { program, frame, networks, ns, net_ns }
    };
    Ok(rows.iter().zip(times).map(cost).collect())
}

/// Returns the mean of the middle third.
fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let third = values.len() / 3;
    let middle = &values[third..values.len() - third];
    let (sum, count) = middle.iter().fold((0.0, 0.0), |(sum, count), ns| (sum + ns, count + 1.0));
    sum / count
}

/// Returns the middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Fills the kernel's tries with a list; returns how long that took.
pub fn fill_trie(
    measure: &mut Measure,
    family: Family,
    nets: &[Net],
) -> Result<std::time::Duration> {
    let begin = std::time::Instant::now();
    match family {
        Family::V4 => {
            let mut trie: LpmTrie<&mut MapData, [u8; 4], u32> =
                measure.map("trie_v4")?.try_into()?;
            for net in nets {
                let [high, _] = net.addr().words();
                let octets = ((high >> 32) as u32).to_be_bytes();
                trie.insert(&Key::new(net.prefix().into(), octets), 1, 0)?;
            }
        }
        Family::V6 => {
            let mut trie: LpmTrie<&mut MapData, [u8; 16], u32> =
                measure.map("trie_v6")?.try_into()?;
            for net in nets {
                trie.insert(&Key::new(net.prefix().into(), net.addr().octets()), 1, 0)?;
            }
        }
    }
    Ok(begin.elapsed())
}

/// One of the programs of xdp-filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By address.
    Address = 0,
    /// By port.
    Port = 1,
}

/// The programs of xdp-filter, from Debian's xdp-tools: one denies all but listed addresses, one denies a port.
pub struct XdpFilter {
    loaded: [(Ebpf, &'static str); 2],
}

impl XdpFilter {
    /// Loads them; none if they are not installed. Their tables ask to be pinned: that is done in the folder
    /// `pins` of a BPF file system, which must not exist.
    pub fn load(pins: &Path) -> Result<Option<Self>> {
        let Some(folder) = folder_of("xdpfilt_dny_ip.o")? else { return Ok(None) };
        let load = |name: &'static str| -> Result<(Ebpf, &'static str)> {
            let object = folder.join(format!("{name}.o"));
            let pins = pins.join(name);
            std::fs::create_dir_all(&pins)?;
            let mut loader = EbpfLoader::new();
            let ebpf = loader.default_map_pin_directory(pins).load_file(&object);
            Ok((ebpf.with_context(|| name)?, name))
        };
        let mut loaded = [load("xdpfilt_dny_ip")?, load("xdpfilt_alw_tcp")?];
        for (ebpf, name) in &mut loaded {
            let program: &mut Xdp = ebpf.program_mut(name).context(*name)?.try_into()?;
            program.load()?;
        }
        let map = loaded[1].0.map_mut("filter_ports").context("filter_ports")?;
        let mut ports: aya::maps::PerCpuArray<_, u64> = map.try_into()?;
        ports.set(PORT.to_be().into(), flags(TO_TCP)?, 0)?;
        Ok(Some(Self { loaded }))
    }

    fn program(&self, which: Which) -> Result<ProgramFd> {
        let (ebpf, name) = &self.loaded[which as usize];
        let program: &Xdp = ebpf.program(name).context(*name)?.try_into()?;
        Ok(program.fd()?.try_clone()?)
    }

    /// Attaches one of the programs, until this is dropped.
    pub fn attach(&mut self, which: Which, interface: &str) -> Result<()> {
        let (ebpf, name) = &mut self.loaded[which as usize];
        let program: &mut Xdp = ebpf.program_mut(name).context(*name)?.try_into()?;
        program.attach(interface, XdpMode::Driver)?;
        Ok(())
    }

    /// Lists addresses, at most 10,000.
    pub fn fill(&mut self, hosts: &[Ipv4Addr]) -> Result<()> {
        let map = self.loaded[0].0.map_mut("filter_ipv4").context("filter_ipv4")?;
        let mut addresses: PerCpuHashMap<_, u32, u64> = map.try_into()?;
        for host in hosts {
            addresses.insert(u32::from_ne_bytes(host.octets()), flags(FROM)?, 0)?;
        }
        Ok(())
    }
}

/// A bit of xdp-filter's values: the address counts as a source.
const FROM: u64 = 1;
/// Bits of xdp-filter's values: the port counts as a destination, and of TCP.
const TO_TCP: u64 = 2 | 4;

/// Returns a value of xdp-filter: flags in the lowest bits, above them a count.
fn flags(bits: u64) -> Result<PerCpuValues<u64>> {
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
    Ok(PerCpuValues::try_from(vec![bits; cpus])?)
}

fn folder_of(object: &str) -> Result<Option<PathBuf>> {
    let Ok(libraries) = std::fs::read_dir("/usr/lib") else { return Ok(None) };
    for library in libraries {
        let folder = library?.path().join("bpf");
        if folder.join(object).is_file() {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

fn ends(port: u16) -> Ends {
    Ends {
        hardware: [[2; 6], [4; 6]],
        source: ([192, 0, 2, 99].into(), "2001:db8::99".parse().expect("invariant: an address")),
        target: ([192, 0, 2, 1].into(), "2001:db8::1".parse().expect("invariant: an address")),
        source_port: 20_000,
        port,
    }
}

fn plain(family: Family, ends: &Ends, segment: &Segment<'_>) -> Vec<u8> {
    match family {
        Family::V4 => V4.frame(ends, &segment.over_v4(ends)),
        Family::V6 => V6.frame(ends, &segment.over_v6(ends)),
    }
}
