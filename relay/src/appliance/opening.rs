//! What the relay's process finds or makes before it serves.

use std::fs::{DirBuilder, File};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::privilege;
use super::sandbox::{self, Grounds, Held, Role};
use crate::alert::runner::Runner;
use crate::config::{Config, Listener};
use crate::control::attach::{Attachment, Listening, Told};
use crate::event::Event;
use crate::history::History;
use crate::journal::Journal;
use crate::net::sessions::Entrance;
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
