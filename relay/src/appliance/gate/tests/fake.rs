//! A gate in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use relay_common::addr::{Addr, Net};
use relay_common::state::{Alone, Mode};
use relay_common::table::{Counts, EntryId, NO_SKETCH, Sample, Sketch};
use relay_common::verdict::{Reason, Verdict};

use crate::gate::approach::{Approach, Approaches};
use crate::gate::{
    CountRow, Counters, Door, Entry, EntryCounts, Explanation, Gate, GateError, Health,
    InterfaceState, Ruleset, Switched, XdpMode,
};

/// What the kernel would hold.
#[derive(Debug, Default)]
pub struct Tables {
    pub entries: BTreeMap<Net, Entry>,
    pub bans: BTreeMap<Net, u64>,
    pub ports: Vec<u16>,
    pub refused: u64,
    /// The attempts that were passed, by entry.
    pub passed: BTreeMap<Net, u64>,
    pub now_ns: u64,
    pub interface: Option<InterfaceState>,
    /// What `repair` makes of the interface; none leaves it.
    pub repaired: Option<InterfaceState>,
    /// Whether clients can come; none: they can.
    pub approaches: Option<Approaches>,
    pub diagnostics: Vec<String>,
    pub samples: Vec<Sample>,
    pub observe_until_ns: u64,
    pub is_open: bool,
    pub alone: Option<Alone>,
    pub shadow: Option<Vec<Net>>,
    /// How often the whole list was replaced.
    pub replaced: u32,
    /// Changes of tables fail while this is set.
    pub is_broken: bool,
}

/// The gate; clones are one gate.
#[derive(Clone, Debug, Default)]
pub struct Fake(Arc<Mutex<Tables>>);

impl Fake {
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap()
    }

    pub fn admits(&self, source: &str) -> bool {
        let source = Addr::from(source.parse::<IpAddr>().unwrap());
        let tables = self.tables();
        let holds = |(net, until): (&Net, &u64)| *until > tables.now_ns && net.contains(source);
        tables.entries.keys().any(|net| net.contains(source)) && !tables.bans.iter().any(holds)
    }

    fn working(&self) -> Result<MutexGuard<'_, Tables>, GateError> {
        let tables = self.tables();
        if tables.is_broken {
            let source = std::io::Error::other("broken for the test");
            return Err(GateError::Kernel { what: "changing a table".into(), source });
        }
        Ok(tables)
    }
}

pub const GUARDED: InterfaceState =
    InterfaceState::Guarded { mode: XdpMode::Native, adopted: false, renamed: None };

impl Gate for Fake {
    fn replace(&mut self, ruleset: &Ruleset) -> Result<(), GateError> {
        let mut tables = self.working()?;
        tables.entries = ruleset.entries.iter().map(|entry| (entry.net, *entry)).collect();
        tables.bans = ruleset.bans.iter().copied().collect();
        tables.ports.clone_from(&ruleset.ports);
        tables.replaced += 1;
        Ok(())
    }

    fn insert(&mut self, entry: &Entry) -> Result<(), GateError> {
        self.working()?.entries.insert(entry.net, *entry);
        Ok(())
    }

    fn remove(&mut self, net: &Net) -> Result<Option<EntryId>, GateError> {
        Ok(self.working()?.entries.remove(net).map(|entry| entry.id))
    }

    fn ban(&mut self, bans: &[(Net, u64)]) -> Result<(), GateError> {
        self.working()?.bans.extend(bans.iter().copied());
        Ok(())
    }

    fn unban(&mut self, net: &Net) -> Result<bool, GateError> {
        Ok(self.working()?.bans.remove(net).is_some())
    }

    fn switched(&self) -> Switched {
        let tables = self.tables();
        let mode = match tables.observe_until_ns {
            _ if tables.is_open => Mode::Open,
            0 => Mode::Enforce,
            _ => Mode::Observe,
        };
        let generation = tables.replaced;
        Switched { mode, observe_until_ns: tables.observe_until_ns, generation }
    }

    fn observe(&mut self, until_ns: Option<u64>) -> Result<(), GateError> {
        self.working()?.observe_until_ns = until_ns.unwrap_or(0);
        Ok(())
    }

    fn leave_alone(&mut self, alone: Alone) -> Result<(), GateError> {
        self.tables().alone = Some(alone);
        Ok(())
    }

    fn shadow(&mut self, candidate: Option<&[Net]>) -> Result<(), GateError> {
        self.working()?.shadow = candidate.map(<[Net]>::to_vec);
        Ok(())
    }

    fn entries(&self) -> Vec<(Net, EntryId)> {
        self.tables().entries.iter().map(|(net, entry)| (*net, entry.id)).collect()
    }

    fn bans(&self) -> Vec<(Net, u64)> {
        self.tables().bans.iter().map(|(net, until)| (*net, *until)).collect()
    }

    fn counters(&self) -> Result<Counters, GateError> {
        let tables = self.tables();
        let (unlisted_syn, admitted) = (tables.refused, tables.passed.values().sum());
        let counts = Counts { unlisted_syn, admitted, ..Counts::default() };
        let row = |interface, counts| CountRow { interface, port: Some(2525), counts };
        let door = Counts { admitted, ..Counts::default() };
        Ok(Counters { rows: vec![row(Some("eth0".to_owned()), counts), row(None, door)] })
    }

    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCounts>, GateError> {
        Ok(BTreeMap::new())
    }

    fn entry_count(&self, net: &Net) -> Result<Option<EntryCounts>, GateError> {
        let passed = self.tables().passed.get(net).copied();
        Ok(passed.map(|passed| EntryCounts { passed, ..EntryCounts::default() }))
    }

    fn refused(&self) -> Result<Box<Sketch>, GateError> {
        Ok(Box::new(Sketch { total: self.tables().refused, seed: 1, ..NO_SKETCH }))
    }

    fn samples(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.tables().samples)
    }

    fn explain(&self, source: IpAddr, _port: u16) -> Result<Explanation, GateError> {
        let tables = self.tables();
        let hit = tables.entries.values().filter(|entry| entry.net.contains(source.into()));
        let entry = hit.max_by_key(|entry| entry.net.prefix());
        let verdict = match entry {
            Some(_) => Verdict::Pass(Reason::Admitted),
            None => Verdict::Drop(Reason::UnlistedSyn),
        };
        let tag = entry.and_then(|entry| entry.tag).and_then(|tag| tag.as_str().map(str::to_owned));
        let entry = entry.map(|entry| entry.net);
        let generation = tables.replaced;
        Ok(Explanation { verdict, entry, tag, banned_until_ns: None, generation })
    }

    fn health(&self) -> Vec<Health> {
        let state = self.tables().interface.clone().unwrap_or(GUARDED);
        vec![Health { interface: "eth0".into(), state }]
    }

    fn approaches(&self) -> Approaches {
        let open = || Approaches { guarded: vec![Approach::Open], cut_off: false };
        self.tables().approaches.clone().unwrap_or_else(open)
    }

    fn repair(&mut self) -> Vec<Health> {
        let mut tables = self.tables();
        if let Some(state) = tables.repaired.clone() {
            tables.interface = Some(state);
        }
        drop(tables);
        self.health()
    }

    fn pins_problem(&self) -> Option<String> {
        None
    }

    fn diagnostics(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tables().diagnostics)
    }

    fn now_ns(&self) -> u64 {
        self.tables().now_ns
    }

    fn door(&self) -> Option<Door> {
        None
    }

    fn detach(&mut self) -> Result<(), GateError> {
        self.working()?.is_open = true;
        Ok(())
    }
}
