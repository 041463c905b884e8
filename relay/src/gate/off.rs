//! A host that is served without a gate, because the configuration says so (`gate.required = false`).
//!
//! It guards nothing and claims nothing: every interface's health says [`InterfaceState::Off`]. Lists are
//! taken and kept nowhere, so that one loop serves both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use relay_common::addr::Net;
use relay_common::state::{Alone, Mode};
use relay_common::table::{EntryId, NO_SKETCH, Sample, Sketch};
use relay_common::verdict::{Reason, Verdict};

use super::approach::{self, Approaches};
use super::{
    Counters, Door, Entry, EntryCounts, Explanation, Gate, GateError, Health, InterfaceState,
    Ruleset, Switched, netlink,
};

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

    fn ban(&mut self, _bans: &[(Net, u64)]) -> Result<(), GateError> {
        Ok(())
    }

    fn unban(&mut self, _net: &Net) -> Result<bool, GateError> {
        Ok(false)
    }

    fn switched(&self) -> Switched {
        Switched { mode: Mode::Enforce, observe_until_ns: 0, generation: 0 }
    }

    fn observe(&mut self, _until_ns: Option<u64>) -> Result<(), GateError> {
        Ok(())
    }

    fn leave_alone(&mut self, _alone: Alone) -> Result<(), GateError> {
        Ok(())
    }

    fn shadow(&mut self, _candidate: Option<&[Net]>) -> Result<(), GateError> {
        Ok(())
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

    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCounts>, GateError> {
        Ok(BTreeMap::new())
    }

    fn entry_count(&self, _net: &Net) -> Result<Option<EntryCounts>, GateError> {
        Ok(None)
    }

    fn refused(&self) -> Result<Box<Sketch>, GateError> {
        Ok(Box::new(NO_SKETCH))
    }

    fn samples(&mut self) -> Vec<Sample> {
        Vec::new()
    }

    fn explain(&self, _source: IpAddr, _port: u16) -> Result<Explanation, GateError> {
        let verdict = Verdict::Pass(Reason::Unguarded);
        Ok(Explanation { verdict, entry: None, tag: None, banned_until_ns: None, generation: 0 })
    }

    fn health(&self) -> Vec<Health> {
        let off = |name: &String| Health { interface: name.clone(), state: InterfaceState::Off };
        self.interfaces.iter().map(off).collect()
    }

    fn approaches(&self) -> Approaches {
        let seen: Vec<_> = self.interfaces.iter().map(|name| netlink::interface(name)).collect();
        approach::look(&seen)
    }

    fn repair(&mut self) -> Vec<Health> {
        self.health()
    }

    fn pins_problem(&self) -> Option<String> {
        None
    }

    fn diagnostics(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn now_ns(&self) -> u64 {
        super::boot_clock_ns()
    }

    fn door(&self) -> Option<Door> {
        None
    }

    fn detach(&mut self) -> Result<(), GateError> {
        Ok(())
    }
}
