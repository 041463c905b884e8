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
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use relay_common::state::Alone;
use tokio::sync::watch as channel;

use super::approaches::Watch;
use super::bypass::Bypasses;
use super::changes::audited;
use super::listeners::Listeners;
use super::lists::Lists;
use super::redeclared::redeclared;
use super::standing;
use super::telling::{problem, ruleset, stands, told};
use super::watching::Watching;
use crate::appliance::load::{self, Reloaded};
use crate::config::{Config, OnLoss};
use crate::control::wire::Sandbox;
use crate::event::Event;
use crate::gate::audit::{self, Audit};
use crate::gate::bans::{Ban, Budget};
use crate::gate::cidr::network;
use crate::gate::clocks::Moment;
use crate::gate::record::{Files, Former};
use crate::gate::{Gate, Health, InterfaceState, Ruleset};
use crate::journal::Journal;

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
    pub(super) watching: Watching,
    pub(super) budget: Budget,
    pub(super) journal: Journal,
    pub(super) bulletin: Arc<channel::Sender<Bulletin>>,
    pub(super) health: Vec<Health>,
    pub(super) approaches: Watch,
    pub(super) standing: standing::Watch,
    pub(super) pending: Pending,
    pub(super) audit: Audit,
    /// Bans of the relay's that are in the kernel and not in the file yet.
    pub(super) unsaved_bans: Vec<Ban>,
    /// The list that comes back unless the one that counts is confirmed.
    pub(super) former: Option<Former>,
    /// How many entries the list in shadow has.
    pub(super) shadow: Option<usize>,
    /// Until when the gate only observes, as far as this process knows.
    pub(super) observing: Option<u64>,
    /// Whether the gate was taken away on purpose.
    pub(super) is_detached: bool,
    /// When the list changed last, on the boot clock.
    pub(super) changed_ns: u64,
    pub(super) bypasses: Bypasses,
    pub(super) listeners: Arc<Mutex<Listeners>>,
    pub(super) sandbox: Option<Sandbox>,
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
    /// A change is not in the audit log; why.
    pub audit: Option<String>,
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
        let observe_until_ns = gate.switched().observe_until_ns;
        let observing = Some(observe_until_ns).filter(|until_ns| *until_ns > gate.now_ns());
        let mut keeper = Self {
            health: gate.health(),
            approaches: Watch::default(),
            standing: standing::Watch::default(),
            changed_ns: gate.now_ns(),
            gate,
            file,
            files: Files::within(&config.gate.state),
            audit: Audit::within(&config.gate.state),
            former: lists.former.clone(),
            lists,
            watching: Watching::new(&config, &journal),
            budget: Budget::default(),
            journal,
            bulletin,
            pending: Pending::default(),
            unsaved_bans: Vec::new(),
            shadow: None,
            observing,
            is_detached: false,
            bypasses: Bypasses::default(),
            listeners,
            sandbox: None,
            config,
        };
        for Health { interface, state } in keeper.health.clone() {
            let event = match state {
                InterfaceState::Guarded { mode, adopted, .. } => {
                    Event::GateAttached { interface, mode: mode.name(), adopted }
                }
                other => Event::GateLost { interface, problem: problem(&other) },
            };
            keeper.journal.write(event);
        }
        keeper.approaches.seen = keeper.seen_approaches();
        // Both are written even if nothing changed: what stood in the kernel alone outlives the next start.
        let now = keeper.now();
        keeper.save_allowlist(now);
        keeper.save_bans(now);
        keeper.tell_observing(now);
        keeper.publish();
        keeper
    }

    /// Returns this moment.
    pub fn now(&self) -> Moment {
        Moment { wall: jiff::Timestamp::now(), boot_ns: self.gate.now_ns() }
    }

    /// Reads the counters, finds spikes, ends what is over. Called every [`crate::watch::TICK`].
    pub fn sample(&mut self, now: Moment) {
        // First: an alert names who was seen.
        self.take_samples(now);
        match self.gate.counters() {
            Ok(counters) => {
                self.watch_counters(&counters, now);
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
        self.roll_back_if_due(now);
        self.end_observing(now);
        self.flush_bans(now);
    }

    /// Looks whether the program stands on every interface, puts it back where it is missing, and tries
    /// again what failed. Called each second, and when an interface changes.
    pub fn inspect(&mut self, now: Moment) {
        let mut health = self.gate.health();
        // The loss is told before the repair, which may succeed at once: somebody took it away.
        self.compare(&health);
        if !self.is_detached {
            health = self.gate.repair();
            self.compare(&health);
        }
        self.look_at_approaches(now);
        self.look_at_listeners(now);
        self.publish();
        for message in self.gate.diagnostics() {
            self.journal.write(Event::Kernel { message });
        }
        self.sum_up(now);
        self.listen_for_relay(now);
        if self.pending.tables.is_some() {
            self.restore_tables();
        }
        if self.pending.allow_file.is_some() {
            self.save_allowlist(now);
        }
        if self.pending.bans_file.is_some() {
            self.save_bans(now);
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
    /// takes a restart stays as it was, and that is returned. A file with problems leaves everything as it
    /// was.
    ///
    /// # Errors
    ///
    /// A text with every problem of the file, or what the kernel refused.
    pub fn reload(&mut self, uid: Option<u32>, now: Moment) -> Result<Option<String>, String> {
        let Reloaded { config, left_out } =
            load::reload(&self.file, &self.config).map_err(|error| format!("{error:#}"))?;
        self.lists.allow.redeclare(&config.gate.allow);
        let former = std::mem::replace(&mut self.config, Arc::new(config));
        let wanted = self.ruleset();
        if let Err(error) = self.gate.replace(&wanted) {
            self.config = former;
            self.lists.allow.redeclare(&self.config.gate.allow);
            // Half of it may be done; the old state is whole.
            self.restore_tables();
            return Err(told(&error));
        }
        self.pending.restart = left_out;
        if let Some(problem) = self.pending.restart.clone() {
            self.trouble(&problem);
        }
        self.watching.watch.configure(self.config.spikes.clone());
        self.save_allowlist(now);
        self.list_changed();
        self.publish();
        let (before, after) = (&former.gate.allow, &self.config.gate.allow);
        let change = redeclared(before, after, &self.lists.allow, uid, now);
        self.note_whole(change);
        Ok(self.pending.restart.clone())
    }

    /// Returns what the kernel is to be told.
    pub(super) fn ruleset(&self) -> Ruleset {
        ruleset(&self.config, &self.lists)
    }

    /// Brings the kernel's tables to what the lists say.
    pub(super) fn restore_tables(&mut self) {
        let wanted = self.ruleset();
        self.pending.tables = match self.gate.replace(&wanted) {
            Ok(()) => None,
            Err(error) => {
                Some(format!("the kernel's tables differ from the lists: {}", told(&error)))
            }
        };
    }

    /// Writes the allowlist's file, or notes that it must be tried again.
    pub(super) fn save_allowlist(&mut self, now: Moment) {
        let problem = self.files.save_allowlist(&self.lists.allow.kept(), now).err();
        self.pending.allow_file = self.noted(self.pending.allow_file.is_none(), problem);
    }

    /// Writes the bans' file, or notes that it must be tried again.
    pub(super) fn save_bans(&mut self, now: Moment) {
        let is_first = self.pending.bans_file.is_none();
        let problem =
            self.files.save_bans(self.lists.bans.iter(), self.lists.bans.past(), now).err();
        self.pending.bans_file = self.noted(is_first, problem);
    }

    /// Writes what was done into the audit log. A failure is told and shown; what was done stays done.
    pub(super) fn note(
        &mut self,
        uid: Option<u32>,
        verb: &str,
        networks: Vec<String>,
        detail: Option<String>,
        now: Moment,
    ) {
        self.note_whole(audited(uid, verb, networks, detail, now));
    }

    fn note_whole(&mut self, change: audit::Change) {
        let problem = self.audit.append(change).err();
        let problem = problem.map(|error| format!("the audit log lacks a change: {error}"));
        if problem.is_some() {
            self.pending.audit = self.noted(self.pending.audit.is_none(), problem);
        }
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

    /// Notes that a list changed: what the second door refuses now may have passed the first before.
    pub(super) fn note_change(&mut self) {
        self.changed_ns = self.gate.now_ns();
    }

    /// Notes that a list changed so that somebody may be admitted no more.
    pub(super) fn list_changed(&mut self) {
        self.note_change();
        self.admits_less();
    }

    /// Tells the second door and the relay how the first door stands, if that changed.
    pub(super) fn publish(&mut self) {
        let lost = !self.is_detached && self.health.iter().any(|one| !stands(&one.state));
        let refuses = self.config.gate.on_loss == OnLoss::Refuse && self.config.gate.required;
        let (alone, service) = match (lost, refuses) {
            (false, _) => (Alone::No, Service::Serve),
            (true, true) => (Alone::Shuts, Service::Refuse),
            (true, false) => (Alone::Judges, Service::Serve),
        };
        if let Err(error) = self.gate.leave_alone(alone) {
            self.trouble(&told(&error));
        }
        self.bulletin.send_if_modified(|bulletin| {
            let changed = bulletin.service != service;
            bulletin.service = service;
            changed
        });
    }

    pub(super) fn trouble(&self, problem: &str) {
        self.journal.write(Event::Trouble { room: "gate", problem: problem.to_owned() });
    }

    /// Takes the entries and bans away whose time is over. The kernel keeps to those times by itself: this
    /// ends sessions, and tidies.
    fn expire(&mut self, now: Moment) {
        let plan = self.lists.allow.expire(now.boot_ns);
        if !plan.edits.is_empty() {
            let (steps, _) = self.lists.allow.apply(&plan.edits);
            self.narrow(&steps);
            if self.files.append_allow(&plan.edits, now).is_err() {
                self.save_allowlist(now);
            }
            self.list_changed();
            let networks: Vec<String> =
                plan.did.iter().map(|(net, _)| network(*net).to_string()).collect();
            for (net, _) in plan.did {
                self.journal.write(Event::AllowExpired { net: network(net) });
            }
            self.note(None, "allow expired", networks, None, now);
        }
        self.expire_bans(now);
    }
}
