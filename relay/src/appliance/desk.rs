//! What the relay answers on its control socket.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::mailroom::Mailroom;
use crate::alert::Alerts;
use crate::alert::silences::Silence;
use crate::control::caller::{Caller, Right};
use crate::control::server::{Handler, Said, require};
use crate::control::wire::{RelayRequest, RelayStatus, Sandbox, Which};
use crate::journal::Journal;
use crate::net::login::Logins;
use crate::net::routes::{RouteState, Routes, Standing};
use crate::spool::{Filter, Spool};

/// The longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The longest remark about a suspension or a silence, octets.
const NOTE_MAX: usize = 256;

/// Somebody who waits for the configuration to be read again, and how that went: a sentence about what
/// takes a restart, or what of it is not in force.
pub(super) type Reloading = oneshot::Sender<Result<Option<String>, String>>;

/// The relay's side of the control socket.
pub(super) struct Desk<F> {
    pub spool: Arc<Spool>,
    /// Those of the configuration in force.
    pub routes: watch::Receiver<Arc<Routes>>,
    pub journal: Journal,
    pub logins: Logins,
    pub alerts: Alerts,
    /// Tells how the sessions are.
    pub front: F,
    /// Asks the relay to read its configuration again.
    pub reload: mpsc::Sender<Reloading>,
    /// What of the sandbox holds.
    pub sandbox: Sandbox,
}

/// How the front door is.
pub(super) struct Front {
    pub serving: bool,
    pub guard: &'static str,
    pub sessions: usize,
    /// Files that cannot be used, a sentence each.
    pub troubled: Vec<String>,
}

impl<F: Fn() -> Front + Send + Sync + 'static> Handler for Desk<F> {
    type Request = RelayRequest;

    async fn answer(
        &self,
        request: RelayRequest,
        _file: Vec<u8>,
        caller: Caller,
    ) -> Result<Said, String> {
        match request {
            RelayRequest::Status => Said::of(&self.status()),
            RelayRequest::Reload => {
                require(caller, Right::Change)?;
                Said::of(&self.reload().await?)
            }
            RelayRequest::QueueList { filter, stretch, limit } => {
                let mail = self.mail(caller, "see mail")?;
                mail.list(self.routed(filter)?, stretch, limit).await
            }
            RelayRequest::QueueShow { id } => self.mail(caller, "see mail")?.show(id).await,
            RelayRequest::QueueRead { id, number } => {
                self.mail(caller, "read mail")?.read(id, number).await
            }
            RelayRequest::QueueCount { act, filter, stretch } => {
                let mail = self.mail(caller, "see mail")?;
                mail.count(act, self.routed(filter)?, stretch).await
            }
            RelayRequest::SpoolCompact => {
                require(caller, Right::Change)?;
                let compacted = self.spool.compact().await.map_err(|error| error.to_string())?;
                Said::of(&compacted)
            }
            RelayRequest::QueueChange { act, which } => {
                let mail = self.mail(caller, "change mail")?;
                let which = match which {
                    Which::Ids(ids) => Which::Ids(ids),
                    Which::Meant { filter, stretch } => {
                        Which::Meant { filter: Box::new(self.routed(*filter)?), stretch }
                    }
                };
                mail.change(act, which).await
            }
            RelayRequest::Trace { id, from } => {
                self.mail(caller, "see the life of a message")?.trace(id, from).await
            }
            RelayRequest::AlertList => {
                require(caller, Right::Change)?;
                Said::of(&self.alerts.list().await?)
            }
            RelayRequest::AlertTest { channel } => {
                require(caller, Right::Change)?;
                Said::of(&self.alerts.test(channel).await?)
            }
            RelayRequest::AlertSilence { pattern, for_ms, note } => {
                require(caller, Right::Change)?;
                pattern.ensure_meaning()?;
                let until = silent_until(for_ms)?;
                let silence = Silence { pattern, until, note: remark(note)?, uid: caller.uid };
                Said::of(&self.alerts.silence(silence).await?)
            }
            RelayRequest::AlertUnsilence { pattern } => {
                require(caller, Right::Change)?;
                Said::of(&self.alerts.unsilence(pattern).await?)
            }
            RelayRequest::LoginsWaiting { source } => {
                require(caller, Right::Change)?;
                Said::of(&self.logins.waiting(source.to_canonical()))
            }
            RelayRequest::RouteList => {
                require(caller, Right::Change)?;
                Said::of(&self.routes().list_with(&self.spool))
            }
            RelayRequest::RouteSuspend { route, note } => {
                require(caller, Right::Change)?;
                Said::of(&self.routes().suspend(&route, remark(note)?, caller.uid).await?)
            }
            RelayRequest::RouteResume { route } => {
                require(caller, Right::Change)?;
                Said::of(&self.routes().resume(&route, &self.spool, caller.uid).await?)
            }
        }
    }
}

