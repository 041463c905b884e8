//! The tables for the process that reads mail from the network: read, by name, and nothing else.

use std::net::IpAddr;
use std::path::Path;

use relay_common::addr::Addr;
use relay_common::verdict::{Tables as _, Verdict, judge_connect};

use super::attach;
use super::maps::Maps;
use super::pins::Pins;
use crate::gate::sys::Access;
use crate::gate::{Counters, GateError, Health, Listed};

/// The pinned tables, opened for reading. It holds no link and no program, and its descriptors stay
/// read-only whatever rights the process has.
pub struct View {
    maps: Maps,
}

impl View {
    /// Opens the tables below `pins`, the folder of the gate's configuration.
    ///
    /// # Errors
    ///
    /// [`GateError::Kernel`] or [`GateError::NotPermitted`], naming the pin: the gate has not started yet, or
    /// this process is not in the group that may read.
    pub fn open(pins: &Path) -> Result<Self, GateError> {
        Ok(Self { maps: Maps::open(&Pins::below(pins), Access::Read)? })
    }

    /// Returns the entry that lists `source`, whether or not it is banned; `None` for a stranger.
    #[must_use]
    pub fn listed(&self, source: IpAddr) -> Option<Listed> {
        let entry = self.maps.listed(&Addr::from(source))?;
        Some(Listed { entry, tag: self.maps.tag(entry) })
    }

    /// Returns what the gate would make of a SYN from `source` now, without taking from its rate.
    #[must_use]
    pub fn verdict(&self, source: IpAddr) -> Verdict {
        judge_connect(&Addr::from(source), &self.maps)
    }

    /// Returns what the gate counted.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn counters(&self) -> Result<Counters, GateError> {
        self.maps.counters()
    }

    /// Returns how these interfaces stand.
    #[must_use]
    pub fn health(&self, interfaces: &[String]) -> Vec<Health> {
        let programs = self.maps.programs();
        interfaces.iter().map(|name| attach::health(name, &programs, true)).collect()
    }
}
