//! One round: a relay host with some of the doors, and every shape sent at it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use relay_common::addr::Net;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::EntryId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::craft::{Ends, PLAIN, V4, V6};
use super::shapes::Shape;
use super::wire::{Heard, Wire, hardware};
use crate::gate::{Entry, Gate, Place, Ruleset, XdpMode, load};
use crate::hosts::Host;

/// Which doors stand in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// The first, in the driver or in the stack.
    pub first: Option<XdpMode>,
    /// The second.
    pub second: bool,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Somebody who is not listed.
    Stranger,
    /// Somebody who is.
    Listed,
}

const RELAY: (Ipv4Addr, Ipv6Addr) = pair(1);
const LISTED: (Ipv4Addr, Ipv6Addr) = pair(10);
const STRANGER: (Ipv4Addr, Ipv6Addr) = pair(99);
/// The guarded port, and one that nobody listens on.
const PORT: u16 = 2525;
const CLOSED: u16 = 2526;
/// The sender's port of the first shape, and those that are sent before and after all shapes.
const FIRST_SHAPE: u16 = 20_000;
const BEFORE: u16 = 19_000;
const AFTER: u16 = 19_100;
/// How long an answer is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a closed port is asked before the first shape.
const GREETINGS: u32 = 10;

const fn pair(host: u8) -> (Ipv4Addr, Ipv6Addr) {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host as u16);
    (Ipv4Addr::new(192, 0, 2, host), v6)
}

/// Sends every shape in a fresh pair of hosts; returns what came back to each. `folder` is on a BPF file
/// system.
///
/// # Errors
///
/// If the hosts cannot be made, the gate does not stand, or the listed sender is not answered: then the round
/// says nothing.
pub fn play(
    shapes: &[Shape],
    doors: Doors,
    sender: Sender,
    folder: &Path,
) -> anyhow::Result<Vec<Heard>> {
    let (relay, world) = (Host::new()?, Host::new()?);
    Host::join((&relay, "guard0"), (&world, "wire0"))?;
    give(&relay, "guard0", RELAY)?;
    give(&world, "wire0", LISTED)?;
    give(&world, "wire0", STRANGER)?;
    let hardware = [world.within(|| hardware("wire0"))??, relay.within(|| hardware("guard0"))??];
    let wire = world.within(|| Wire::open("wire0"))??;
    let ends =
        |source, source_port, port| Ends { hardware, source, target: RELAY, source_port, port };
    // The relay host learns everybody's hardware address, so that no answer waits for it later.
    let greetings = [LISTED, STRANGER].map(|source| ends(source, 0, CLOSED));
    greet(&wire, &greetings)?;

    let gate = relay.within(|| stand(doors, folder))??;
    let source = match sender {
        Sender::Stranger => STRANGER,
        Sender::Listed => LISTED,
    };
    let ports = || (FIRST_SHAPE..).zip(shapes);
    for (port, shape) in ports() {
        for frame in shape.frames(&ends(source, port, PORT)) {
            wire.send(&frame)?;
        }
    }
    // Frames are judged one after the other: whoever is answered by now is answered.
    let heard = ask(&wire, &[ends(LISTED, 0, PORT)], AFTER, PATIENCE)
        .context("the listed sender is not answered, so silence says nothing")?;
    drop(gate);
    Ok(ports().map(|(port, _)| heard.get(&port).copied().unwrap_or_default()).collect())
}

/// Sends plain SYNs over both families from each of `ends`, and listens until all are answered.
fn ask(
    wire: &Wire,
    ends: &[Ends],
    first_port: u16,
    patience: Duration,
) -> anyhow::Result<std::collections::BTreeMap<u16, Heard>> {
    let mut wanted = Vec::new();
    for (at, ends) in (0..).step_by(2).zip(ends) {
        let [over_v4, over_v6] =
            [0, 1].map(|family| Ends { source_port: first_port + at + family, ..*ends });
        wire.send(&V4.frame(&over_v4, &PLAIN.over_v4(&over_v4)))?;
        wire.send(&V6.frame(&over_v6, &PLAIN.over_v6(&over_v6)))?;
        wanted.extend([over_v4.source_port, over_v6.source_port]);
    }
    Ok(wire.listen(&wanted, patience)?)
}

/// Asks a closed port until it is answered: an address that is new may not be in use for a moment yet. Nothing
/// else was sent, so no answer is missed by that.
fn greet(wire: &Wire, ends: &[Ends]) -> anyhow::Result<()> {
    for _ in 1..GREETINGS {
        if ask(wire, ends, BEFORE, PATIENCE / GREETINGS).is_ok() {
            return Ok(());
        }
    }
    ask(wire, ends, BEFORE, PATIENCE).context("nobody resets a closed port").map(drop)
}

fn give(host: &Host, interface: &str, (v4, v6): (Ipv4Addr, Ipv6Addr)) -> anyhow::Result<()> {
    for (address, prefix) in [(IpAddr::V4(v4), 24), (IpAddr::V6(v6), 64)] {
        host.address(interface, ipnetwork::IpNetwork::new(address, prefix)?)?;
    }
    Ok(())
}

/// What stands in the relay host. It falls when this is dropped.
struct Standing {
    gate: Option<Box<dyn Gate>>,
    _listener: OwnedFd,
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Some(gate) = &mut self.gate {
            // The hosts end right after; what is left pinned ends with the file system.
            let _ = gate.detach();
        }
    }
}

/// Lets the doors stand and then listens.
fn stand(doors: Doors, folder: &Path) -> anyhow::Result<Standing> {
    let gate = if doors.first.is_none() && !doors.second {
        None
    } else {
        let place = Place { pins: folder.join("selftest"), group: None };
        let filled = load(&place)?.fill(&ruleset())?;
        Some(match doors.first {
            None => filled.attach(&[])?,
            Some(mode) => filled.attach_as(&["guard0".to_owned()], mode)?,
        })
    };
    let door = gate.as_ref().filter(|_| doors.second).and_then(|gate| gate.door());
    let listener = listen(|socket| match &door {
        Some(door) => door.hang(socket),
        None => Ok(()),
    })?;
    Ok(Standing { gate, _listener: listener })
}

/// Listens on the guarded port of every address; `guard` is asked before.
fn listen(guard: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    let every = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, PORT, 0, 0));
    rustix::net::bind(&socket, &every)?;
    guard(&socket)?;
    rustix::net::listen(&socket, 4_096)?;
    Ok(socket)
}

fn ruleset() -> Ruleset {
    let entry = |address: IpAddr, prefix, id| Entry {
        net: Net::new(address, prefix).expect("invariant: an address is a network of its own"),
        id: EntryId(id),
        tag: None,
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    Ruleset {
        ports: vec![PORT],
        scope: Scope::EverySegment,
        own_host: OwnHost::Judged,
        entries: vec![entry(LISTED.0.into(), 32, 1), entry(LISTED.1.into(), 128, 2)],
        bans: Vec::new(),
    }
}
