//! What the relay knows of the gate and of its clients, and whether it may serve.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use relay_common::verdict::{Reason, Verdict};

use crate::config::{self, Config, OnLoss};
use crate::control::wire::{Notice, UNGUARDED};
use crate::gate::cidr::network;
use crate::gate::{EntryCounts, GateError, InterfaceState, Listed, Survey, View};
use crate::mail::came::Admission;
use crate::net::inbound::Admitted;
use crate::policy::conduct::{AutoBan, AutoBans, Source, Standing};

/// How the listeners are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing guards them, and the configuration permits that.
    Unguarded,
    /// The gate has not been heard of, or its tables cannot be read: nobody is served.
    Waiting,
    /// The gate's program is missing from an interface and `on-loss` is `refuse`.
    Refusing,
    /// The gate's program is missing from an interface and `on-loss` is `second-door`.
    Degraded,
    /// The gate stands.
    Guarded,
}

impl Guard {
    /// Returns the words for `status`.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Unguarded => UNGUARDED,
            Self::Waiting => "waiting for the gate",
            Self::Refusing => "the gate is missing",
            Self::Degraded => "the gate is missing, serving on",
            Self::Guarded => "guarded",
        }
    }

    /// Tells whether clients are accepted.
    pub(super) const fn serves(self) -> bool {
        match self {
            Self::Unguarded | Self::Degraded | Self::Guarded => true,
            Self::Waiting | Self::Refusing => false,
        }
    }
}

/// What the configuration wants while the gate's program is missing from an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Serve nobody.
    Gate,
    /// Serve on: the second door judges alone.
    AnyDoor,
    /// Serve: no gate is required.
    None,
}

impl Need {
    const fn of(config: &config::Gate) -> Self {
        match (config.required, config.on_loss) {
            (false, _) => Self::None,
            (true, OnLoss::Refuse) => Self::Gate,
            (true, OnLoss::SecondDoor) => Self::AnyDoor,
        }
    }
}

/// What the relay sees of the gate itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The tables cannot be read.
    Nothing,
    /// The program is missing from an interface.
    Loss,
    /// The program stands on every interface.
    Gate,
}

/// Decides how the listeners are guarded, where a gate is configured.
const fn decide(told: Option<Notice>, need: Need, seen: Seen) -> Guard {
    match (told, need, seen) {
        (Some(Notice::Serve), _, Seen::Gate) => Guard::Guarded,
        (Some(_), Need::None, _) => Guard::Unguarded,
        (None, _, _) | (Some(_), _, Seen::Nothing) => Guard::Waiting,
        (Some(_), Need::Gate, Seen::Loss | Seen::Gate) => Guard::Refusing,
        (Some(_), Need::AnyDoor, Seen::Loss | Seen::Gate) => Guard::Degraded,
    }
}

/// Tells whether our program stands on an interface.
const fn stands(state: &InterfaceState) -> bool {
    match state {
        InterfaceState::Guarded { .. } => true,
        InterfaceState::Missing
        | InterfaceState::Foreign { .. }
        | InterfaceState::NoInterface
        | InterfaceState::Unknown { .. }
        | InterfaceState::Off => false,
    }
}

/// The gate as the relay sees it: the pinned tables, and the last word of the gate's process.
#[derive(Clone)]
pub(super) struct Watched {
    interfaces: Arc<[String]>,
    pins: PathBuf,
    need: Need,
    view: Arc<RwLock<Option<Arc<View>>>>,
    told: Option<Notice>,
    /// What the last look found.
    guard: Arc<Mutex<Guard>>,
    auto_bans: Arc<RwLock<AutoBans>>,
}

impl Watched {
    pub(super) fn new(config: &Config) -> Self {
        let gate = &config.gate;
        Self {
            interfaces: gate.interfaces.clone().into(),
            pins: gate.pins.clone(),
            need: Need::of(gate),
            view: Arc::default(),
            told: None,
            guard: Arc::new(Mutex::new(Guard::Waiting)),
            auto_bans: Arc::new(RwLock::new(AutoBans::new(config))),
        }
    }

    /// Takes what a reload changed.
    pub(super) fn configure(&mut self, config: &Config) {
        self.need = Need::of(&config.gate);
        *self.auto_bans.write().unwrap_or_else(PoisonError::into_inner) = AutoBans::new(config);
    }

