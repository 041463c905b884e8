//! The owner of the gate: holds the kernel's tables, the lists and their files to one state.
//!
//! It runs on a thread of its own, since flushing a file and asking the kernel block. The order of
//! every change follows from one question, what a crash in between leaves:
//!
//! - The file is the truth; a start brings the tables to what it says. So a change is in the file
//!   first, durably, then in the kernel, and then the command returns: it is effective, and stays so.
//! - A change that *admits* more is refused if the file cannot be written: an entry that the next
//!   start forgets is worse than none.
//! - A change that admits *less* is made in the kernel even then, and the file is written as soon as
//!   it can be: a full disk must not hold the door open for somebody who was shut out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use relay_common::table::{Scope, Settings};
use tokio::sync::watch as channel;

use super::clocks::boot_time;
use super::listeners::Listeners;
use super::lists::Lists;
use crate::appliance::load::{self, Reloaded};
use crate::config::{Config, OnLoss};
use crate::event::Event;
use crate::gate::bans::Budget;
use crate::gate::cidr::network;
use crate::gate::record::Files;
use crate::gate::{Gate, GateError, Health, InterfaceState, Ruleset};
use crate::journal::Journal;
use crate::watch::{Sample, Watch};

/// What the relay is told, as the state that it should know. A number that changed is a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulletin {
    /// Counts the changes by which somebody may be admitted no more.
    pub lists: u64,
    /// Counts the changes of the listening sockets.
    pub listeners: u64,
    /// Whether clients are to be served.
    pub service: Service,
}

/// Whether clients are to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// They are.
    Serve,
    /// The gate's program is missing, and the configuration says to serve nobody then.
    Refuse,
}

/// The owner of the gate.
pub struct Keeper {
    pub(super) gate: Box<dyn Gate>,
    pub(super) config: Arc<Config>,
    /// The configuration's file.
    pub(super) file: PathBuf,
    pub(super) lists: Lists,
    pub(super) files: Files,
    pub(super) watch: Watch,
    pub(super) budget: Budget,
    pub(super) journal: Journal,
    pub(super) bulletin: Arc<channel::Sender<Bulletin>>,
    pub(super) health: Vec<Health>,
    pub(super) pending: Pending,
    listeners: Arc<Mutex<Listeners>>,
}

/// What should be done already and could not be: it is tried again each second.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The allowlist's file is older than the list; why.
    pub allow_file: Option<String>,
    /// The bans' file is older than the bans; why. An empty text: it was not tried yet.
    pub bans_file: Option<String>,
    /// The kernel's tables differ from the lists; why.
    pub tables: Option<String>,
    /// The counters cannot be read; why.
    pub counters: Option<String>,
    /// The configuration's file says more than a running process can take.
    pub restart: Option<String>,
}

impl Keeper {
    /// Returns the owner of a gate that stands, and says in the journal how it stands.
    pub fn new(
        gate: Box<dyn Gate>,
        config: Arc<Config>,
        file: PathBuf,
        lists: Lists,
        listeners: Arc<Mutex<Listeners>>,
        journal: Journal,
        bulletin: Arc<channel::Sender<Bulletin>>,
    ) -> Self {
        let mut keeper = Self {
            health: gate.health(),
            gate,
            file,
            lists,
            files: Files::within(&config.gate.state),
            watch: Watch::new(config.spikes.clone()),
            budget: Budget::default(),
            journal,
            bulletin,
            pending: Pending::default(),
            listeners,
            config,
        };
        for Health { interface, state } in keeper.health.clone() {
            let event = match state {
                InterfaceState::Guarded { mode, adopted } => {
                    Event::GateAttached { interface, mode: mode.name(), adopted }
                }
                other => Event::GateLost { interface, problem: problem(&other) },
            };
            keeper.journal.write(event);
        }
        // Both are written even if nothing changed: what stood in the kernel alone outlives the next start.
        keeper.save_allowlist();
        keeper.save_bans();
        keeper.publish();
        keeper
    }

    /// Reads the counters, finds spikes, ends what is over. Called every [`crate::watch::TICK`].
    pub fn sample(&mut self, now: Timestamp) {
        match self.gate.counters() {
            Ok(counters) => {
                let at = Duration::from_nanos(self.gate.now_ns());
                for alert in self.watch.take(Sample { at, counts: [counters.dropped()] }) {
                    self.journal.write(alert.into());
                }
                self.pending.counters = None;
            }
            Err(error) => {
                let problem = format!("the counters cannot be read: {}", told(&error));
                if self.pending.counters.is_none() {
                    self.trouble(&problem);
                }
                self.pending.counters = Some(problem);
            }
        }
        self.expire(now);
        if self.pending.bans_file.as_deref() == Some("") {
            self.save_bans();
        }
    }

