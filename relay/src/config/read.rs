//! From tables to [`Config`]: every key, its default and its bounds, section by section.

mod acme;
mod alerts;
mod dkim;
mod log;
mod login;
mod page;
mod policy;
mod route;
mod tls;

use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::raw::{Presence, Problem, Source, Table};
use super::shown::Shown;
use super::{
    Allow, Config, Gate, HEADER_FIELDS_MAX, HEADER_SIZE_MAX, History, Limits, Listener,
    ListenerTls, Metrics, OAuth, OnLoss, RECEIVED_FIELDS_MAX, RECIPIENTS_MAX, Reach, Relay,
    Sandbox, Spikes, Spool, check, unit,
};
use policy::policy;
use route::{capture, retry, route};

/// The longest tag, octets: it must fit a kernel table.
const TAG_MAX: usize = 32;
/// The longest name of a route, login or user, octets.
const NAME_MAX: usize = 64;
/// The longest name of an issuer or an audience of tokens, octets.
const OAUTH_MAX: usize = 1024;
/// The longest remark, octets.
const NOTE_MAX: usize = 256;
/// The longest name of an interface, octets (`IFNAMSIZ` less its NUL).
const INTERFACE_MAX: usize = 15;

/// How far a process must be able to shut itself in.
const SANDBOX: [(&str, Sandbox); 3] =
    [("best-effort", Sandbox::BestEffort), ("required", Sandbox::Required), ("off", Sandbox::Off)];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reads and checks the text of a file.
pub(super) fn config(text: &str) -> Result<Config, Vec<Problem>> {
    let source = Source::new(text);
    let config = whole(&source, text);
    let (problems, _) = source.into_parts();
    config.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Reads and checks the text of a file, and returns every key with what it comes to.
pub(super) fn shown(text: &str) -> Result<Shown, Vec<Problem>> {
    let source = Source::new(text);
    let config = whole(&source, text);
    let (problems, shown) = source.into_parts();
    config.filter(|_| problems.is_empty()).map(|_| shown).ok_or(problems)
}

/// Reads what running processes are found by, of a file that has problems.
pub(super) fn salvaged(text: &str) -> Reach {
    let source = Source::new(text);
    let (tables, errors) = DeTable::parse_recoverable(text);
    let root = Table::root(&source, &tables);
    let hostname = root.optional("hostname", unit::domain).unwrap_or_else(|| "?".to_owned());
    let gate_table = root.table("gate");
    gate_table.tables("allow");
    let mut gate = gate(&gate_table);
    let relay = relay(&root.table("relay"));
    let history = history(&root.table("history"), &spool(&root.table("spool")));
    let (problems, _) = source.into_parts();
    if !errors.is_empty() || problems.iter().any(|problem| problem.message.starts_with("gate")) {
        gate.required = true;
    }
    Reach { hostname, gate, relay, history }
}

/// Returns the configuration if every required key is there; problems go to `source`.
pub(super) fn whole(source: &Source<'_>, text: &str) -> Option<Config> {
    let (tables, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        source.report(&span, error.message().replace('\n', ", "));
    }
    if errors.is_empty() { sections(source, &tables) } else { None }
}

fn sections<'a>(source: &'a Source<'a>, tables: &'a Spanned<DeTable<'a>>) -> Option<Config> {
    let root = Table::root(source, tables);
    let hostname = root.required("hostname", unit::domain);
    let postmaster = root.required("postmaster", unit::parsed);
    let sandbox = root.or("sandbox", "best-effort", unit::word(&SANDBOX));
    let gate_table = root.table("gate");
    let allow = each(&gate_table, "allow", allow);
    let gate = gate(&gate_table);
    let relay = relay(&root.table("relay"));
    let listeners = each(&root, "listener", listener);
    let tls = tls::tls(&root.table("tls"), &listeners);
    let oauth = root.optional_table("oauth").map(|table| oauth(&table));
    let limits = limits(&root.table("limits"));
    let policies = each(&root, "policy", policy);
    let routes = each(&root, "route", route);
    let dkim = each(&root, "dkim", dkim::dkim);
    let retry = retry(&root.table("retry"));
    let spool = spool(&root.table("spool"));
    let capture = capture(&root.table("capture"));
    let history = history(&root.table("history"), &spool);
    let spikes = spikes(&root.table("spikes"));
    let metrics = root.optional_table("metrics").map(|table| metrics(&table));
    let traces = root.optional_table("traces").map(|table| log::traces(&table));
    let log = log::log(&root.table("log"));
    let page = root.optional_table("page").map(|table| page::page(&table));
    let alerts = alerts::alerts(&root.table("alerts"));
    root.finish();
    check::gate(&gate_table, &gate, &allow);
    check::listeners(&root, &listeners);
    tls::check(tls.as_ref(), &listeners);
    check::policies(&policies, &routes);
    check::routes(&routes);
    dkim::check(&dkim);
    Some(Config {
        hostname: hostname?,
        postmaster: postmaster?,
        sandbox,
        gate: Gate { allow: values(allow)?, ..gate },
        relay,
        listeners: values(listeners)?,
        tls: tls?,
        oauth: oauth.flatten(),
        limits,
        policies: values(policies)?,
        routes: values(routes)?,
        dkim: values(dkim)?,
        retry,
        spool,
        capture,
        history,
        spikes,
        metrics: metrics.flatten(),
        log,
        traces: traces.flatten(),
        page: page.flatten(),
        alerts: alerts?,
    })
}

