//! A gate in memory, and a keeper over it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use relay_common::addr::{Addr, Net};
use relay_common::table::{EntryCount, EntryId};
use relay_common::verdict::{Reason, Verdict};
use serde_json::Value;
use tokio::sync::watch;

use super::super::keeper::{Bulletin, Keeper, Service, ruleset};
use super::super::listeners::Listeners;
use super::super::lists::{Left, Lists};
use crate::config::Config;
use crate::control::caller::{Caller, Right};
use crate::control::wire::{Change, Did, GateRequest};
use crate::event::Event;
use crate::gate::record::Files;
use crate::gate::{
    Counters, Entry, Explanation, Gate, GateError, Health, InterfaceState, Mode, Ruleset,
};
use crate::journal::Journal;

/// What the kernel would hold.
#[derive(Debug, Default)]
pub struct Tables {
    pub entries: BTreeMap<Net, Entry>,
    pub bans: BTreeMap<Net, u64>,
    pub ports: Vec<u16>,
    pub refused: u64,
    pub now_ns: u64,
    pub interface: Option<InterfaceState>,
    /// What `repair` makes of the interface; none leaves it.
    pub repaired: Option<InterfaceState>,
    pub diagnostics: Vec<String>,
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
        let banned =
            tables.bans.iter().any(|(net, until)| *until > tables.now_ns && net.contains(source));
        !banned && tables.entries.keys().any(|net| net.contains(source))
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

pub const GUARDED: InterfaceState = InterfaceState::Guarded { mode: Mode::Native, adopted: false };

impl Gate for Fake {
    fn replace(&mut self, ruleset: &Ruleset) -> Result<(), GateError> {
        let mut tables = self.working()?;
        tables.entries = ruleset.entries.iter().map(|entry| (entry.net, *entry)).collect();
        tables.bans = ruleset.bans.iter().copied().collect();
        tables.ports.clone_from(&ruleset.ports);
        Ok(())
    }

    fn insert(&mut self, entry: &Entry) -> Result<(), GateError> {
        self.working()?.entries.insert(entry.net, *entry);
        Ok(())
    }

    fn remove(&mut self, net: &Net) -> Result<Option<EntryId>, GateError> {
        Ok(self.working()?.entries.remove(net).map(|entry| entry.id))
    }

    fn ban(&mut self, net: &Net, until_ns: u64) -> Result<(), GateError> {
        self.working()?.bans.insert(*net, until_ns);
        Ok(())
    }

    fn unban(&mut self, net: &Net) -> Result<bool, GateError> {
        Ok(self.working()?.bans.remove(net).is_some())
    }

    fn entries(&self) -> Vec<(Net, EntryId)> {
        self.tables().entries.iter().map(|(net, entry)| (*net, entry.id)).collect()
    }

    fn bans(&self) -> Vec<(Net, u64)> {
        self.tables().bans.iter().map(|(net, until)| (*net, *until)).collect()
    }

    fn counters(&self) -> Result<Counters, GateError> {
        Ok(Counters([(Reason::UnlistedSyn, self.tables().refused)].into()))
    }

    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCount>, GateError> {
        Ok(BTreeMap::new())
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
        Ok(Explanation { verdict, entry: entry.map(|entry| entry.id), tag, banned_until_ns: None })
    }

    fn health(&self) -> Vec<Health> {
        let state = self.tables().interface.clone().unwrap_or(GUARDED);
        vec![Health { interface: "eth0".into(), state }]
    }

    fn repair(&mut self) -> Vec<Health> {
        let mut tables = self.tables();
        if let Some(state) = tables.repaired.clone() {
            tables.interface = Some(state);
        }
        drop(tables);
        self.health()
    }

    fn diagnostics(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tables().diagnostics)
    }

    fn now_ns(&self) -> u64 {
        self.tables().now_ns
    }

    fn detach(self: Box<Self>) -> Result<(), GateError> {
        unreachable!("a gate process never detaches")
    }
}

/// A keeper over a fake gate, in a folder of its own.
pub struct Desk {
    pub folder: tempfile::TempDir,
    pub fake: Fake,
    pub keeper: Keeper,
    pub journal: Journal,
    pub bulletin: watch::Receiver<Bulletin>,
}

pub const OPERATOR: Caller = Caller { uid: 1000, right: Right::Change };
pub const RELAY: Caller = Caller { uid: 990, right: Right::Relay };
pub const ANYBODY: Caller = Caller { uid: 1001, right: Right::Look };