    /// Looks whether the program stands on every interface, puts it back where it is missing, and tries
    /// again what failed. Called each second.
    pub fn inspect(&mut self, now: Timestamp) {
        let mut health = self.gate.health();
        // The loss is told before the repair, which may succeed at once: somebody took it away.
        self.compare(&health);
        if health.iter().any(|one| !stands(&one.state)) {
            health = self.gate.repair();
            self.compare(&health);
        }
        self.publish();
        for message in self.gate.diagnostics() {
            self.journal.write(Event::Kernel { message });
        }
        if self.pending.tables.is_some() {
            self.restore_tables(now);
        }
        if self.pending.allow_file.is_some() {
            self.save_allowlist();
        }
        if self.pending.bans_file.is_some() {
            self.save_bans();
        }
    }

    /// Tells what changed between the last look and this one.
    fn compare(&mut self, health: &[Health]) {
        let before: BTreeMap<&str, bool> =
            self.health.iter().map(|one| (one.interface.as_str(), stands(&one.state))).collect();
        for Health { interface, state } in health {
            let interface = interface.clone();
            let event = match (before.get(interface.as_str()), stands(state)) {
                (Some(true) | None, false) => {
                    Event::GateLost { interface, problem: problem(state) }
                }
                (Some(false), true) => Event::GateRestored { interface },
                (Some(false), false) | (Some(true) | None, true) => continue,
            };
            self.journal.write(event);
        }
        self.health = health.to_vec();
    }

    /// Takes a new configuration: declared entries, strictness, what a loss means, what makes a spike. What
    /// takes a restart stays as it was, and that is said. A file with problems leaves everything as it was.
    ///
    /// # Errors
    ///
    /// A text with every problem of the file, or what the kernel refused.
    pub fn reload(&mut self, now: Timestamp) -> Result<(), String> {
        let Reloaded { config, left_out } =
            load::reload(&self.file, &self.config).map_err(|error| format!("{error:#}"))?;
        self.lists.allow.redeclare(&config.gate.allow);
        let wanted = ruleset(&config, &self.lists, self.gate.now_ns(), now);
        if let Err(error) = self.gate.replace(&wanted) {
            self.lists.allow.redeclare(&self.config.gate.allow);
            // Half of it may be done; the old state is whole.
            self.restore_tables(now);
            return Err(told(&error));
        }
        self.pending.restart = left_out.map(str::to_owned);
        if let Some(problem) = self.pending.restart.clone() {
            self.trouble(&problem);
        }
        self.watch.configure(config.spikes.clone());
        self.config = Arc::new(config);
        self.save_allowlist();
        self.admits_less();
        Ok(())
    }

    /// Brings the kernel's tables to what the lists say.
    pub(super) fn restore_tables(&mut self, now: Timestamp) {
        let wanted = ruleset(&self.config, &self.lists, self.gate.now_ns(), now);
        self.pending.tables = match self.gate.replace(&wanted) {
            Ok(()) => None,
            Err(error) => {
                Some(format!("the kernel's tables differ from the lists: {}", told(&error)))
            }
        };
    }

    /// Writes the allowlist's file, or notes that it must be tried again.
    pub(super) fn save_allowlist(&mut self) {
        let problem = self.files.save_allowlist(&self.lists.allow.kept()).err();
        self.pending.allow_file = self.noted(self.pending.allow_file.is_none(), problem);
    }

    /// Writes the bans' file, or notes that it must be tried again.
    pub(super) fn save_bans(&mut self) {
        let is_first = self.pending.bans_file.as_ref().is_none_or(String::is_empty);
        let problem = self.files.save_bans(self.lists.bans.iter()).err();
        self.pending.bans_file = self.noted(is_first, problem);
    }

    fn noted(&self, is_first: bool, problem: Option<impl ToString>) -> Option<String> {
        let problem = problem.map(|problem| problem.to_string());
        if let Some(problem) = problem.as_ref().filter(|_| is_first) {
            self.trouble(problem);
        }
        problem
    }

