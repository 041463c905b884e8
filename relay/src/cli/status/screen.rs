//! What `sallyport status` prints: both processes and what is wrong, on one screen.

use jiff::Timestamp;

use super::{UNHEARD, Whole};
use crate::cli::print::{self, Colour, NO_BREAK, Paint, Room};
use crate::cli::queue::at;
use crate::control::health::{Health, Judgement};
use crate::control::wire::{
    Bypass, Counted, GateStatus, Interface, RelayStatus, Sandbox, Spike, Talker,
};
use crate::event::alert::Alert;
use crate::event::wording::estimate;
use crate::net::routes::{RouteState, Standing};
use crate::spool;

/// The columns of the labels.
const LABEL: usize = 10;
/// How far what continues a list of counters is indented.
const BELOW: usize = LABEL + 2;
/// The most of a list that is shown on a terminal, and of spikes that are over anywhere.
const SHOWN: usize = 5;
/// Where a list that was cut stands whole.
const WHOLE: &str = "sallyport status --json";

/// Some words behind a label, on as many lines as they need.
struct Row {
    label: &'static str,
    words: String,
    /// The column of what does not fit on the first line.
    indent: usize,
    colour: Option<Colour>,
    /// Whether it is to be copied, and so not broken.
    copy: bool,
}

impl Row {
    fn new(label: &'static str, words: impl Into<String>) -> Self {
        Self { label, words: words.into(), indent: LABEL, colour: None, copy: false }
    }

    /// A row that belongs to the one above.
    fn below(words: impl Into<String>) -> Self {
        Self::new("", words)
    }

    /// The command to run first.
    fn first(command: &str) -> Self {
        Self { copy: true, ..Self::below(format!("first: {command}")) }
    }

    fn lines(&self, columns: usize, paint: Paint) -> Vec<String> {
        let Self { label, words, indent, colour, copy } = self;
        // What next hops said may be among the words.
        let words = print::shown(words);
        let words = if *copy {
            vec![format!("{:LABEL$}{words}", "")]
        } else {
            print::wrapped(&words, LABEL, *indent, columns)
        };
        let labelled = |(number, line): (usize, &String)| {
            let (margin, words) = line.split_at(line.len() - line.trim_start().len());
            let words = colour.map_or_else(|| words.to_owned(), |colour| paint.put(colour, words));
            match number {
                0 => format!("{label:LABEL$}{words}"),
                _ => format!("{margin}{words}"),
            }
        };
        words.iter().enumerate().map(labelled).collect()
    }
}

/// Lays it all out for so much room: of every list as much as lets the whole fit, and how to see the rest.
pub(super) fn screen(whole: &Whole, paint: Paint, now: Timestamp, room: Room) -> String {
    let laid = |most: usize| -> Vec<String> {
        rows(whole, now, most).iter().flat_map(|row| row.lines(room.columns, paint)).collect()
    };
    let lines = match room.rows {
        None => laid(usize::MAX),
        // The last row is the prompt's.
        Some(height) => {
            let fits = |most: &usize| laid(*most).len() < height;
            laid((1..=SHOWN).rev().find(fits).unwrap_or(0))
        }
    };
    lines.join("\n")
}

fn rows(whole: &Whole, now: Timestamp, most: usize) -> Vec<Row> {
    let Judgement { health, problems } = &whole.judgement;
    let colour = Some(match health {
        Health::Good => Colour::Green,
        Health::Degraded => Colour::Yellow,
        Health::NotServing => Colour::Red,
    });
    let mut rows = vec![Row { colour, ..Row::new("health", health.word()) }];
    let problem = |problem: &String| {
        vec![Row { colour, indent: BELOW, ..Row::below(format!("! {problem}")) }]
    };
    listed(&mut rows, "", problems, most, problem, "sallyport status --check");
    match &whole.gate {
        None => rows.push(Row::new("gate", "-")),
        Some(gate) => gate_rows(gate, most, &mut rows),
    }
    rows.extend(spike_rows(whole, most));
    match &whole.relay {
        None => rows.push(Row::new("relay", "-")),
        Some(relay) => relay_rows(relay, now, &mut rows),
    }
    rows.extend(sandbox(whole));
    let mut routes: Vec<_> = whole.routes.iter().collect();
    routes.sort_by_key(|route| route.standing == Standing::Up);
    let route = |route: &&RouteState| vec![Row::new("route", route_words(route, now))];
    listed(&mut rows, "route", &routes, most, route, "sallyport route list");
    let mut alerts = whole.worst_first();
    alerts.retain(|alert| !open_spikes(whole).any(|spike| is_about(alert, spike)));
    let alert = |alert: &&Alert| {
        let first = alert.command.iter().map(|first| Row::first(first));
        std::iter::once(Row::new("alert", alert_words(alert))).chain(first).collect()
    };
    listed(&mut rows, "alert", &alerts, most, alert, "sallyport alert list");
    rows
}

