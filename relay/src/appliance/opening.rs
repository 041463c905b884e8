//! What the relay's process finds or makes before it serves.

use std::fs::{DirBuilder, File};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;

use super::privilege;
use super::sandbox::{self, Grounds, Held, Role};
use crate::alert::runner::Runner;
use crate::alert::troubles::Trouble;
use crate::config::{Config, Listener};
use crate::control::attach::{Attachment, Listening, Told};
use crate::event::Event;
use crate::history::History;
use crate::journal::Journal;
use crate::net::register::Register;
use crate::net::routes::Routes;
use crate::net::sessions::Entrance;
use crate::spool::Spool;
use crate::traces::Traces;

/// Files and sockets besides those of sessions and next hops: segments of the spool, tables of the gate,
/// control connections, HTTP.
const OTHER_FILES: u64 = 512;

/// Returns how many files and sockets the relay may need at a time.
#[must_use]
pub fn descriptors(config: &Config) -> u64 {
    let hops: usize = config.routes.iter().map(|route| route.connections).sum();
    (config.limits.sessions + hops) as u64 + OTHER_FILES
}

/// Raises the limit of files and sockets to what may be needed, and says so where that is not allowed.
pub(super) fn provide_descriptors(config: &Config, journal: &Journal) {
    let wanted = descriptors(config);
    if let Some(may) = privilege::descriptors(wanted) {
        let problem = format!(
            "the limits ask for {wanted} files and sockets at a time and {may} are allowed: raise \
             the hard limit (LimitNOFILE of the unit, ulimit -Hn) or lower limits.sessions"
        );
        journal.write(Event::Trouble { room: "relay", problem });
    }
}

/// What the relay has when it has shut itself in.
pub(super) struct Shut {
    /// The process that runs programs, which could not be started any more.
    pub runner: Option<Runner>,
    /// What holds.
    pub held: Held,
}

/// Starts what the relay must have beside it, makes its folders, and shuts it in.
///
/// # Errors
///
/// If less can be held than the configuration requires.
pub(super) fn shut_in(config: &Config, file: &Path, journal: &Journal) -> anyhow::Result<Shut> {
    // Mail does not wait for alerts: each telling by a program says that there is none to run it.
    let runner = Runner::start(config, file).unwrap_or_else(|error| {
        let problem =
            format!("the process that runs the programs of alerts cannot be started: {error}");
        journal.write(Event::Trouble { room: "relay", problem });
        None
    });
    let history = (!config.history.keep.is_zero()).then_some(&config.history.path);
    for folder in history.into_iter().chain([&config.spool.path]) {
        // What cannot be made is said by its owner, who tries again.
        let _ = provide(folder);
    }
    let held = sandbox::enter(Grounds::of_relay(config, file), Role::Relay, config.sandbox)?;
    say(&held, "relay", journal);
    Ok(Shut { runner, held })
}