    /// Tells the relay that somebody may be admitted no more.
    pub(super) fn admits_less(&self) {
        self.bulletin.send_modify(|bulletin| bulletin.lists += 1);
    }

    /// Tells the relay whether to serve, if that changed.
    fn publish(&self) {
        let lost = self.health.iter().any(|one| !stands(&one.state));
        let service = match self.config.gate.on_loss {
            OnLoss::Refuse if lost && self.config.gate.required => Service::Refuse,
            // The second door, a filter on each listening socket, belongs here: it goes on judging.
            OnLoss::Refuse | OnLoss::SecondDoor => Service::Serve,
        };
        self.bulletin.send_if_modified(|bulletin| {
            let changed = bulletin.service != service;
            bulletin.service = service;
            changed
        });
    }

    /// Returns what is wrong besides interfaces and spikes.
    pub(super) fn problems(&self) -> Vec<String> {
        let Pending { allow_file, bans_file, tables, counters, restart } = &self.pending;
        let pending = [allow_file, bans_file, tables, counters, restart].into_iter().flatten();
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = self.lists.damages.clone();
        problems.extend(pending.filter(|problem| !problem.is_empty()).cloned());
        problems.extend(listeners.problems());
        problems
    }

    pub(super) fn trouble(&self, problem: &str) {
        self.journal.write(Event::Trouble { room: "gate", problem: problem.to_owned() });
    }

    /// Takes the entries and bans away whose time is over.
    fn expire(&mut self, now: Timestamp) {
        let plan = self.lists.allow.expire(now);
        if !plan.edits.is_empty() {
            let (steps, _) = self.lists.allow.apply(&plan.edits);
            self.narrow(&steps, now);
            self.save_allowlist();
            self.admits_less();
            for (net, _) in plan.did {
                self.journal.write(Event::AllowExpired { net: network(net) });
            }
        }
        // The kernel's clock ended these already; here they leave the tables and the file.
        let over = self.lists.bans.expire(now);
        for ban in &over {
            if let Err(error) = self.gate.unban(&ban.net) {
                self.pending.tables = Some(told(&error));
            }
        }
        if !over.is_empty() {
            self.pending.bans_file.get_or_insert_default();
        }
    }

    /// Returns the addresses that the relay may not ban: those that this host listens on.
    pub(super) fn protected(&self) -> Vec<IpAddr> {
        self.config.listeners.iter().map(|listener| listener.address.ip()).collect()
    }
}

/// Returns what the kernel is to be told: `now_ns` is the boot clock at the wall clock's `now`.
#[must_use]
pub fn ruleset(config: &Config, lists: &Lists, now_ns: u64, now: Timestamp) -> Ruleset {
    let scope = if config.gate.strict { Scope::EverySegment } else { Scope::SynOnly };
    Ruleset {
        ports: guarded_ports(config),
        settings: Settings::new(scope),
        entries: lists.allow.entries().map(crate::gate::entry::Entry::for_kernel).collect(),
        bans: lists.bans.iter().map(|ban| (ban.net, boot_time(ban.until, now_ns, now))).collect(),
    }
}

/// Returns the guarded ports in order.
pub(super) fn guarded_ports(config: &Config) -> Vec<u16> {
    let guarded = config.listeners.iter().filter(|listener| listener.gate);
    let mut ports: Vec<u16> = guarded.map(|listener| listener.address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Returns whether an interface is as it should be.
pub(super) const fn stands(state: &InterfaceState) -> bool {
    match state {
        InterfaceState::Guarded { .. } | InterfaceState::Off => true,
        InterfaceState::Missing
        | InterfaceState::Foreign { .. }
        | InterfaceState::NoInterface
        | InterfaceState::Unknown { .. } => false,
    }
}

/// Says what is wrong with an interface.
pub(super) fn problem(state: &InterfaceState) -> String {
    match state {
        InterfaceState::Guarded { .. } => String::new(),
        InterfaceState::Off => "UNGUARDED: there is no gate".into(),
        InterfaceState::Missing => "the gate's program is missing".into(),
        InterfaceState::Foreign { program_id } => {
            format!("another program is in its place; see `bpftool prog show id {program_id}`")
        }
        InterfaceState::NoInterface => "there is no such interface; see `ip link`".into(),
        InterfaceState::Unknown { problem } => problem.clone(),
    }
}

/// Says an error with its cause.
pub(super) fn told(error: &GateError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
