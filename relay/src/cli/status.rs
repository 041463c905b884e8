//! `sallyport status`: both processes on one screen, and their health as an exit code.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gate::is_wanted;
use super::print::{self, Colour, Output, Paint};
use super::queue::at;
use crate::alert::listing::Listing;
use crate::alert::troubles::Trouble;
use crate::config::Reach;
use crate::control::client::{AskError, ask_soon};
use crate::control::health::{Health, Judgement, judge};
use crate::control::wire::{
    Bypass, Counted, GateRequest, GateStatus, Interface, RelayRequest, RelayStatus, Sandbox, Spike,
    Talker,
};
use crate::event::alert::Alert;
use crate::event::wording::estimate;
use crate::net::routes::{RouteState, Standing};
use crate::spool;

/// The spikes that are over and still named.
const OVER_SHOWN: usize = 3;
/// The columns that lists of counters keep to.
const WIDTH: usize = 79;
/// How long a process may take for each answer, as at `/health`: whoever checks waits for no process that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The detail that names the start since which nothing was heard of a trouble.
const UNHEARD: &str = "unheard-since";

/// What both processes say.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    /// How well the appliance serves.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What the gate says, if it does.
    pub gate: Option<GateStatus>,
    /// What the relay says, if it does.
    pub relay: Option<RelayStatus>,
    /// The routes; none if the relay does not tell.
    pub routes: Vec<RouteState>,
    /// What is wrong as people were told it; none if the relay does not tell.
    pub alerts: Vec<Alert>,
}

/// Prints the health of both processes. With `check` only a word, and the exit code tells: 0 good,
/// 1 degraded, 2 not serving.
#[must_use]
pub fn status(reach: &Reach, check: Check, output: Output) -> ExitCode {
    match (check, output) {
        (Check::Yes, _) => {
            let Judgement { health, problems } = ask_both(reach).0;
            print::say(health.word());
            problems.iter().for_each(print::say);
            return ExitCode::from(health as u8);
        }
        (Check::No, Output::Json) => print::json(&look(reach)),
        (Check::No, Output::Text) => {
            print::say(screen(&look(reach), Paint::of_output(), Timestamp::now()));
        }
    }
    ExitCode::SUCCESS
}

/// Whether the health is wanted as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `--check` was given.
    Yes,
    /// It was not.
    No,
}

/// Asks both processes how they are, side by side: a question each.
fn ask_both(reach: &Reach) -> (Judgement, Option<GateStatus>, Option<RelayStatus>) {
    let (gate, relay) = side_by_side(
        || ask_soon(PATIENCE, &reach.gate.socket, "gate", &GateRequest::Status),
        || ask_relay(&reach.relay.socket, &RelayRequest::Status),
    );
    let gate: Result<Option<GateStatus>, String> = match gate {
        Ok(gate) => Ok(Some(gate)),
        Err(_) if !is_wanted(&reach.gate) => Ok(None),
        Err(error) => Err(error.advice()),
    };
    let relay: Result<RelayStatus, String> = relay.map_err(|error| error.advice());
    let said_by_gate = gate.as_ref().map(Option::as_ref).map_err(String::as_str);
    let judgement = judge(said_by_gate, relay.as_ref().map_err(String::as_str));
    (judgement, gate.ok().flatten(), relay.ok())
}

/// Asks both processes how they are, and the relay how mail leaves and what people were told.
pub(super) fn look(reach: &Reach) -> Whole {
    let (judgement, gate, relay) = ask_both(reach);
    let (routes, alerts) = match relay {
        Some(_) => {
            let socket = &reach.relay.socket;
            let (routes, listing) = side_by_side(
                || ask_relay(socket, &RelayRequest::RouteList),
                || ask_relay::<Listing>(socket, &RelayRequest::AlertList),
            );
            let open = listing.map_or_else(|_| Vec::new(), |listing| listing.open);
            (routes.unwrap_or_default(), open.into_iter().map(told).collect())
        }
        None => (Vec::new(), Vec::new()),
    };
    Whole { judgement, gate, relay, routes, alerts }
}

/// Returns what was said of a trouble last; of one that nobody has heard of since a process started anew, with
/// the time of that among its details: it may be over.
pub fn told(trouble: Trouble) -> Alert {
    let Trouble { mut alert, unconfirmed, .. } = trouble;
    if let Some(since) = unconfirmed {
        alert.details.insert(UNHEARD.to_owned(), at(since));
    }
    alert
}

fn ask_relay<A: DeserializeOwned>(socket: &Path, question: &RelayRequest) -> Result<A, AskError> {
    ask_soon(PATIENCE, socket, "relay", question)
}

/// Does both at a time.
fn side_by_side<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().expect("asking does not panic"), other)
    })
}

