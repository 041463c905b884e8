//! Real frames over a wire (a veth pair): what a dropped one costs, and whether listed clients get through while
//! strangers send.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::XdpMode;
use relay::hosts::Host;
use relay::hosts::dial::{Answer, dial};
use relay::selftest::craft::{Ends, PLAIN, V4};
use relay::selftest::wire::hardware;
use rustix::net::netdevice::name_to_index;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use tests::frames::PORT;
use tests::measure::Measure;

use super::packets::median;

/// The guarded end.
pub const GUARDED: &str = "w0";
/// The sender's end.
const SENDER: &str = "w1";
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A client that every list of this measurement holds.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Frames of a round; the median of the rounds counts.
const FRAMES: u32 = 300_000;
const ROUNDS: usize = 5;
/// A flood, frames a second: a third of what fits through 1 Gbit/s, if the firewall lets it be so fast.
const FLOOD_PER_SECOND: u32 = 500_000;
/// Frames of it that are sent at once.
const FLOOD_BURST: u32 = 512;
/// How long a flood lasts, and how long a client waits: less than until its SYN is sent once more.
const FLOOD: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_millis(900);
/// From one client to the next.
const PAUSE: Duration = Duration::from_millis(5);
/// The CPU of the sender, and that of the clients.
const SENDS: usize = 0;
const CONNECTS: usize = 1;

/// What one firewall did.
#[derive(Clone, Debug, Serialize)]
pub struct Drops {
    /// Which one.
    pub firewall: &'static str,
    /// Nanoseconds of a CPU to send a SYN over the wire and to drop it.
    pub ns: f64,
    /// How listed clients fared during a flood; none where nobody passes.
    pub through: Option<Through>,
}

/// How listed clients fared.
#[derive(Clone, Debug, Serialize)]
pub struct Through {
    /// Frames a second that the flood really sent.
    pub flood_per_second: f64,
    /// Clients that tried, one after the other.
    pub tried: u32,
    /// The share of them that connected without sending their SYN once more.
    pub connected: f64,
    /// How long these took, milliseconds, the median.
    pub median_ms: f64,
    /// The same, of a hundred the slowest.
    pub p99_ms: f64,
}

/// Whether a firewall lets clients through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Those that are listed.
    Listed,
    /// None: it drops by the port alone.
    Nobody,
}

/// Two hosts and the wire between them.
pub struct Wires {
    /// The guarded host.
    pub guarded: Host,
    sender: Host,
    frame: Vec<u8>,
    sends: Measure,
}

impl Wires {
    /// Joins two hosts.
    /// Strangers send from these addresses.
    pub fn join(strangers: &[IpAddr]) -> Result<Self> {
        let (guarded, sender) = (Host::new()?, Host::new()?);
        Host::join((&guarded, GUARDED), (&sender, SENDER))?;
        guarded.address(GUARDED, network(HOST)?)?;
        sender.address(SENDER, network(CLIENT)?)?;
        // The answers to forged sources go nowhere in particular.
        run(&guarded, "ip", &["route", "add", "default", "via", &CLIENT.to_string()])?;
        // No question after an address may be answered or dropped.
        for (host, interface, other, neighbour) in [
            (&guarded, GUARDED, CLIENT, (&sender, SENDER)),
            (&sender, SENDER, HOST, (&guarded, GUARDED)),
        ] {
            let at = neighbour.0.within(|| hardware(neighbour.1))??;
            let at = at.map(|octet| format!("{octet:02x}")).join(":");
            let words = ["neigh", "replace", &other.to_string(), "lladdr", &at, "dev", interface];
            run(host, "ip", &words)?;
        }
        run(&guarded, "ethtool", &["-K", GUARDED, "gro", "on"])?;
        let number = sender.within(|| -> Result<u32> {
            Ok(name_to_index(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, SENDER)?)
        })??;
        let mut wires = Self { guarded, sender, frame: Vec::new(), sends: Measure::load()? };
        let frames = wires.frames(strangers)?;
        wires.sends.set_frames(&frames, number)?;
        // The kernel waits until no CPU runs anything that is not attached anywhere, before it runs it and after;
        // nothing comes over this interface.
        let program = wires.sends.program("send")?;
        wires.sender.within(|| program.attach("lo", XdpMode::Skb))??;
        wires.frame = frames.into_iter().next().context("no strangers")?;
        Ok(wires)
    }

