//! `sallyport relay`: the process that speaks SMTP, keeps the spool and delivers.
//!
//! It has no rights: the listening sockets come from the gate, the gate's tables are open for
//! reading, and everything else it needs belongs to its user.

mod reloading;
mod unserved;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use self::unserved::Unserved;
use super::bans;
use super::delivering::Delivering;
use super::desk::{Desk, Front, Reloading};
use super::guard::Watched;
use super::load;
use super::notify::{self, State};
use super::opening::{
    Shut, bind, caution, entrance_of, heard, over, provide_descriptors, remembering, routes,
    shut_in,
};
use super::privilege;
use super::sandbox::Held;
use super::status_page::StatusPage;
use super::web::{Rooms, Web};
use crate::alert::{self, Alerts};
use crate::api::health::Look;
use crate::api::page::Sources;
use crate::config::Config;
use crate::control::attach::{Attachment, Listening, Told};
use crate::control::caller::{Trust, hidden_uid};
use crate::control::server;
use crate::control::wire::{DEAF, FULL};
use crate::event::Event;
use crate::gate::boot_clock_ns;
use crate::journal::Journal;
use crate::net::conduct::Conduct;
use crate::net::inbound::{self, Door};
use crate::net::login::Logins;
use crate::net::routes::Routes;
use crate::net::sessions::{Caps, Entrance, Sessions};
use crate::net::tls::{Endings, ServerTls};
use crate::policy::rate::Rates;
use crate::spool::Spool;

/// How long running transactions may take when the process is told to end.
const DRAIN: Duration = Duration::from_secs(25);

/// How often the relay looks for itself whether the gate stands.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the relay until SIGTERM or SIGINT.
///
/// # Errors
///
/// If it was started as root, or a file, the spool or a socket cannot be used.
pub fn run(file: &Path, journal: &Journal) -> anyhow::Result<()> {
    privilege::follow_parent()?;
    privilege::become_relay()?;
    let config = load::load(file)?;
    provide_descriptors(&config, journal);
    let shut = shut_in(&config, file, journal)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        journal.unhurried()?;
        let mut relay = Relay::open(config, file, shut, journal)?;
        let served = relay.serve().await;
        match served {
            Ok(()) => relay.end().await,
            // What is to be told of it is told by the next process.
            Err(_) => relay.alerts.end().await,
        }
        served
    });
    // A receiver of alerts or an issuer of tokens that hangs does not hold the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The rooms of the process, and what changes while it runs.
struct Relay {
    file: PathBuf,
    /// What it can reach.
    held: Held,
    config: Arc<Config>,
    journal: Journal,
    spool: Arc<Spool>,
    alerts: Alerts,
    conduct: Conduct,
    logins: Logins,
    sessions: Sessions,
    tls: watch::Sender<Arc<ServerTls>>,
    endings: Endings,
    /// What of the files of the configuration in force could not be used when it was read.
    unused: watch::Sender<Vec<String>>,
    watched: Watched,
    unserved: Unserved,
    rates: Arc<Rates>,
    listening: watch::Sender<Vec<Listening>>,
    /// The accept loops of the listeners that the gate guards.
    guarded: JoinSet<()>,
    /// Those of the others.
    open: JoinSet<()>,
    routes: watch::Sender<Arc<Routes>>,
    delivering: Delivering,
    web: Option<Web>,
    page: Option<StatusPage>,
}