pub fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Writes a configuration into `folder` and returns its file. `gate` goes into `[gate]`, `more` to the
/// end.
pub fn configure(folder: &Path, gate: &str, more: &str) -> PathBuf {
    let file = folder.join("sallyport.toml");
    let here = folder.display();
    let text = format!(
        r#"
        hostname = "relay.example.net"
        postmaster = "mail-ops@example.net"
        [gate]
        interfaces = ["eth0"]
        state = "{here}"
        socket = "{here}/gate.sock"
        {gate}
        [tls]
        certificate = "/etc/sallyport/tls/fullchain.pem"
        key = "/etc/sallyport/tls/key.pem"
        [[listener]]
        address = "192.0.2.1:2525"
        [[route]]
        name = "smarthost"
        default = true
        hosts = ["smtp1.example.net:587"]
        [spool]
        path = "{here}/spool"
        {more}
        "#
    );
    std::fs::write(&file, text).unwrap();
    file
}

pub const DECLARED: &str = "[[gate.allow]]\ncidr = \"10.0.0.0/8\"\ntag = \"core\"\n";

impl Desk {
    pub fn new() -> Self {
        Self::configured("", DECLARED)
    }

    pub fn configured(gate: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        configure(folder.path(), gate, more);
        Self::start(folder, Fake::default(), moment(0))
    }

    /// Ends the keeper as SIGKILL would and starts another over the same files and tables.
    pub fn restart(self, now: Timestamp) -> Self {
        let Self { folder, fake, keeper, .. } = self;
        drop(keeper);
        Self::start(folder, fake, now)
    }

    fn start(folder: tempfile::TempDir, fake: Fake, now: Timestamp) -> Self {
        let file = folder.path().join("sallyport.toml");
        let config = Arc::new(Config::parse(&std::fs::read_to_string(&file).unwrap()).unwrap());
        let journal = Journal::memory();
        let now_ns = fake.now_ns();
        let left = Left { entries: Gate::entries(&fake), bans: Gate::bans(&fake), now_ns };
        let files = Files::within(&config.gate.state);
        let lists = Lists::read(&config, &files, &left, now).unwrap();
        for problem in lists.damages.clone() {
            journal.write(Event::Trouble { room: "gate", problem });
        }
        fake.clone().replace(&ruleset(&config, &lists, now_ns, now)).unwrap();
        let first = Bulletin { lists: 0, listeners: 0, service: Service::Serve };
        let (sender, bulletin) = watch::channel(first);
        let gate = Box::new(fake.clone());
        let record = folder.path().join("gate.listeners");
        let listeners = Arc::new(Mutex::new(Listeners::open(&[], record).unwrap()));
        let sender = Arc::new(sender);
        let keeper = Keeper::new(gate, config, file, lists, listeners, journal.clone(), sender);
        Self { folder, fake, keeper, journal, bulletin }
    }

    pub fn ask(&mut self, request: GateRequest, caller: Caller, now: i64) -> Result<Value, String> {
        self.keeper.answer(request, caller, moment(now))
    }

    /// Asks for a change and returns what became of the first network, with its remark.
    pub fn change(
        &mut self,
        request: GateRequest,
        caller: Caller,
        now: i64,
    ) -> Result<(Did, String), String> {
        let answer = self.ask(request, caller, now)?;
        let changes: Vec<Change> = serde_json::from_value(answer).unwrap();
        Ok((changes[0].did, changes[0].remark.clone().unwrap_or_default()))
    }

    /// Makes writing into the state folder fail, or possible again.
    pub fn block_files(&self) {
        for name in ["allow.new", "bans.new"] {
            std::fs::create_dir_all(self.folder.path().join(name)).unwrap();
        }
    }

    pub fn free_files(&self) {
        for name in ["allow.new", "bans.new"] {
            std::fs::remove_dir(self.folder.path().join(name)).unwrap();
        }
    }
}

pub fn add(network: &str) -> GateRequest {
    add_for(network, None)
}

pub fn add_for(network: &str, ttl_ms: Option<u64>) -> GateRequest {
    let networks = vec![network.parse().unwrap()];
    GateRequest::AllowAdd { networks, tag: None, note: None, ttl_ms }
}

pub fn remove(network: &str) -> GateRequest {
    GateRequest::AllowRemove { networks: vec![network.parse().unwrap()] }
}

pub fn ban(network: &str, seconds: u64) -> GateRequest {
    let networks = vec![network.parse().unwrap()];
    GateRequest::BanAdd { networks, ttl_ms: seconds * 1_000, note: None }
}

pub fn unban(network: &str) -> GateRequest {
    GateRequest::BanRemove { networks: vec![network.parse().unwrap()] }
}