/// One `[[table]]` as read: the table, for problems that show only beside other tables, and the
/// value, if its required keys were there.
pub(super) type Section<'a, T> = (Table<'a>, Option<T>);

fn each<'a, T>(
    root: &Table<'a>,
    key: &str,
    read: impl Fn(&Table<'a>) -> Option<T>,
) -> Vec<Section<'a, T>> {
    let sections = root.tables(key).into_iter().map(|table| {
        let value = read(&table);
        table.finish();
        (table, value)
    });
    sections.collect()
}

fn values<T>(sections: Vec<Section<'_, T>>) -> Option<Vec<T>> {
    sections.into_iter().map(|(_, value)| value).collect()
}

fn gate(table: &Table<'_>) -> Gate {
    let loss = &[("refuse", OnLoss::Refuse), ("second-door", OnLoss::SecondDoor)];
    let gate = Gate {
        required: table.or("required", true, unit::truth),
        interfaces: table.list("interfaces", Presence::Optional, unit::short(INTERFACE_MAX)),
        strict: table.or("strict", true, unit::truth),
        on_loss: table.or("on-loss", "refuse", unit::word(loss)),
        loopback: table.or("loopback", true, unit::truth),
        state: table.or("state", "/var/lib/sallyport/gate", unit::path),
        pins: table.or("pins", "/sys/fs/bpf/sallyport", unit::path),
        socket: table.or("socket", "/run/sallyport/gate.sock", unit::path),
        admin_group: table.or("admin-group", "sallyport-admin", unit::short(NAME_MAX)),
        allow: Vec::new(),
    };
    table.finish();
    gate
}

fn allow(table: &Table<'_>) -> Option<Allow> {
    let cidr = table.required("cidr", unit::cidr);
    let tag = table.optional("tag", unit::short(TAG_MAX));
    let note = table.optional("note", unit::short(NOTE_MAX));
    let connect_rate = table.optional("connect-rate", unit::rate);
    let source_rate = table.optional("source-rate", unit::rate);
    let auto_ban = table.optional("auto-ban", unit::truth);
    Some(Allow { cidr: cidr?, tag, note, connect_rate, source_rate, auto_ban, line: table.line() })
}

fn relay(table: &Table<'_>) -> Relay {
    let relay = Relay {
        user: table.or("user", "sallyport", unit::short(NAME_MAX)),
        socket: table.or("socket", "/run/sallyport/relay.sock", unit::path),
        users: table.or("users", "/etc/sallyport/users.toml", unit::path),
    };
    table.finish();
    relay
}

fn listener(table: &Table<'_>) -> Option<Listener> {
    let ways = &[("starttls", ListenerTls::Starttls), ("implicit", ListenerTls::Implicit)];
    let address = table.required("address", unit::socket);
    let tls = table.or("tls", "starttls", unit::word(ways));
    // There is no listener without logins; the key stands so that a file can say so.
    table.or("auth", "required", unit::word(&[("required", ())]));
    let client_certificates = tls::client_certificates(table);
    let gate = table.or("gate", true, unit::truth);
    let proxy = table.list_or("proxy", &[], unit::cidr);
    let xclient = table.list_or("xclient", &[], unit::cidr);
    Some(Listener { address: address?, tls, client_certificates, gate, proxy, xclient })
}