impl Relay {
    fn open(config: Config, file: &Path, shut: Shut, journal: &Journal) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let (ear, heard) = alert::ear();
        let journal = &remembering(journal, &config).heard_by(move |event| ear.hear(event));
        let report = journal.clone();
        let spool = Spool::open(&config.spool, move |event| report.write(event))
            .with_context(|| format!("spool {}", config.spool.path.display()))?;
        let spool = Arc::new(spool);
        let folder = &config.spool.path;
        let Shut { runner, held } = shut;
        let (kept, told) = (spool.clone(), journal.clone());
        let alerts = Alerts::start(heard, folder, config.clone(), kept, runner, told);
        let watched = Watched::new(&config);
        let standing = watched.clone();
        let (conduct, wanted) = Conduct::new(move |client| standing.standing(client));
        tokio::spawn(bans::ask(config.gate.socket.clone(), wanted, journal.clone()));
        let logins = Logins::start(&config.relay.users, journal.clone(), conduct.clone())?;
        logins.trust(config.oauth.as_ref()).context("the keys that [oauth] names")?;
        let tls = watch::Sender::new(Arc::new(ServerTls::load(&config, journal.clone())?));
        let routes = routes(&config, journal, &alerts.open().borrow())?;
        over(&spool, journal, &alerts.open().borrow());
        let delivering = Delivering::start(&spool, &config, &routes, journal);
        Ok(Self {
            file: file.into(),
            held,
            journal: journal.clone(),
            alerts,
            conduct,
            logins,
            sessions: Sessions::new(Caps::of(&config.limits)),
            tls,
            endings: Endings::default(),
            unused: watch::Sender::default(),
            watched,
            unserved: Unserved::default(),
            rates: Arc::new(Rates::new(&config, Instant::now())),
            listening: watch::Sender::default(),
            guarded: JoinSet::new(),
            open: JoinSet::new(),
            routes: watch::Sender::new(routes),
            delivering,
            web: None,
            page: None,
            spool,
            config,
        })
    }

    /// Serves until it is told to end.
    async fn serve(&mut self) -> anyhow::Result<()> {
        let (reload, mut reloads) = mpsc::channel(1);
        self.open_desk(reload)?;
        let mut gate = None;
        if self.watched.is_configured() {
            let (socket, tallies) = (self.config.gate.socket.clone(), self.conduct.tallies());
            gate = Some(Attachment::open(socket, tallies.clone(), self.journal.clone()));
        } else {
            self.listening.send_replace(bind(&self.config.listeners)?);
        }
        let messages = self.spool.status()?.messages;
        let noun = if messages == 1 { "message" } else { "messages" };
        let detail = format!("{messages} {noun} in the spool; sandbox: {}", self.held);
        self.journal.write(Event::Started { process: "relay", detail });
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut hup = signal(SignalKind::hangup())?;
        let mut looks = interval(LOOK_EVERY);
        // It answers, and mail leaves. Clients come when the gate stands, however long that takes: a service manager
        // that waited for it would kill the process again and again.
        notify::tell(State::Ready);
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hup.recv() => drop(self.reload()),
                Some(asked) = reloads.recv() => drop(asked.send(self.reload())),
                told = heard(&mut gate) => self.hear(told),
                how = self.delivering.failed() => return Err(self.broken("delivery", &how)),
                _ = looks.tick() => {}
            }
            if !self.spool.is_written() {
                return Err(self.broken("the spool's writer", "its thread is gone"));
            }
            self.spool.look_for_room(Instant::now());
            self.look_at_certificates();
            self.look();
            let now = Duration::from_nanos(boot_clock_ns());
            let guard = self.watched.guard();
            let is_guarded =
                self.config.listeners.iter().any(|one| entrance_of(one) == Entrance::Guarded);
            if is_guarded && let Some(event) = self.unserved.look(guard, now) {
                self.journal.write(event);
            }
        }
        Ok(())
    }

    /// Tells what is wrong with the time of certificates, though no client comes and no file changes.
    fn look_at_certificates(&mut self) {
        let found = self.tls.borrow().endings(Timestamp::now());
        for event in self.endings.hear(found) {
            self.journal.write(event);
        }
    }

    /// Says that a part has ended without which mail would be taken and go nowhere. Whoever started
    /// the process starts it anew.
    fn broken(&self, part: &str, how: &str) -> anyhow::Error {
        let problem = format!("{part} has ended ({how}): the relay ends too, to be started anew");
        self.journal.write(Event::Broken { room: "relay", problem: problem.clone() });
        anyhow::anyhow!(problem)
    }

    /// Serves the control socket, and HTTP.
    fn open_desk(&mut self, reload: mpsc::Sender<Reloading>) -> anyhow::Result<()> {
        let (sessions, watched) = (self.sessions.clone(), self.watched.clone());
        let (tls, unused) = (self.tls.subscribe(), self.unused.subscribe());
        let (logins, listening) = (self.logins.clone(), self.listening.subscribe());
        let front = move || {
            let (guard, is_deaf) = (watched.guard(), listening.borrow().is_empty());
            let serving = guard.serves() && !is_deaf && !sessions.is_left();
            let words = if guard.serves() && is_deaf { DEAF } else { guard.words() };
            let tls = tls.borrow().clone();
            let troubles = [tls.troubles(Timestamp::now()), logins.troubles()].concat();
            let full = sessions.is_full().then(|| FULL.to_owned());
            let troubled = [unused.borrow().clone(), troubles, full.into_iter().collect()].concat();
            Front { serving, guard: words, sessions: sessions.count(), troubled }
        };
        let (spool, journal) = (self.spool.clone(), self.journal.clone());
        let (routes, alerts) = (self.routes.subscribe(), self.alerts.clone());
        let sandbox = self.held.told();
        let logins = self.logins.clone();
        let desk = Desk { spool, routes, journal, logins, alerts, front, reload, sandbox };
        let desk = Arc::new(desk);
        let path = &self.config.relay.socket;
        let listener = server::bind(path).with_context(|| format!("{}", path.display()))?;
        let trust = Trust {
            admin_group: privilege::group(&self.config.gate.admin_group),
            relay_uid: None,
            own_uid: rustix::process::getuid().as_raw(),
            hidden_uid: hidden_uid(),
        };
        tokio::spawn(server::serve(listener, trust, Arc::clone(&desk)));
        let relay: Look = Arc::new(move || desk.status());
        let rooms = Rooms {
            relay: Arc::clone(&relay),
            watched: self.watched.clone(),
            spool: Arc::clone(&self.spool),
            routes: self.routes.subscribe(),
            meter: Arc::clone(self.journal.meter()),
            open: self.alerts.open(),
            fares: self.alerts.fares(),
        };
        let mut web = Web::new(&self.config, rooms);
        web.renew(&self.config).map_err(anyhow::Error::msg)?;
        self.web = Some(web);
        self.open_page(relay);
        caution(&self.config, &self.journal);
        Ok(())
    }

    /// Serves the status page. Mail does not wait for one that cannot be served.
    fn open_page(&mut self, relay: Look) {
        let sources = Sources {
            spool: self.spool.clone(),
            journal: self.journal.clone(),
            logins: self.logins.clone(),
            routes: self.routes.subscribe(),
            relay,
            open: self.alerts.open(),
        };
        let mut page = StatusPage::new(sources, self.tls.subscribe());
        if let Err(problem) = page.renew(&self.config) {
            self.journal.write(Event::Trouble { room: "relay", problem });
        }
        self.page = Some(page);
    }

    /// Takes a word of the gate.
    fn hear(&mut self, told: Told) {
        match told {
            Told::Listeners(listening) => {
                self.listening.send_replace(listening);
                self.stop_accepting();
            }
            Told::Alert(passed) => {
                self.alerts.carry(passed.series, passed.numbers(), passed.alert);
            }
            Told::Notice(notice) => {
                if let Err(error) = self.watched.hear(notice) {
                    let problem = format!("the gate's tables: {error}");
                    self.journal.write(Event::Trouble { room: "relay", problem });
                }
                let watched = &self.watched;
                self.sessions.cut(|source| watched.admits(source));
            }
        }
    }

    /// Accepts clients behind the gate if it stands, and nobody there if not; past it, always.
    fn look(&mut self) {
        let now = self.watched.look();
        if !now.serves() {
            if !self.guarded.is_empty() {
                self.guarded = JoinSet::new();
                self.sessions.cut(|_| false);
                let problem = format!("no client is accepted behind the gate: {}", now.words());
                self.journal.write(Event::Trouble { room: "relay", problem });
            }
        } else if self.guarded.is_empty() {
            self.guarded = self.accept(Entrance::Guarded);
        }
        if self.open.is_empty() {
            self.open = self.accept(Entrance::Open);
        }
    }

    /// Begins to accept clients on every listener of this kind.
    fn accept(&self, entrance: Entrance) -> JoinSet<()> {
        let door = Arc::new(self.door(entrance));
        let mut accepting = JoinSet::new();
        for Listening { address, socket } in &*self.listening.borrow() {
            let listener = self.config.listeners.iter().find(|l| l.address == *address);
            let (Some(listener), Ok(socket)) = (listener, socket.try_clone()) else { continue };
            if entrance_of(listener) != entrance {
                continue;
            }
            let (listener, door) = (listener.clone(), door.clone());
            let (address, journal) = (*address, self.journal.clone());
            accepting.spawn(async move {
                if let Err(error) = inbound::serve(socket, listener, door).await {
                    let problem = format!("listener {address}: {error}");
                    journal.write(Event::Trouble { room: "relay", problem });
                }
            });
        }
        accepting
    }

    fn door(&self, entrance: Entrance) -> Door {
        let (listed, admitted) = (self.watched.clone(), self.watched.clone());
        let admits: Box<dyn Fn(IpAddr) -> bool + Send + Sync> =
            Box::new(move |source| admitted.admits(source));
        Door {
            config: self.config.clone(),
            rates: self.rates.clone(),
            tls: Some(self.tls.borrow().clone()),
            spool: self.spool.clone(),
            conduct: self.conduct.clone(),
            logins: self.logins.clone(),
            journal: self.journal.clone(),
            sessions: self.sessions.clone(),
            entry_of: Box::new(move |source| listed.entry_of(source)),
            admits: (entrance == Entrance::Guarded).then_some(admits),
        }
    }

    /// Ends the accept loops; connections that wait in a backlog stay there.
    fn stop_accepting(&mut self) {
        (self.guarded, self.open) = (JoinSet::new(), JoinSet::new());
    }

    /// Lets what runs come to its end.
    async fn end(mut self) {
        notify::tell(State::Stopping);
        self.sessions.leave();
        self.stop_accepting();
        let drained = async { tokio::join!(self.sessions.empty(), self.delivering.end()) };
        if timeout(DRAIN, drained).await.is_err() {
            let problem = format!("{} sessions were cut off at the end", self.sessions.count());
            self.journal.write(Event::Trouble { room: "relay", problem });
        }
        self.alerts.end().await;
        self.journal.write(Event::Stopped { process: "relay" });
    }
}