fn screen(whole: &Whole, paint: Paint, now: Timestamp) -> String {
    let Judgement { health, problems } = &whole.judgement;
    let colour = match health {
        Health::Good => Colour::Green,
        Health::Degraded => Colour::Yellow,
        Health::NotServing => Colour::Red,
    };
    let mut lines = vec![format!("health    {}", paint.put(colour, health.word()))];
    let problem =
        |problem: &String| format!("          {}", paint.put(colour, &format!("! {problem}")));
    lines.extend(problems.iter().map(problem));
    match &whole.gate {
        None => lines.push("gate      -".to_owned()),
        Some(gate) => gate_lines(gate, &mut lines),
    }
    match &whole.relay {
        None => lines.push("relay     -".to_owned()),
        Some(relay) => relay_lines(relay, now, &mut lines),
    }
    lines.extend(whole.routes.iter().map(|route| format!("route     {}", route_line(route))));
    lines.extend(whole.alerts.iter().map(|alert| format!("alert     {}", alert_line(alert))));
    lines.join("\n")
}

fn gate_lines(gate: &GateStatus, lines: &mut Vec<String>) {
    let ports: Vec<String> = gate.ports.iter().map(ToString::to_string).collect();
    lines.push(format!(
        "gate      {}; ports {}; {}, {}; pid {}",
        interfaces(gate),
        ports.join(", "),
        print::count(gate.entries, "entry"),
        print::count(gate.bans, "ban"),
        gate.pid
    ));
    lines.extend(gate.sandbox.as_ref().map(sandbox));
    let until =
        gate.observe_until.map_or_else(String::new, |until| format!(" until {}", at(until)));
    lines.push(format!(
        "mode      {}{until}; list {}; second door on {}; this host's own connections {}",
        gate.mode,
        gate.generation,
        print::count(gate.second_door, "socket"),
        if gate.loopback { "admitted" } else { "judged" }
    ));
    if let Some(until) = gate.confirm_until {
        lines.push(format!("confirm   the list before this one comes back at {}", at(until)));
    }
    if let Some(entries) = gate.shadow {
        lines.push(format!(
            "shadow    a list of {}; `allow list` counts whom it would drop",
            print::count(entries, "entry")
        ));
    }
    lines.push(format!("refused   {} a second", gate.refused_per_second));
    lines.extend(gate.counted.iter().flat_map(counted_lines));
    lines.extend(sources_line(gate));
    lines.extend(gate.talkers.iter().map(talker_line));
    lines.extend(gate.bypasses.iter().map(|bypass| format!("bypass    {}", bypass_line(bypass))));
    let (open, over): (Vec<_>, Vec<_>) = gate.spikes.iter().partition(|one| one.until.is_none());
    let shown = open.iter().chain(over.iter().take(OVER_SHOWN));
    lines.extend(shown.map(|spike| format!("spike     {}", spike_line(spike))));
    if over.len() > OVER_SHOWN {
        let more = over.len() - OVER_SHOWN;
        lines.push(format!("          and {more} before, which are over: sallyport status --json"));
    }
}

/// The interfaces; a gate that was taken away has none.
pub(super) fn interfaces(gate: &GateStatus) -> String {
    let all: Vec<String> = gate.interfaces.iter().map(interface_words).collect();
    if all.is_empty() { "on no interface".to_owned() } else { all.join(", ") }
}

/// One interface: how it is guarded, and whether it is closed to clients.
fn interface_words(interface: &Interface) -> String {
    let Interface { name, mode, down, .. } = interface;
    let down = down.as_ref().map_or_else(String::new, |down| format!(" ({})", down.to_uppercase()));
    format!("{name} {mode}{down}")
}

/// One place and its counters, on as few lines as they need.
fn counted_lines(counted: &Counted) -> Vec<String> {
    let interface = counted.interface.as_deref().unwrap_or("second door");
    let port = counted.port.map_or_else(|| "no port".to_owned(), |port| format!("port {port}"));
    let counts = counted.counts.iter().map(|(reason, count)| (reason.as_str(), *count));
    let spared = Some(("passed, observed", counted.spared)).filter(|(_, count)| *count > 0);
    let mut lines = vec![format!("          {interface}, {port}:")];
    for (reason, count) in counts.chain(spared) {
        let words = format!(" {reason} {count}");
        match lines.last_mut() {
            Some(line) if line.chars().count() + words.chars().count() < WIDTH => {
                line.push_str(&words);
            }
            Some(_) | None => lines.push(format!("           {words}")),
        }
    }
    lines
}

/// Says how many strangers there were, if there were more than are named.
fn sources_line(gate: &GateStatus) -> Option<String> {
    let sources = gate.sources.filter(|count| *count > gate.talkers.len() as u64)?;
    let whose = if gate.talkers.is_empty() { "; no network stands out" } else { "" };
    Some(format!(
        "sources   at least {sources} different ones were refused in the last minute{whose}"
    ))
}

fn talker_line(talker: &Talker) -> String {
    let Talker { cidr, frames, error, reason } = talker;
    let frames = estimate(*frames, *error);
    format!("source    {cidr}: {frames} refused in the last minute, {reason}")
}