/// Makes a folder that is not there, since its owner cannot from within. A loss of power does not take it away
/// again.
fn provide(folder: &Path) -> std::io::Result<()> {
    if folder.try_exists()? {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // The names of those above it may lie in folders that we may not open.
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Says what of a sandbox does not hold.
pub(super) fn say(held: &Held, room: &'static str, journal: &Journal) {
    if let Some(weakness) = held.weakness() {
        let problem = format!("the sandbox is weaker than it should be: {weakness}");
        journal.write(Event::Trouble { room, problem });
    }
}

/// Returns how clients of a listener come in.
pub(super) const fn entrance_of(listener: &Listener) -> Entrance {
    if listener.gate { Entrance::Guarded } else { Entrance::Open }
}

/// Waits for a word of the gate, for ever where there is none.
pub(super) async fn heard(gate: &mut Option<Attachment>) -> Told {
    match gate {
        Some(gate) => gate.next().await,
        None => std::future::pending().await,
    }
}

/// Puts the history beside the journal, and spans for a collector beside that, as far as the configuration
/// wants them and they can be had. Mail waits for neither.
pub(super) fn remembering(journal: &Journal, config: &Config) -> Journal {
    let report = journal.clone();
    let kept = History::open(&config.history, move |event| report.write(event));
    let kept = kept.unwrap_or_else(|error| {
        let folder = config.history.path.display();
        let problem = format!("{folder}: no history is kept: {error}");
        journal.write(Event::Trouble { room: "history", problem });
        History::off()
    });
    journal.clone().with_history(told(kept, journal, config))
}

fn told(history: History, journal: &Journal, config: &Config) -> History {
    let Some(traces) = &config.traces else { return history };
    let report = journal.clone();
    match Traces::start(traces, &config.hostname, move |event| report.write(event)) {
        Ok(traces) => history.heard_by(move |line| traces.hear(line)),
        Err(error) => {
            let problem = format!("no spans are told: {error}");
            journal.write(Event::Trouble { room: "traces", problem });
            history
        }
    }
}

/// Puts the routes to work. What of their hosts was down as people were told, and not told to be over, still is:
/// else they would be told of a host that `status` calls well.
///
/// # Errors
///
/// If what routes are suspended cannot be read, or a key that signs mail cannot be used.
pub(super) fn routes(
    config: &Config,
    journal: &Journal,
    open: &[Trouble],
) -> anyhow::Result<Arc<Routes>> {
    let register = Register::open(&config.spool.path).context("what routes are suspended")?;
    let routes = Routes::new(config, journal, &Arc::new(register));
    if let Some(problem) = routes.keys().problems().next() {
        anyhow::bail!("{problem}");
    }
    for alert in open.iter().map(|trouble| &trouble.alert) {
        if let ("host-down", Some((route, host))) = (&*alert.class, alert.subject.rsplit_once('/'))
        {
            let down_for = Timestamp::now().duration_since(alert.since);
            let reason = alert.details.get("reason").unwrap_or(&alert.summary);
            routes.was_down(route, host, down_for.try_into().unwrap_or_default(), reason);
        }
    }
    Ok(routes)
}

/// Ends what an earlier process told of the spool and what this one knows to be over: it says so when room ends or
/// begins, and would not of room that there was from the start.
pub(super) fn over(spool: &Spool, journal: &Journal, open: &[Trouble]) {
    let was_full = open.iter().any(|trouble| trouble.alert.class == "spool-full");
    if was_full && spool.has_room() {
        journal.write(Event::SpoolRoom);
    }
}

/// Says what the configuration permits and should mean.
pub(super) fn caution(config: &Config, journal: &Journal) {
    for problem in config.cautions() {
        journal.write(Event::Trouble { room: "config", problem });
    }
}

/// Makes the listening sockets of a host without a gate.
pub(super) fn bind(listeners: &[Listener]) -> anyhow::Result<Vec<Listening>> {
    let bound = listeners.iter().map(|listener| {
        let address = listener.address;
        let socket = TcpListener::bind(address).with_context(|| format!("listener {address}"))?;
        socket.set_nonblocking(true)?;
        Ok(Listening { address, socket })
    });
    bound.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::troubles::Origin;
    use crate::net::routes::Standing;

    fn config(folder: &tempfile::TempDir) -> Config {
        let text = "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
            [gate]\nrequired = false\ninterfaces = []\n[[listener]]\naddress = '[::]:2525'\n\
            [[route]]\nname = 'a'\ndefault = true\nhosts = ['mx1.example.net:25', 'mx2.example.net:25']\n";
        let mut config = Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        config.spool.path = folder.path().into();
        config
    }

    #[test]
    fn a_spool_that_was_full_and_has_room_at_the_start_is_full_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&config(&folder).spool, |_| {}).unwrap();
        let full = Event::SpoolFull { messages: 1, free_bytes: 0 };
        let alert = full.alerts(Timestamp::UNIX_EPOCH).remove(0);
        let (known, unconfirmed) = (Some(alert.severity), Some(Timestamp::now()));
        let (origin, told) = (Origin::Relay, None);
        let open = Trouble { alert, origin, told, known, reminders: 0, unconfirmed };
        let journal = Journal::memory();
        over(&spool, &journal, &[]);
        assert_eq!(journal.take(), [], "nobody was told that it is full");
        over(&spool, &journal, &[open]);
        assert_eq!(journal.take(), [Event::SpoolRoom]);
    }

    #[test]
    fn a_host_that_people_know_to_be_down_is_down_after_a_start_until_a_message_got_through() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder);
        let down = |route: &str, host: &str| Event::HostDown {
            route: route.into(),
            host: host.into(),
            reason: "refused".into(),
        };
        let since: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let told = [down("a", "mx2.example.net:25"), down("a", "gone:25"), down("gone", "mx:25")];
        let open = told.map(|event| Trouble {
            alert: event.alerts(since).remove(0),
            origin: Origin::Relay,
            told: Some(since),
            known: Some(crate::event::alert::Severity::Critical),
            reminders: 0,
            unconfirmed: Some(Timestamp::now()),
        });
        let journal = Journal::memory();
        let routes = routes(&config, &journal, &open).unwrap();
        let state = routes.list().remove(0);
        let health = [0, 1].map(|host| state.hosts[host].health.clone());
        assert_eq!((state.standing, health), (Standing::Degraded, ["up", "down"].map(Into::into)));
        assert_eq!(state.hosts[1].reason.as_deref(), Some("refused"));
        // Said again, so that the alert stays open as long as the host is down.
        assert_eq!(journal.take(), [down("a", "mx2.example.net:25")]);
        // With the last of its hosts the route is down, and that is said again too.
        routes.was_down("a", "mx1.example.net:25", std::time::Duration::ZERO, "refused");
        assert_eq!(routes.list().remove(0).standing, Standing::Down);
        let reason = "mx1.example.net:25: refused".to_owned();
        let route_down = Event::RouteDown { route: "a".into(), reason };
        assert_eq!(journal.take(), [down("a", "mx1.example.net:25"), route_down]);
    }
}