/// Adds the first of a list, and how to see the others.
fn listed<T>(
    rows: &mut Vec<Row>,
    label: &'static str,
    all: &[T],
    most: usize,
    shown: impl FnMut(&T) -> Vec<Row>,
    command: &str,
) {
    rows.extend(all.iter().take(most).flat_map(shown));
    let more = all.len().saturating_sub(most);
    match (more, most) {
        (0, _) => {}
        (_, 0) => rows.push(Row::new(label, format!("{more}: {command}"))),
        (_, _) => rows.push(Row::below(format!("and {more} more: {command}"))),
    }
}

fn gate_rows(gate: &GateStatus, most: usize, rows: &mut Vec<Row>) {
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
    rows.extend(gate.counted.iter().map(counted_row));
    rows.extend(sources_words(gate).map(|words| Row::new("sources", words)));
    let talker = |talker: &Talker| vec![Row::new("source", talker_words(talker))];
    listed(rows, "source", &gate.talkers, most, talker, WHOLE);
    let bypass = |bypass: &Bypass| vec![Row::new("bypass", bypass_words(bypass))];
    listed(rows, "bypass", &gate.bypasses, most, bypass, WHOLE);
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
    let spared = Some(("passed, observed", counted.spared)).filter(|(_, count)| *count > 0);
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

fn open_spikes(whole: &Whole) -> impl Iterator<Item = &Spike> {
    whole.gate.iter().flat_map(|gate| &gate.spikes).filter(|spike| spike.until.is_none())
}

/// Tells whether an alert told people of this spike.
fn is_about(alert: &Alert, spike: &Spike) -> bool {
    alert.class == spike.class && alert.subject == spike.subject.as_deref().unwrap_or_default()
}

/// The spikes that are open, each with what to do; if there are none, those that are over.
fn spike_rows(whole: &Whole, most: usize) -> Vec<Row> {
    let Some(gate) = &whole.gate else { return Vec::new() };
    let mut rows = Vec::new();
    let (open, over): (Vec<_>, Vec<_>) = gate.spikes.iter().partition(|one| one.until.is_none());
    let spike = |label| {
        move |spike: &&Spike| {
            let told = whole.alerts.iter().find(|alert| is_about(alert, spike));
            let first = told.and_then(|alert| alert.command.as_deref()).map(Row::first);
            std::iter::once(Row::new(label, spike_line(spike))).chain(first).collect()
        }
    };
    if open.is_empty() {
        listed(&mut rows, "over", &over, most.min(SHOWN), spike("over"), WHOLE);
    } else {
        listed(&mut rows, "spike", &open, most, spike("spike"), WHOLE);
    }
    rows
}

/// Tells of a spike how much it rose, and whether it is over.
pub(crate) fn spike_line(spike: &Spike) -> String {
    let end = spike.until.map_or_else(String::new, |until| format!(" until {}", at(until)));
    let subject = spike.subject.as_ref().map_or_else(String::new, |subject| format!(" {subject}"));
    let within = match spike.window_seconds {
        0 | 1 => "a second".to_owned(),
        seconds => format!("in {seconds} s"),
    };
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
    (!named.is_empty()).then(|| format!("of these {}", named.join(", ")))
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
