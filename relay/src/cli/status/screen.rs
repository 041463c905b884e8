//! What `sallyport status` prints: both processes and what is wrong, on one screen.

use jiff::Timestamp;

use super::layout::{BELOW, LISTS, List, Most, Part, Row, fitting};
use super::{UNHEARD, Whole};
use crate::cli::print::{self, Colour, NO_BREAK, Paint, Room};
use crate::cli::queue::at;
use crate::control::health::{Health, Judgement};
use crate::control::wire::{
    Bypass, Counted, GateStatus, Interface, RelayStatus, Sandbox, Spike, Talker,
};
use crate::event::alert::Alert;
use crate::event::wording::{estimate, within};
use crate::net::routes::{RouteState, Standing};
use crate::spool;

/// The most of the spikes that are over that are named.
const OVER_SHOWN: usize = 5;
/// Where everything stands.
const WHOLE: &str = "sallyport status --json";
/// Where all that people were told of stands.
const ALERTS: &str = "sallyport alert list";

/// Lays it all out for so much room: on a terminal as much of every list as lets the whole fit, and how to see the
/// rest; else all of it.
pub(super) fn screen(whole: &Whole, paint: Paint, now: Timestamp, room: Room) -> String {
    let laid = |most: &Most, paint| -> Vec<String> {
        rows(whole, now, most).iter().flat_map(|row| row.lines(room.columns, paint)).collect()
    };
    let most = match room.terminal {
        None => [usize::MAX; LISTS],
        Some(terminal) => fitting(terminal, |most| laid(most, Paint::Plain)),
    };
    laid(&most, paint).join("\n")
}

fn rows(whole: &Whole, now: Timestamp, most: &Most) -> Vec<Row> {
    let most = |list: List| most[list as usize];
    let Judgement { health, problems } = &whole.judgement;
    let colour = Some(match health {
        Health::Good => Colour::Green,
        Health::Degraded => Colour::Yellow,
        Health::NotServing => Colour::Red,
    });
    let mut rows = vec![Row { colour, ..Row::new("health", health.word()) }];
    let part = Part {
        label: "",
        colour,
        noun: "problem",
        total: problems.len(),
        command: "sallyport status --check",
    };
    part.put(&mut rows, problems, most(List::Problems), |problem| Row {
        indent: BELOW,
        ..Row::below(format!("! {problem}"))
    });
    match &whole.gate {
        None => rows.push(Row::new("gate", "-")),
        Some(gate) => gate_rows(gate, most, &mut rows),
    }
    spike_rows(whole, most(List::Spikes), &mut rows);
    match &whole.relay {
        None => rows.push(Row::new("relay", "-")),
        Some(relay) => relay_rows(relay, now, &mut rows),
    }
    rows.extend(sandbox(whole));
    let mut routes: Vec<_> = whole.routes.iter().collect();
    routes.sort_by_key(|route| route.standing.urgency());
    Part::new("route", "route", routes.len(), "sallyport route list").put(
        &mut rows,
        &routes,
        most(List::Routes),
        |route| Row::below(route_words(route, now)),
    );
    let mut alerts = whole.worst_first();
    let spikes = whole.gate.as_ref().map(open_spikes).unwrap_or_default();
    alerts.retain(|alert| !is_among(&spikes, alert));
    Part::new("alert", "alert", alerts.len(), ALERTS).put(
        &mut rows,
        &alerts,
        most(List::Alerts),
        |alert| Row { first: first(alert), ..Row::below(alert_words(alert)) },
    );
    rows
}

fn gate_rows(gate: &GateStatus, most: impl Fn(List) -> usize, rows: &mut Vec<Row>) {
    let ports: Vec<String> = gate.ports.iter().map(ToString::to_string).collect();
    let guards = format!(
        "{}; ports {}; {}, {}; pid {}",
        interfaces(gate),
        ports.join(", "),
        print::count(gate.entries, "entry"),
        print::count(gate.bans, "ban"),
        gate.pid
    );
    rows.push(Row::new("gate", guards));
    let until =
        gate.observe_until.map_or_else(String::new, |until| format!(" until {}", at(until)));
    let mode = format!(
        "{}{until}; list {}; second door on {}; loopback {}",
        gate.mode,
        gate.generation,
        print::count(gate.second_door, "socket"),
        if gate.loopback { "admitted" } else { "judged" }
    );
    rows.push(Row::new("mode", mode));
    rows.extend(gate.confirm_until.map(|until| {
        Row::new("confirm", format!("the list before this one comes back at {}", at(until)))
    }));
    rows.extend(gate.shadow.map(|entries| {
        let list = print::count(entries, "entry");
        Row::new("shadow", format!("a list of {list}; `allow list` counts whom it would drop"))
    }));
    rows.push(Row::new("refused", format!("{} a second", gate.refused_per_second)));
    let counted = &gate.counted;
    let part = Part::new("", "counted place", counted.len(), WHOLE);
    part.put(rows, counted, most(List::Counted), counted_row);
    rows.extend(sources_words(gate).map(|words| Row::new("sources", words)));
    let talkers = &gate.talkers;
    Part::new("source", "network", talkers.len(), WHOLE).put(
        rows,
        talkers,
        most(List::Talkers),
        |talker| Row::below(talker_words(talker)),
    );
    let bypasses = &gate.bypasses;
    Part::new("bypass", "path", bypasses.len(), WHOLE).put(
        rows,
        bypasses,
        most(List::Bypasses),
        |bypass| Row::below(bypass_words(bypass)),
    );
}

