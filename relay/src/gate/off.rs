//! A host that is served without a gate, because the configuration says so (`gate.required = false`).
//!
//! It guards nothing and claims nothing: every interface's health says [`InterfaceState::Off`]. Lists are
//! taken and kept nowhere, so that one loop serves both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use relay_common::addr::Net;
use relay_common::table::{EntryCount, EntryId};
use relay_common::verdict::{Reason, Verdict};

use super::{Counters, Entry, Explanation, Gate, GateError, Health, InterfaceState, Ruleset};

/// No gate.
#[derive(Clone, Debug, Default)]
pub struct Off {
    interfaces: Vec<String>,
}

impl Off {
    /// Returns the gate that is not there, on these interfaces.
    #[must_use]
    pub const fn on(interfaces: Vec<String>) -> Self {
        Self { interfaces }
    }
}

impl Gate for Off {
    fn replace(&mut self, _ruleset: &Ruleset) -> Result<(), GateError> {
        Ok(())
    }

    fn insert(&mut self, _entry: &Entry) -> Result<(), GateError> {
        Ok(())
    }

    fn remove(&mut self, _net: &Net) -> Result<Option<EntryId>, GateError> {
        Ok(None)
    }

    fn ban(&mut self, _net: &Net, _until_ns: u64) -> Result<(), GateError> {
        Ok(())
    }

    fn unban(&mut self, _net: &Net) -> Result<bool, GateError> {
        Ok(false)
    }

    fn entries(&self) -> Vec<(Net, EntryId)> {
        Vec::new()
    }

    fn bans(&self) -> Vec<(Net, u64)> {
        Vec::new()
    }

    fn counters(&self) -> Result<Counters, GateError> {
        Ok(Counters::default())
    }

    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCount>, GateError> {
        Ok(BTreeMap::new())
    }

    fn explain(&self, _source: IpAddr, _port: u16) -> Result<Explanation, GateError> {
        let verdict = Verdict::Pass(Reason::Unguarded);
        Ok(Explanation { verdict, entry: None, tag: None, banned_until_ns: None })
    }

    fn health(&self) -> Vec<Health> {
        let off = |name: &String| Health { interface: name.clone(), state: InterfaceState::Off };
        self.interfaces.iter().map(off).collect()
    }

    fn repair(&mut self) -> Vec<Health> {
        self.health()
    }

    fn diagnostics(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn now_ns(&self) -> u64 {
        super::boot_clock_ns()
    }

    fn detach(self: Box<Self>) -> Result<(), GateError> {
        Ok(())
    }
}
