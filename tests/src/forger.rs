//! Somebody who knows the addresses of listed clients and is at none of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use relay::demo::stage::{GUARDED, Stage};
use relay::selftest::craft::{Ends, PLAIN, V4};
use relay::selftest::wire::{Wire, hardware};

/// The listed addresses, at which nobody is: 192.0.2.11 and those after it.
const NAMES: u16 = 4;
/// The addresses of strangers: those between networks of the same provider (RFC 6598), which are on no list.
const STRANGERS: u32 = 0x6440_0000;
const STRANGERS_MAX: u32 = 1 << 22;
/// The ports that attempts come from, one after the other.
const PORTS: std::ops::Range<u16> = 20_000..60_000;

/// Sends SYNs in the name of listed clients. Answers go to nobody, so no handshake is ever completed.
pub struct Forger {
    wire: Wire,
    hardware: [[u8; 6]; 2],
    relay: Ipv4Addr,
    port: u16,
    /// The strangers so far.
    strangers: u32,
}

impl Forger {
    /// Returns one in the world of a stage.
    ///
    /// # Errors
    ///
    /// If the wire cannot be had.
    pub fn at(stage: &Stage) -> Result<Self> {
        let to = stage.relay.within(|| hardware("guard0"))??;
        let (wire, from) =
            stage.world.within(|| anyhow::Ok((Wire::open("wire0")?, hardware("wire0")?)))??;
        let IpAddr::V4(relay) = GUARDED.ip() else { bail!("an IPv4 stage") };
        Ok(Self { wire, hardware: [from, to], relay, port: PORTS.start, strangers: 0 })
    }

    /// Sends so many SYNs, each from another port.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn send(&mut self, attempts: u16) -> Result<()> {
        for _ in 0..attempts {
            let nobody = Ipv4Addr::new(192, 0, 2, 11 + (self.port % NAMES) as u8);
            self.attempt(nobody)?;
        }
        Ok(())
    }

    /// Sends so many SYNs, each in the name of another stranger.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn send_as_strangers(&mut self, attempts: u16) -> Result<()> {
        for _ in 0..attempts {
            self.attempt(Ipv4Addr::from_bits(STRANGERS + self.strangers % STRANGERS_MAX))?;
            self.strangers = self.strangers.wrapping_add(1);
        }
        Ok(())
    }

    fn attempt(&mut self, source: Ipv4Addr) -> Result<()> {
        let ends = Ends {
            hardware: self.hardware,
            source: (source, Ipv6Addr::LOCALHOST),
            target: (self.relay, Ipv6Addr::LOCALHOST),
            source_port: self.port,
            port: GUARDED.port(),
        };
        self.wire.send(&V4.frame(&ends, &PLAIN.over_v4(&ends)))?;
        self.port = if self.port + 1 < PORTS.end { self.port + 1 } else { PORTS.start };
        Ok(())
    }
}