    /// Tells whether there is a gate to watch.
    pub(super) fn is_configured(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// Takes the word of the gate's process. The tables are opened anew: they may be others.
    pub(super) fn hear(&mut self, notice: Notice) -> Result<(), GateError> {
        match notice {
            Notice::ListChanged => {}
            Notice::Refuse | Notice::Serve => self.told = Some(notice),
        }
        self.open()
    }

    fn open(&self) -> Result<(), GateError> {
        let opened = View::open(&self.pins);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        match opened {
            Ok(opened) => *view = Some(Arc::new(opened)),
            Err(error) => {
                *view = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Looks at the interfaces, without asking the gate's process: it may be dead.
    pub(super) fn look(&self) -> Guard {
        let found = if self.is_configured() { self.find() } else { Guard::Unguarded };
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) = found;
        found
    }

    /// Returns what the last look found.
    pub(super) fn guard(&self) -> Guard {
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self) -> Guard {
        if self.told.is_some() && self.see() == Seen::Nothing {
            // It was told already when it could not be opened.
            let _ = self.open();
        }
        decide(self.told, self.need, self.see())
    }

    fn see(&self) -> Seen {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        match view.as_ref().map(|view| view.health(&self.interfaces)) {
            None => Seen::Nothing,
            Some(health) if health.iter().all(|one| stands(&one.state)) => Seen::Gate,
            Some(_) => Seen::Loss,
        }
    }

    /// Reads what the gate counted on these guarded ports, and of so many of its busiest entries; none where
    /// its tables cannot be read. It may take some hundred milliseconds, and nobody waits for it.
    pub(super) fn survey(&self, ports: &[u16], most: usize) -> Option<Survey> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner).clone();
        view?.survey(&self.interfaces, ports, most).ok()
    }

    /// Returns the entry that lists a client.
    pub(super) fn entry_of(&self, source: IpAddr) -> Admitted {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let listed = view.as_ref().and_then(|view| view.listed(source));
        let Some(Listed { net, tag, counts, .. }) = listed else { return Admitted::default() };
        let EntryCounts { passed, over_rate, .. } = counts;
        let entry = net.map(|net| Admission { network: network(net), passed, over_rate });
        Admitted { entry, tag }
    }

    /// Returns whom a client's misconduct counts against, and whether it may be banned for it. Where no gate
    /// stands nobody can be, and a client that no entry lists is not the gate's.
    pub(super) fn standing(&self, client: IpAddr) -> Standing {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let listed = view.as_ref().and_then(|view| view.listed(client));
        let entry = listed.as_ref().and_then(|listed| listed.net).map(network);
        let tag = listed.as_ref().and_then(|listed| listed.tag.as_deref());
        let auto_bans = self.auto_bans.read().unwrap_or_else(PoisonError::into_inner);
        let auto_ban = match (self.guard(), entry) {
            (Guard::Guarded | Guard::Degraded, Some(entry)) => auto_bans.of(client, entry, tag),
            (Guard::Guarded | Guard::Degraded, None)
            | (Guard::Unguarded | Guard::Waiting | Guard::Refusing, _) => AutoBan::Off,
        };
        Standing { source: Source::of(client, entry), auto_ban }
    }

    /// Tells whether the gate admits a client. The host itself is always admitted, and without a gate
    /// everybody: tables that an earlier one left say nothing then.
    pub(super) fn admits(&self, source: IpAddr) -> bool {
        if source.is_loopback() || self.guard() == Guard::Unguarded {
            return true;
        }
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.as_ref().is_some_and(|view| admitted(view.verdict(source)))
    }
}

/// Tells whether a source with this verdict may have a session. Its connection attempts were counted in
/// the kernel: one that is over its rate just now gets no new connection, and keeps those it has.
const fn admitted(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Pass(_)
        | Verdict::Spare(_)
        | Verdict::Drop(Reason::OverRate | Reason::SourceOverRate) => true,
        Verdict::Drop(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_over_his_rate_keeps_his_sessions_and_who_is_banned_or_unlisted_does_not() {
        for verdict in Reason::ALL.map(Verdict::Drop) {
            let keeps = matches!(verdict.reason(), Reason::OverRate | Reason::SourceOverRate);
            assert_eq!(admitted(verdict), keeps, "{verdict:?}");
        }
        assert!(admitted(Verdict::Spare(Reason::UnlistedSyn)), "while the gate observes");
        assert!(admitted(Verdict::Pass(Reason::Admitted)));
    }

    #[test]
    fn without_a_gate_everybody_is_admitted_and_before_it_is_heard_of_nobody() {
        let text = include_str!("../../../config/sallyport.toml");
        let mut config = Config::parse(text).unwrap();
        let (source, host) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let waiting = Watched::new(&config);
        assert_eq!(waiting.look(), Guard::Waiting);
        assert_eq!([waiting.admits(source), waiting.admits(host)], [false, true]);
        config.gate.interfaces.clear();
        let without = Watched::new(&config);
        assert_eq!(without.look(), Guard::Unguarded);
        assert!(without.admits(source));
        let standing = Standing { source: Source::of(source, None), auto_ban: AutoBan::Off };
        assert_eq!(without.standing(source), standing, "nobody can be banned");
    }

    #[test]
    fn clients_are_served_only_behind_the_gate_unless_the_configuration_says_otherwise() {
        let (serve, refuse) = (Some(Notice::Serve), Some(Notice::Refuse));
        let rows = [
            ("nothing heard yet", None, Need::Gate, Seen::Gate, Guard::Waiting),
            ("nothing heard, none needed", None, Need::None, Seen::Nothing, Guard::Waiting),
            ("all is well", serve, Need::Gate, Seen::Gate, Guard::Guarded),
            ("lost, said by the gate", refuse, Need::Gate, Seen::Loss, Guard::Refusing),
            ("lost, the gate is dead", serve, Need::Gate, Seen::Loss, Guard::Refusing),
            ("back, not yet said", refuse, Need::Gate, Seen::Gate, Guard::Refusing),
            ("lost, serve on", serve, Need::AnyDoor, Seen::Loss, Guard::Degraded),
            ("tables unreadable", serve, Need::Gate, Seen::Nothing, Guard::Waiting),
            ("tables unreadable, serve on", serve, Need::AnyDoor, Seen::Nothing, Guard::Waiting),
            ("a build without gate", serve, Need::None, Seen::Nothing, Guard::Unguarded),
            ("lost, none needed", serve, Need::None, Seen::Loss, Guard::Unguarded),
        ];
        for (name, told, need, seen, wanted) in rows {
            assert_eq!(decide(told, need, seen), wanted, "{name}");
        }
    }
}