    /// Measures a firewall that stands on the guarded host now.
    pub fn measure(&mut self, firewall: &'static str, clients: Clients) -> Result<Drops> {
        let listener = self.guarded.within(|| TcpListener::bind((HOST, PORT)))??;
        listener.set_nonblocking(false)?;
        let accepting = listener.try_clone()?;
        // It ends when the socket is shut down below.
        let accepts =
            std::thread::spawn(move || accepting.incoming().map_while(Result::ok).for_each(drop));
        let ns = self.cost()?;
        let through = match clients {
            Clients::Listed => Some(self.flood()?),
            Clients::Nobody => None,
        };
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both)?;
        accepts.join().ok().context("the listener panicked")?;
        Ok(Drops { firewall, ns, through })
    }

    fn frames(&self, strangers: &[IpAddr]) -> Result<Vec<Vec<u8>>> {
        let hardware = [
            self.sender.within(|| hardware(SENDER))??,
            self.guarded.within(|| hardware(GUARDED))??,
        ];
        let frame = |source: &IpAddr| {
            let IpAddr::V4(source) = source else { return None };
            let source = (*source, Ipv6Addr::LOCALHOST);
            let target = (HOST, Ipv6Addr::LOCALHOST);
            let ends = Ends { hardware, source, target, source_port: 20_000, port: PORT };
            Some(V4.frame(&ends, &PLAIN.over_v4(&ends)))
        };
        Ok(strangers.iter().filter_map(frame).collect())
    }

    /// Returns how much time a CPU takes to send a frame and to receive it.
    fn cost(&mut self) -> Result<f64> {
        let Self { sender, frame, sends, .. } = self;
        let sent = || -> Result<f64> {
            pin(SENDS)?;
            let mut costs = Vec::new();
            for _ in 0..ROUNDS {
                let (begin, before) = (Instant::now(), received()?);
                sends.send(frame, FRAMES)?;
                let (took, received) = (begin.elapsed(), received()? - before);
                // The rest found the queue full.
                ensure!(received > FRAMES / 2, "{received} frames of {FRAMES} came over the wire");
                costs.push((took / received).as_secs_f64() * 1e9);
            }
            Ok(median(costs.into_iter()))
        };
        sender.within(sent)?
    }

    /// Lets clients connect while strangers send.
    fn flood(&mut self) -> Result<Through> {
        let Self { sender, frame, sends, .. } = self;
        let frame = frame.as_slice();
        let (ends, sent) = (AtomicBool::new(false), AtomicU32::new(0));
        let flood = || -> Result<f64> {
            pin(SENDS)?;
            let begin = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                sends.send(frame, FLOOD_BURST)?;
                let all = sent.fetch_add(FLOOD_BURST, Ordering::Relaxed) + FLOOD_BURST;
                let due = Duration::from_secs_f64(f64::from(all) / f64::from(FLOOD_PER_SECOND));
                while begin.elapsed() < due {
                    std::hint::spin_loop();
                }
            }
            Ok(f64::from(sent.load(Ordering::Relaxed)) / begin.elapsed().as_secs_f64())
        };
        let clients = || -> Result<Vec<Option<f64>>> {
            pin(CONNECTS)?;
            let target = SocketAddr::new(HOST.into(), PORT);
            // The flood begins before the clients do.
            while sent.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            let begin = Instant::now();
            let mut times = Vec::new();
            while begin.elapsed() < FLOOD {
                let before = Instant::now();
                let answer = dial(CLIENT.into(), target, PATIENCE)?;
                let took = before.elapsed().as_secs_f64() * 1e3;
                times.push((answer == Answer::Connected).then_some(took));
                // So few that their ports do not run out.
                std::thread::sleep(PAUSE.saturating_sub(before.elapsed()));
            }
            Ok(times)
        };
        std::thread::scope(|scope| {
            let flooding = scope.spawn(|| sender.within(flood));
            let times = sender.within(clients);
            ends.store(true, Ordering::Relaxed);
            let rate = flooding.join().ok().context("the flood panicked")???;
            let times = times??;
            let mut good: Vec<f64> = times.iter().copied().flatten().collect();
            good.sort_by(f64::total_cmp);
            let tried = u32::try_from(times.len())?;
            Ok(Through {
                flood_per_second: rate,
                tried,
                connected: f64::from(u32::try_from(good.len())?) / f64::from(tried),
                median_ms: median(good.iter().copied()),
                p99_ms: good.get(good.len() * 99 / 100).copied().unwrap_or(f64::NAN),
            })
        })
    }
}

/// Returns the frames that came over the wire: those that the sender's end counts as sent.
fn received() -> Result<u32> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("w1:"));
    let sent = line.and_then(|line| line.split_whitespace().nth(9)).context("no counters")?;
    Ok(sent.parse()?)
}

/// Lets the calling thread run on one CPU alone.
fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Runs a tool in a host.
pub fn run(host: &Host, tool: &str, words: &[&str]) -> Result<()> {
    let output =
        host.within(|| Command::new(tool).args(words).output())?.context(tool.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{tool} {words:?}: {said}");
    Ok(())
}

/// Gives a host rules of nftables.
pub fn nft(host: &Host, rules: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    let mut child = host.spawn(&mut command).context("nft")?;
    child.stdin.take().context("no input")?.write_all(rules.as_bytes())?;
    ensure!(child.wait()?.success(), "nft refused the rules");
    Ok(())
}

fn network(address: Ipv4Addr) -> Result<ipnetwork::IpNetwork> {
    Ok(ipnetwork::IpNetwork::new(address.into(), 24)?)
}