fn bypass_line(bypass: &Bypass) -> String {
    format!(
        "{} since {}: {} attempts refused by the second door, the last by {} at {}",
        bypass.path,
        at(bypass.since),
        bypass.attempts,
        bypass.source,
        at(bypass.last)
    )
}

pub(super) fn spike_line(spike: &Spike) -> String {
    let end = spike.until.map_or_else(|| "open".to_owned(), |until| format!("until {}", at(until)));
    let subject = spike.subject.as_ref().map_or_else(String::new, |subject| format!(" {subject}"));
    let within = match spike.window_seconds {
        0 | 1 => "a second".to_owned(),
        seconds => format!("in {seconds} s"),
    };
    // Of sources only so many are known to be different, and in all nobody knows.
    let Spike { class, since, peak, usual, total, .. } = spike;
    let rose = |bound: &str, in_all: &str| {
        format!("; at {bound} {peak} {within} where {usual} are usual{in_all}")
    };
    let rose = match class.as_str() {
        // How often the program was looked for says nothing.
        "gate-missing" => String::new(),
        "spike-sources" => rose("least", ""),
        _ => rose("most", &format!("; {total} in all")),
    };
    format!("{class}{subject} since {}, {end}{rose}", at(*since))
}

fn route_line(route: &RouteState) -> String {
    let carried: u64 = route.hosts.iter().map(|host| host.carried).sum();
    let up = route.hosts.iter().filter(|host| host.health == "up").count();
    let waiting = route.waiting.filter(|waiting| *waiting > 0);
    let waiting = waiting.map(|waiting| format!("; {} waiting", print::count(waiting, "message")));
    let next = next_try(route).map(|next| format!("; next try {}", at(next)));
    format!(
        "{} {}; {up} of {} up; {} of {} connections; {} carried{}{}",
        route.name,
        route.standing.words(),
        print::count(route.hosts.len(), "host"),
        route.in_use,
        route.connections,
        carried,
        waiting.unwrap_or_default(),
        next.unwrap_or_default()
    )
}

/// Returns when mail of a route is tried next that does not leave; none while it does, or where an operator has to let it.
fn next_try(route: &RouteState) -> Option<Timestamp> {
    match route.standing {
        Standing::Up | Standing::Degraded | Standing::Suspended => None,
        Standing::LoginRefused => route.until,
        Standing::Down => route.hosts.iter().filter_map(|host| host.next_probe).min(),
    }
}

/// Tells an alert and what to do first.
fn alert_line(alert: &Alert) -> String {
    let first =
        alert.command.as_ref().map_or_else(String::new, |first| format!("; first: {first}"));
    let unheard = unheard(alert).map_or_else(String::new, |words| format!("; {words}"));
    format!("{} since {}: {}{unheard}{first}", alert.key(), at(alert.since), alert.summary)
}

/// Says of an alert that nobody has heard of since a process started anew that it may be over.
pub fn unheard(alert: &Alert) -> Option<String> {
    let start = alert.details.get(UNHEARD)?;
    Some(format!("not heard of since the start at {start}, so it may be over"))
}

/// Tells of messages that wait for somebody, or for the end of their retention.
fn staying(spool: &spool::Status) -> Option<String> {
    let captured = format!("captured ({} KiB)", spool.captured_bytes / 1024);
    let rows =
        [(spool.held, "held"), (spool.captured, captured.as_str()), (spool.damaged, "damaged")];
    let named = rows.into_iter().filter(|(count, _)| *count > 0);
    let named: Vec<_> = named.map(|(count, name)| format!("{count} {name}")).collect();
    (!named.is_empty()).then(|| format!("          of these {}", named.join(", ")))
}

/// Tells what keeps a process in.
fn sandbox(sandbox: &Sandbox) -> String {
    let lacks = sandbox.lacks.as_deref().unwrap_or(&sandbox.holds);
    format!("          sandbox: {lacks}")
}

fn relay_lines(relay: &RelayStatus, now: Timestamp, lines: &mut Vec<String>) {
    lines.push(format!(
        "relay     {}; {}; {}; pid {}",
        if relay.serving { "serving" } else { "not serving" },
        relay.guard,
        print::count(relay.sessions, "session"),
        relay.pid
    ));
    lines.extend(relay.sandbox.as_ref().map(sandbox));
    lines.extend(relay.spool.as_ref().map(|spool| {
        format!(
            "spool     {}, {} KiB on disk, {} MiB free; {} committed with {} flushes",
            print::count(spool.messages, "message"),
            spool.log_bytes / 1024,
            spool.free_bytes >> 20,
            spool.commits,
            spool.flushes
        )
    }));
    // One that was due waits for its route, whose line says until when.
    let next_due = relay.spool.as_ref().and_then(|spool| spool.next_due).filter(|due| *due > now);
    lines.extend(
        next_due.map(|due| format!("          the next message that waits is due at {}", at(due))),
    );
    lines.extend(relay.spool.as_ref().and_then(staying));
}

#[cfg(test)]
mod tests;