/// Returns when a silence ends: nobody is to forget that he silenced something.
fn silent_until(for_ms: u64) -> Result<Timestamp, String> {
    let time = Duration::from_millis(for_ms);
    let until = Timestamp::now().checked_add(time).ok();
    until
        .filter(|_| !time.is_zero() && time <= SILENCE_MAX)
        .ok_or_else(|| "--for: more than nothing and at most 30d".to_owned())
}

/// Checks a remark about a suspension or a silence.
fn remark(note: Option<String>) -> Result<Option<String>, String> {
    match note {
        Some(note) if note.len() > NOTE_MAX || note.contains(char::is_control) => {
            Err(format!("a note has at most {NOTE_MAX} octets and no control characters"))
        }
        note => Ok(note),
    }
}

impl<F: Fn() -> Front> Desk<F> {
    fn routes(&self) -> Arc<Routes> {
        self.routes.borrow().clone()
    }

    /// Refuses a filter for a route that there is not: nothing would be found, and that not be noticed.
    fn routed(&self, filter: Filter) -> Result<Filter, String> {
        // What is empty is refused in its own words.
        if let Some(route) = filter.route.as_ref().filter(|route| !route.is_empty()) {
            self.routes().check(route)?;
        }
        Ok(filter)
    }

    /// Lets in whoever may do this with mail.
    fn mail(&self, caller: Caller, deed: &str) -> Result<Mailroom<'_>, String> {
        let recalls = self.routes().recalls();
        Mailroom::enter(&self.spool, recalls, &self.journal, caller, deed)
    }

    async fn reload(&self) -> Result<Option<String>, String> {
        let ending = || "the relay is ending".to_owned();
        let (answer, answered) = oneshot::channel();
        self.reload.send(answer).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// Tells how the relay is.
    pub(super) fn status(&self) -> RelayStatus {
        let front = (self.front)();
        RelayStatus {
            pid: std::process::id(),
            serving: front.serving,
            guard: front.guard.to_owned(),
            sessions: front.sessions,
            spool: self.spool.status().ok(),
            has_room: self.spool.has_room(),
            troubled: [front.troubled, self.troubled(), self.alerts.troubles(Timestamp::now())]
                .concat(),
            sandbox: Some(self.sandbox.clone()),
        }
    }

    /// Returns what keeps mail from leaving: a sentence a route, and one a key for DKIM. Hosts are not named to everybody who
    /// may ask for the status, nor are their words.
    fn troubled(&self) -> Vec<String> {
        let states = self.routes().list();
        let sentence = |state: &RouteState| match state.standing {
            Standing::Up => None,
            Standing::Degraded => Some("a host is down"),
            Standing::Down => Some("it is down: no host can be used"),
            Standing::LoginRefused => Some("our login was refused, its mail waits"),
            Standing::Suspended => Some("it is suspended, its mail waits"),
        };
        let named = |state: &RouteState| {
            sentence(state).map(|words| format!("route {}: {words}", state.name))
        };
        let routes = self.routes();
        states.iter().filter_map(named).chain(routes.keys().unsigned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::history::Act;
    use crate::net::conduct::Conduct;
    use crate::net::register::Register;
    use crate::spool::Stretch;

    const OPERATOR: Caller = Caller { uid: 0, right: Right::Change };
    const ANYBODY: Caller = Caller { uid: 4_000_004, right: Right::Look };

    fn desk(folder: &std::path::Path) -> Desk<impl Fn() -> Front + Send + Sync + 'static> {
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [tls]\ncertificate = '/c'\nkey = '/k'\n[spool]\npath = '{}'\n\
             [[route]]\nname = 'smarthost'\nhosts = ['smtp.example.net:587']\n",
            folder.display()
        );
        let config = Config::parse(&text).unwrap();
        let config = Arc::new(config);
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).unwrap());
        let register = Arc::new(Register::open(folder).unwrap());
        let journal = Journal::memory();
        let routes = watch::Sender::new(Routes::new(&config, &journal, &register)).subscribe();
        let front = || Front { serving: true, guard: "guarded", sessions: 0, troubled: Vec::new() };
        let (_, heard) = crate::alert::ear();
        let spooled = spool.clone();
        let alerts = Alerts::start(heard, folder, config, spooled, None, journal.clone());
        let reload = mpsc::channel(1).0;
        let sandbox = Sandbox { holds: "off".into(), lacks: None };
        let conduct = Conduct::without_gate();
        let logins = Logins::start(&folder.join("users"), journal.clone(), conduct).unwrap();
        Desk { spool, routes, journal, logins, alerts, front, reload, sandbox }
    }

    fn suspend(note: &str) -> RelayRequest {
        RelayRequest::RouteSuspend { route: "smarthost".into(), note: Some(note.into()) }
    }

    #[tokio::test]
    async fn an_operator_suspends_a_route_and_everybody_is_told_that_but_not_why() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        assert!(desk.status().troubled.is_empty());
        desk.answer(suspend("they move"), Vec::new(), OPERATOR).await.unwrap();
        let said = desk.answer(RelayRequest::Status, Vec::new(), ANYBODY).await.unwrap();
        let status: RelayStatus = serde_json::from_slice(said.json()).unwrap();
        assert_eq!(status.troubled, ["route smarthost: it is suspended, its mail waits"]);
        let said = desk.answer(RelayRequest::RouteList, Vec::new(), OPERATOR).await.unwrap();
        let routes: Vec<RouteState> = serde_json::from_slice(said.json()).unwrap();
        assert_eq!(routes[0].reason.as_deref(), Some("suspended by uid 0: they move"));
        let resume = RelayRequest::RouteResume { route: "smarthost".into() };
        desk.answer(resume, Vec::new(), OPERATOR).await.unwrap();
        assert!(desk.status().troubled.is_empty());
    }

    #[tokio::test]
    async fn who_may_only_look_neither_stops_routes_nor_sees_their_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        let resume = RelayRequest::RouteResume { route: "smarthost".into() };
        for request in [suspend("x"), resume, RelayRequest::RouteList] {
            let refusal = desk.answer(request, Vec::new(), ANYBODY).await.unwrap_err();
            assert!(refusal.contains("uid 4000004"), "{refusal}");
        }
        for note in ["a\nb", &"x".repeat(NOTE_MAX + 1)] {
            let refusal = desk.answer(suspend(note), Vec::new(), OPERATOR).await.unwrap_err();
            assert!(refusal.starts_with("a note has at most 256 octets"), "{refusal}");
        }
        assert!(desk.status().troubled.is_empty());
    }

    #[tokio::test]
    async fn a_silence_of_alerts_that_there_are_not_is_refused_and_one_of_old_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        let silence = |pattern: &str| RelayRequest::AlertSilence {
            pattern: pattern.parse().unwrap(),
            for_ms: 60_000,
            note: None,
        };
        let refusal = desk.answer(silence("host-dwn"), Vec::new(), OPERATOR).await.unwrap_err();
        assert!(refusal.contains("do you mean \"host-down\"?"), "{refusal}");
        desk.answer(silence("host-down"), Vec::new(), OPERATOR).await.unwrap();
        let pattern = "no-class-any-more".parse().unwrap();
        let request = RelayRequest::AlertUnsilence { pattern };
        let refusal = desk.answer(request, Vec::new(), OPERATOR).await.unwrap_err();
        assert!(!refusal.contains("do you mean"), "{refusal}");
    }

    #[tokio::test]
    async fn a_route_that_there_is_not_is_no_empty_part_of_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        let list = |route: &str| RelayRequest::QueueList {
            filter: Filter { route: Some(route.into()), ..Filter::default() },
            stretch: Stretch::default(),
            limit: 1,
        };
        desk.answer(list("smarthost"), Vec::new(), OPERATOR).await.unwrap();
        let refusal = desk.answer(list("smarthots"), Vec::new(), OPERATOR).await.unwrap_err();
        assert_eq!(refusal, "there is no route \"smarthots\"; there are: smarthost");
    }

    #[tokio::test]
    async fn an_empty_text_to_look_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        let empty = || Some(String::new());
        let nothing = Filter::default;
        for (field, filter) in [
            ("sender", Filter { sender: empty(), ..nothing() }),
            ("recipient", Filter { recipient: empty(), ..nothing() }),
            ("domain", Filter { domain: empty(), ..nothing() }),
            ("login", Filter { login: empty(), ..nothing() }),
            ("tag", Filter { tag: empty(), ..nothing() }),
            ("route", Filter { route: empty(), ..nothing() }),
        ] {
            let (act, stretch) = (Act::Drop, Stretch::default());
            let which = Which::Meant { filter: Box::new(filter.clone()), stretch };
            for request in [
                RelayRequest::QueueChange { act, which },
                RelayRequest::QueueCount { act, filter: filter.clone(), stretch },
                RelayRequest::QueueList { filter, stretch, limit: 1 },
            ] {
                let refusal = desk.answer(request, Vec::new(), OPERATOR).await.unwrap_err();
                let expected = format!("the {field} to look for is empty");
                assert!(refusal.starts_with(&expected), "{refusal}");
            }
        }
    }
}
