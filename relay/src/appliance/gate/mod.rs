//! The gate process: owns the kernel filter, the allowlist, the bans and the listening sockets.
//!
//! It starts by adoption: what an earlier gate pinned goes on judging while this one loads, brings the
//! tables to what the files say, and only then exchanges the programs. It ends without detaching:
//! a host whose gate process is gone stays closed to strangers.

mod answers;
mod applying;
mod approaches;
mod attached;
mod banning;
mod busy;
mod bypass;
mod changes;
mod entries;
mod handshakes;
mod hearing;
mod keeper;
mod learned;
mod listeners;
mod lists;
mod modes;
mod office;
mod recorder;
mod redeclared;
mod reasons;
mod remedy;
mod ringing;
mod shares;
mod spikes;
mod standing;
pub(super) mod telling;
mod tenure;
mod unanswered;
mod watching;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;

use self::keeper::{Bulletin, Keeper, Service};
use self::listeners::{Guarded, Listeners};
use self::lists::{Left, Lists};
use self::office::{Office, Thread};
use self::ringing::Ring;
use self::telling::{ruleset, told};
use self::tenure::Tenure;
use super::load::load;
use super::privilege::{self, Identity};
use super::sandbox::{self, Grounds, Role};
use super::{folders, inherited, notify, opening};
use crate::config::{Config, Listener};
use crate::control::caller::{Trust, hidden_uid};
use crate::control::server;
use crate::event::Event;
use crate::gate::clocks::Moment;
use crate::gate::record::Files;
use crate::gate::{self, Gate, Off, Place};
use crate::journal::Journal;

/// How often a listening socket is tried again whose address was taken.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Runs the gate until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
///
/// If the gate cannot stand; what an earlier one attached stays as it is then.
pub fn run(file: &Path, journal: &Journal) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "`sallyport gate` must be started as root: it keeps CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON of that"
        );
    }
    privilege::has_those_of_the_gate()?;
    privilege::follow_parent()?;
    privilege::no_core_dumps()?;
    let ring = Arc::new(Ring::new(Timestamp::now()));
    let ringing = ring.clone();
    let journal = &journal.clone().heard_by(move |event| ringing.hear(event, Timestamp::now()));
    let config = Arc::new(load(file)?);
    let relay = Identity::of(&config.relay.user)?;
    folders::prepare(&config, relay)?;
    for folder in folders::passable(&config.gate.pins)? {
        let problem = format!(
            "{}: other users may pass from now on (mode 0711), so that the relay can read its pins",
            folder.display()
        );
        journal.write(Event::Trouble { room: "gate", problem });
    }
    let mut tenure = Tenure::begin(&config.gate.state)?;
    let wanted: Vec<(SocketAddr, Guarded)> = config.listeners.iter().map(guarded).collect();
    // What can be seen to be wrong is, before an earlier gate's tables are filled with anything new.
    let kept = inherited::take();
    Listeners::examine(&wanted, &kept, &record(&config))?;
    let (gate, lists) = stand(&config, relay, journal)?;
    let listeners = Listeners::open(&wanted, gate.door(), kept, record(&config))?;
    let places = places(&listeners);
    let listeners = Arc::new(Mutex::new(listeners));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = {
        let _inside = runtime.enter();
        server::bind(&config.gate.socket)?
    };
    // Before any thread starts: each has capabilities of its own.
    privilege::keep_for_good(privilege::GATE)?;
    let held = sandbox::enter(Grounds::of_gate(&config, file), Role::Gate, config.sandbox)?;
    opening::say(&held, "gate", journal);
    journal.unhurried()?;
    if let Some(problem) = tenure.serve(gate::boot_clock_ns()) {
        journal.write(Event::Broken { room: "gate", problem });
    }
    let bulletin = Bulletin { lists: 0, listeners: 0, service: Service::Serve };
    let bulletin = Arc::new(channel::Sender::new(bulletin));
    let mut keeper = Keeper::new(
        gate,
        config.clone(),
        file.to_owned(),
        lists,
        listeners.clone(),
        journal.clone(),
        bulletin.clone(),
    );
    keeper.sandbox = Some(held.told());
    let thread = Thread::start(keeper)?;
    if let Err(error) = thread.watch_links() {
        let problem = format!("interfaces are looked at once a second only: {error}");
        journal.write(Event::Trouble { room: "gate", problem });
    }
    let office = Office::new(thread.jobs(), listeners.clone(), bulletin.clone(), ring, relay.uid);
    let office = Arc::new(office);
    let trust = Trust {
        admin_group: privilege::group(&config.gate.admin_group),
        relay_uid: Some(relay.uid),
        own_uid: rustix::process::geteuid().as_raw(),
        hidden_uid: hidden_uid(),
    };
    runtime.block_on(async {
        let serving = tokio::spawn(server::serve(socket, trust, office));
        journal.write(Event::Started {
            process: "gate",
            detail: format!("{places}; sandbox: {held}"),
        });
        notify::tell(notify::State::Ready);
        let ended = attend(&thread, &listeners, &bulletin).await;
        notify::tell(notify::State::Stopping);
        serving.abort();
        ended
    })?;
    thread.stop();
    tenure.end();
    journal.write(Event::Stopped { process: "gate" });
    Ok(())
}