/// The interfaces; a gate that was taken away has none.
pub(crate) fn interfaces(gate: &GateStatus) -> String {
    let all: Vec<String> = gate.interfaces.iter().map(interface_words).collect();
    if all.is_empty() { "on no interface".to_owned() } else { all.join(", ") }
}

/// One interface: how it is guarded, and whether it is closed to clients.
fn interface_words(interface: &Interface) -> String {
    let Interface { name, mode, down, .. } = interface;
    let down = down.as_ref().map_or_else(String::new, |down| format!(" ({})", down.to_uppercase()));
    format!("{name} {mode}{down}")
}

/// One place and its counters.
fn counted_row(counted: &Counted) -> Row {
    let interface = counted.interface.as_deref().unwrap_or("second door");
    let port = counted.port.map_or_else(|| "no port".to_owned(), |port| format!("port {port}"));
    let counts = counted.counts.iter().map(|(reason, count)| (reason.as_str(), *count));
    let spared = Some(("passed,\u{a0}observed", counted.spared)).filter(|(_, count)| *count > 0);
    let counts: Vec<_> =
        counts.chain(spared).map(|(reason, count)| format!(" {reason}{NO_BREAK}{count}")).collect();
    let words = format!("{interface}, {port}:{}", counts.concat());
    Row { indent: BELOW, ..Row::below(words) }
}

/// Says how many strangers there were, if there were more than are named.
fn sources_words(gate: &GateStatus) -> Option<String> {
    let sources = gate.sources.filter(|count| *count > gate.talkers.len() as u64)?;
    let whose = if gate.talkers.is_empty() { "; no network stands out" } else { "" };
    Some(format!("at least {sources} different ones were refused in the last minute{whose}"))
}

fn talker_words(talker: &Talker) -> String {
    let Talker { cidr, frames, error, reason } = talker;
    format!("{cidr}: {} in the last minute, {reason}", estimate(*frames, *error))
}

fn bypass_words(bypass: &Bypass) -> String {
    format!(
        "{} since {}: {} attempts refused by the second door, the last by {} at {}",
        bypass.path,
        at(bypass.since),
        bypass.attempts,
        bypass.source,
        at(bypass.last)
    )
}

/// Returns what to do first about an alert; none where that shows nothing but this screen.
fn first(alert: &Alert) -> Option<String> {
    alert.command.clone().filter(|command| command != "sallyport status")
}

/// Tells whether an alert told people of this spike.
fn is_about(alert: &Alert, spike: &Spike) -> bool {
    alert.class == spike.class && alert.subject == spike.subject.as_deref().unwrap_or_default()
}

/// Tells whether an alert is about one of the spikes that are open, of which the gate names some only.
fn is_among((open, total): &(Vec<&Spike>, usize), alert: &Alert) -> bool {
    let is_counted = || open.iter().any(|spike| alert.class == spike.class);
    open.iter().any(|spike| is_about(alert, spike)) || *total > open.len() && is_counted()
}

/// Returns the spikes that are open, as far as the gate names them, and how many there are. A way around the gate and
/// a filter that is gone stand elsewhere.
fn open_spikes(gate: &GateStatus) -> (Vec<&Spike>, usize) {
    let is_ours = |class: &str| !class.starts_with("gate-");
    let open = gate.spikes.iter().filter(|spike| spike.until.is_none() && is_ours(&spike.class));
    let classes = gate.spikes_by_class();
    let total: u64 =
        classes.iter().filter(|(class, _)| is_ours(class)).map(|(_, count)| count).sum();
    let open: Vec<_> = open.collect();
    let total = usize::try_from(total).unwrap_or(usize::MAX).max(open.len());
    (open, total)
}

/// Adds the spikes that are open, each with what to do; if there are none, those that are over.
fn spike_rows(whole: &Whole, most: usize, rows: &mut Vec<Row>) {
    let Some(gate) = &whole.gate else { return };
    let (open, total) = open_spikes(gate);
    if total == 0 {
        let over: Vec<_> = gate.spikes.iter().filter(|spike| spike.until.is_some()).collect();
        let part = Part::new("over", "spike", over.len(), WHOLE);
        part.put(rows, &over, most.min(OVER_SHOWN), |spike| Row::below(spike_line(spike)));
        return;
    }
    // What was told says more, and there is room for all of them.
    let command = if whole.relay.is_some() { ALERTS } else { WHOLE };
    Part::new("spike", "open spike", total, command).put(rows, &open, most, |spike| {
        let told = whole.alerts.iter().find(|alert| is_about(alert, spike));
        Row { first: told.and_then(first), ..Row::below(spike_line(spike)) }
    });
}

