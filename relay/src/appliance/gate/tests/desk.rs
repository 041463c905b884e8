//! A keeper over a gate in memory, and what is asked of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::super::keeper::{Bulletin, Keeper, Service};
use super::super::listeners::Listeners;
use super::super::lists::{Left, Lists};
use super::super::telling::ruleset;
pub use super::fake::{Fake, GUARDED};
use crate::config::Config;
use crate::control::caller::{Caller, Right};
use crate::control::wire::{Change, Did, GateRequest};
use crate::event::Event;
use crate::gate::Gate;
use crate::gate::clocks::Moment;
use crate::gate::record::Files;
use crate::journal::Journal;

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

/// A moment at which both clocks show the same time.
pub fn moment(second: i64) -> Moment {
    let wall = Timestamp::from_second(second).unwrap();
    Moment { wall, boot_ns: second.unsigned_abs() * 1_000_000_000 }
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
    pub fn restart(self, now: Moment) -> Self {
        let Self { folder, fake, keeper, .. } = self;
        drop(keeper);
        Self::start(folder, fake, now)
    }

    fn start(folder: tempfile::TempDir, fake: Fake, now: Moment) -> Self {
        let file = folder.path().join("sallyport.toml");
        let config = Arc::new(Config::parse(&std::fs::read_to_string(&file).unwrap()).unwrap());
        let journal = Journal::memory();
        fake.tables().now_ns = now.boot_ns;
        let left = Left { entries: Gate::entries(&fake), bans: Gate::bans(&fake) };
        let files = Files::within(&config.gate.state);
        let lists = Lists::read(&config, &files, &left, now).unwrap();
        for problem in lists.damages.clone() {
            journal.write(Event::Trouble { room: "gate", problem });
        }
        fake.clone().replace(&ruleset(&config, &lists)).unwrap();
        let first = Bulletin { lists: 0, listeners: 0, service: Service::Serve };
        let (sender, bulletin) = watch::channel(first);
        let gate = Box::new(fake.clone());
        let record = folder.path().join("gate.listeners");
        let listeners =
            Arc::new(Mutex::new(Listeners::open(&[], None, Vec::new(), record).unwrap()));
        let sender = Arc::new(sender);
        let keeper = Keeper::new(gate, config, file, lists, listeners, journal.clone(), sender);
        Self { folder, fake, keeper, journal, bulletin }
    }

    /// Asks, and returns the answer as JSON.
    pub fn ask(
        &mut self,
        request: GateRequest,
        caller: Caller,
        now: i64,
    ) -> Result<Vec<u8>, String> {
        self.ask_with(request, "", caller, now)
    }

    /// Asks with a file that follows the question.
    pub fn ask_with(
        &mut self,
        request: GateRequest,
        file: &str,
        caller: Caller,
        now: i64,
    ) -> Result<Vec<u8>, String> {
        let now = self.at(now);
        let said = self.keeper.answer(request, file.as_bytes(), caller, now)?;
        Ok(said.json().to_vec())
    }

    /// Asks what anybody may ask.
    pub fn look<A: DeserializeOwned>(&mut self, request: GateRequest, now: i64) -> A {
        serde_json::from_slice(&self.ask(request, ANYBODY, now).unwrap()).unwrap()
    }

    /// Moves the fake kernel's clock.
    pub fn at(&self, second: i64) -> Moment {
        let now = moment(second);
        self.fake.tables().now_ns = now.boot_ns;
        now
    }

    pub fn sample(&mut self, second: i64) {
        let now = self.at(second);
        self.keeper.sample(now);
    }

    pub fn reload(&mut self, second: i64) -> Result<Option<String>, String> {
        let now = self.at(second);
        self.keeper.reload(None, now)
    }

    pub fn inspect(&mut self, second: i64) {
        let now = self.at(second);
        self.keeper.inspect(now);
    }

    /// Asks for a change and returns what became of the first network, with its remark.
    pub fn change(
        &mut self,
        request: GateRequest,
        caller: Caller,
        now: i64,
    ) -> Result<(Did, String), String> {
        let answer = self.ask(request, caller, now)?;
        let changes: Vec<Change> = serde_json::from_slice(&answer).unwrap();
        Ok((changes[0].did, changes[0].remark.clone().unwrap_or_default()))
    }

    /// Makes writing into the state folder fail, or possible again.
    pub fn block_files(&mut self) {
        for name in ["allow.new", "bans.new"] {
            std::fs::create_dir_all(self.folder.path().join(name)).unwrap();
        }
        self.keeper.files.fill_disk();
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
    let (tag, note, connect_rate, source_rate) = (None, None, None, None);
    GateRequest::AllowAdd { networks, tag, note, ttl_ms, connect_rate, source_rate }
}

pub fn remove(network: &str) -> GateRequest {
    GateRequest::AllowRemove { networks: vec![network.parse().unwrap()] }
}

pub fn ban(network: &str, seconds: u64) -> GateRequest {
    let networks = vec![network.parse().unwrap()];
    GateRequest::BanAdd { networks, ttl_ms: Some(seconds * 1_000), note: None }
}

pub fn unban(network: &str) -> GateRequest {
    GateRequest::BanRemove { networks: vec![network.parse().unwrap()] }
}