fn oauth(table: &Table<'_>) -> Option<OAuth> {
    let keys = table.required("keys", unit::path);
    let issuer = table.required("issuer", unit::short(OAUTH_MAX));
    let audience = table.required("audience", unit::short(OAUTH_MAX));
    let login_claim = table.or("login-claim", "sub", unit::short(NAME_MAX));
    table.finish();
    Some(OAuth { keys: keys?, issuer: issuer?, audience: audience?, login_claim })
}

fn limits(table: &Table<'_>) -> Limits {
    let limits = Limits {
        sessions: size(table.or("sessions", 2000, unit::count(1..=100_000))),
        sessions_per_source: size(table.or("sessions-per-source", 200, unit::count(1..=100_000))),
        sessions_per_network: size(table.or(
            "sessions-per-network",
            1000,
            unit::count(1..=100_000),
        )),
        message_size_bytes: table.or("message-size", "50MiB", unit::size(64 * KIB..=GIB)),
        header_size_bytes: size(table.or(
            "header-size",
            "1MiB",
            unit::size(16 * KIB..=HEADER_SIZE_MAX),
        )),
        header_fields: size(table.or("header-fields", 1000, unit::count(50..=HEADER_FIELDS_MAX))),
        received_fields: size(table.or(
            "received-fields",
            100,
            unit::count(10..=RECEIVED_FIELDS_MAX),
        )),
        recipients: size(table.or("recipients", 1000, unit::count(100..=RECIPIENTS_MAX))),
        errors: small(table.or("errors", 20, unit::count(1..=1000))),
        login_failures: small(table.or("login-failures", 3, unit::count(1..=100))),
        idle: table.or("idle", "5m", unit::duration),
        handshake: table.or("handshake", "30s", unit::duration),
        session: table.or("session", "12h", unit::duration),
        body_rate_bytes: table.or("body-rate", 64, unit::count(1..=MIB)),
    };
    let waits =
        [("idle", limits.idle), ("handshake", limits.handshake), ("session", limits.session)];
    for (key, wait) in waits {
        if wait < SECOND {
            table.report(key, "a client needs at least a second");
        }
    }
    table.finish();
    limits
}

fn spool(table: &Table<'_>) -> Spool {
    let spool = Spool {
        path: table.or("path", "/var/lib/sallyport/spool", unit::path),
        reserve_bytes: table.or("reserve", "256MiB", unit::size(0..=1 << 40)),
        messages: size(table.or("messages", 1_000_000, unit::count(1..=10_000_000))),
    };
    table.finish();
    spool
}

fn history(table: &Table<'_>, spool: &Spool) -> History {
    let beside = spool.path.with_file_name("history");
    let history = History {
        path: table.or("path", &*beside.to_string_lossy(), unit::path),
        keep: table.or("keep", "14d", unit::duration),
        size_bytes: table.or("size", "2GiB", unit::size(16 * MIB..=1 << 40)),
    };
    if !history.keep.is_zero() && history.keep < DAY {
        table.report("keep", "write 1d or more, or 0d to keep no history");
    }
    table.finish();
    history
}

fn spikes(table: &Table<'_>) -> Spikes {
    let spikes = Spikes {
        floor_per_second: table.or("floor", 50, unit::count(1..=100_000_000)),
        sources_per_second: table.or("sources-floor", 5, unit::count(1..=100_000_000)),
        connections_per_second: table.or("connections-floor", 20, unit::count(1..=100_000_000)),
        forged_per_second: table.or("forged-floor", 20, unit::count(1..=100_000_000)),
        logins_per_second: table.or("logins-floor", 5, unit::count(1..=100_000_000)),
        deviations: table.or("deviations", 6.0, unit::number(1.0..=1000.0)),
        quiet: table.or("quiet", "30s", unit::duration),
        record_bytes: table.or("record", "0B", unit::size(0..=1 << 40)),
    };
    table.finish();
    spikes
}

fn metrics(table: &Table<'_>) -> Option<Metrics> {
    let address = table.required("address", unit::socket);
    let entries = size(table.or("entries", 1000, unit::count(0..=10_000)));
    table.finish();
    Some(Metrics { address: address?, entries })
}

/// Turns a count whose bounds were checked into a size in memory.
fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Turns a count whose bounds were checked into 32 bits.
fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