/// Waits for signals, and for addresses that were taken.
async fn attend(
    thread: &Thread,
    listeners: &Mutex<Listeners>,
    bulletin: &channel::Sender<Bulletin>,
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut hup = signal(SignalKind::hangup())?;
    let mut again = tokio::time::interval(LISTEN_AGAIN);
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hup.recv() => thread.reload(),
            _ = again.tick() => {
                if thread.is_over() {
                    bail!("the gate's keeper ended; the filter stays as it is");
                }
                let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
                if listeners.try_again() {
                    bulletin.send_modify(|bulletin| bulletin.listeners += 1);
                }
            }
        }
    }
}

fn guarded(listener: &Listener) -> (SocketAddr, Guarded) {
    (listener.address, if listener.gate { Guarded::Yes } else { Guarded::No })
}

/// Says where clients are listened for, and where not yet.
fn places(listeners: &Listeners) -> String {
    let (mut stand, mut wait) = (Vec::new(), Vec::new());
    for (address, (_, problem)) in listeners.addresses().into_iter().zip(listeners.each()) {
        match problem {
            None => stand.push(address.to_string()),
            Some(problem) => wait.push(format!("not yet on {address} ({problem})")),
        }
    }
    let stand = (!stand.is_empty()).then(|| format!("listening on {}", stand.join(", ")));
    stand.into_iter().chain(wait).collect::<Vec<_>>().join("; ")
}

/// Returns the file that names the listening sockets. It is written as root, so it lies where nobody else
/// may put a link in its place: in the folder of the control socket the relay's group may.
fn record(config: &Config) -> PathBuf {
    config.gate.state.join("listeners.json")
}

/// Loads, fills, attaches: in this order, by the types of [`crate::gate`].
fn stand(
    config: &Config,
    relay: Identity,
    journal: &Journal,
) -> anyhow::Result<(Box<dyn Gate>, Lists)> {
    let place = Place { pins: config.gate.pins.clone(), group: Some(relay.gid) };
    let off = || -> Box<dyn Gate> { Box::new(Off::on(config.gate.interfaces.clone())) };
    let now = Moment { wall: Timestamp::now(), boot_ns: gate::boot_clock_ns() };
    if config.gate.interfaces.is_empty() {
        return Ok((off(), lists(config, &Left::default(), now, journal)?));
    }
    gate::examine(&place, &config.gate.interfaces)
        .map_err(|error| anyhow::Error::msg(told(&error)))?;
    let loaded = match gate::load(&place) {
        Ok(loaded) => loaded,
        Err(error) if !config.gate.required => {
            let problem = format!("UNGUARDED, as gate.required = false allows: {}", told(&error));
            journal.write(Event::Trouble { room: "gate", problem });
            return Ok((off(), lists(config, &Left::default(), now, journal)?));
        }
        Err(error) => bail!("{}", told(&error)),
    };
    let left = Left { entries: loaded.entries(), bans: loaded.bans() };
    let lists = lists(config, &left, now, journal)?;
    let wanted = ruleset(config, &lists);
    let standing = loaded.fill(&wanted).and_then(|filled| filled.attach(&config.gate.interfaces));
    Ok((standing.map_err(|error| anyhow::Error::msg(told(&error)))?, lists))
}

fn lists(config: &Config, left: &Left, now: Moment, journal: &Journal) -> anyhow::Result<Lists> {
    let files = Files::within(&config.gate.state);
    let lists = Lists::read(config, &files, left, now)?;
    for problem in lists.damages.clone() {
        journal.write(Event::Trouble { room: "gate", problem });
    }
    Ok(lists)
}

#[cfg(test)]
mod tests;