/// Tells of a spike how much it rose, and whether it is over.
pub(crate) fn spike_line(spike: &Spike) -> String {
    let end = spike.until.map_or_else(String::new, |until| format!(" until {}", at(until)));
    let subject = spike.subject.as_ref().map_or_else(String::new, |subject| format!(" {subject}"));
    let within = within(spike.window_seconds);
    let Spike { class, since, peak, usual, .. } = spike;
    let rose = match class.as_str() {
        // How often the program was looked for says nothing.
        "gate-missing" => String::new(),
        // Only so many are known to be different.
        "spike-sources" => format!(": at least {peak} {within}, usual {usual}"),
        _ => format!(": peak {peak} {within}, usual {usual}"),
    };
    format!("{class}{subject} since {}{end}{rose}", at(*since))
}

fn relay_rows(relay: &RelayStatus, now: Timestamp, rows: &mut Vec<Row>) {
    let serves = format!(
        "{}; {}; {}; pid {}",
        if relay.serving { "serving" } else { "not serving" },
        relay.guard,
        print::count(relay.sessions, "session"),
        relay.pid
    );
    rows.push(Row::new("relay", serves));
    let Some(spool) = &relay.spool else { return };
    let messages = format!(
        "{}, {} KiB on disk, {} MiB free",
        print::count(spool.messages, "message"),
        spool.log_bytes / 1024,
        spool.free_bytes >> 20
    );
    rows.push(Row::new("spool", messages));
    // One that was due waits for its route, whose line says until when.
    let next_due = spool.next_due.filter(|due| *due > now);
    rows.extend(
        next_due
            .map(|due| Row::below(format!("the next message that waits is due at {}", at(due)))),
    );
    rows.extend(staying(spool).map(Row::below));
}

/// Tells of messages that wait for somebody, or for the end of their retention.
fn staying(spool: &spool::Status) -> Option<String> {
    let captured = format!("captured ({} KiB)", spool.captured_bytes / 1024);
    let rows =
        [(spool.held, "held"), (spool.captured, captured.as_str()), (spool.damaged, "damaged")];
    let named = rows.into_iter().filter(|(count, _)| *count > 0);
    let named: Vec<_> = named.map(|(count, name)| format!("{count} {name}")).collect();
    (!named.is_empty()).then(|| format!("of the messages {}", named.join(", ")))
}

/// Tells what keeps the processes in, in one row if it is the same.
fn sandbox(whole: &Whole) -> Vec<Row> {
    let words = |sandbox: &Sandbox| sandbox.lacks.as_ref().unwrap_or(&sandbox.holds).clone();
    let gate = whole.gate.as_ref().and_then(|gate| gate.sandbox.as_ref()).map(words);
    let relay = whole.relay.as_ref().and_then(|relay| relay.sandbox.as_ref()).map(words);
    match (gate, relay) {
        (Some(gate), Some(relay)) if gate == relay => {
            vec![Row::new("sandbox", format!("of both: {gate}"))]
        }
        (gate, relay) => {
            let gate = gate.map(|words| Row::new("sandbox", format!("of the gate: {words}")));
            let relay = relay.map(|words| Row::new("sandbox", format!("of the relay: {words}")));
            gate.into_iter().chain(relay).collect()
        }
    }
}

fn route_words(route: &RouteState, now: Timestamp) -> String {
    let carried: u64 = route.hosts.iter().map(|host| host.carried).sum();
    let up = route.hosts.iter().filter(|host| host.health == "up").count();
    let waiting = route.waiting.filter(|waiting| *waiting > 0);
    let waiting = waiting.map(|waiting| format!("; {} waiting", print::count(waiting, "message")));
    let next = next_try(route).map(|next| {
        if next > now {
            format!("; next try {}", at(next))
        } else {
            "; tried with the next message that is due".to_owned()
        }
    });
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

fn alert_words(alert: &Alert) -> String {
    let unheard = unheard(alert).map_or_else(String::new, |words| format!("; {words}"));
    format!("{} since {}: {}{unheard}", alert.key(), at(alert.since), alert.summary)
}

/// Says of an alert that nobody has heard of since a process started anew that it may be over.
pub(crate) fn unheard(alert: &Alert) -> Option<String> {
    let start = alert.details.get(UNHEARD)?;
    Some(format!("not heard of since the start at {start}, so it may be over"))
}

#[cfg(test)]
mod tests;
