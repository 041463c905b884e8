//! What each step does and what it must see. A step fails unless everything that its sentence
//! says was observed.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::client::{Client, Secured};
use super::next_hop::wait_for;
use super::stage::{CLIENT, GUARDED, LOGIN, NAME, OTHER, STRANGER, Stage};
use crate::hosts::dial::{Answer, connect, dial, send_syn};
use crate::hosts::process::{self, Signal};

/// How long a stranger waits before silence is called silence: two retransmissions of his SYN.
const SILENCE: Duration = Duration::from_millis(3200);

/// How often the run-time allowlist is changed to measure it.
const CHANGES: usize = 100;

/// Connection attempts in the burst.
const BURST: usize = 2000;

/// Step 1: native mode, the guarded port, one network allowed.
pub(super) fn stands(stage: &mut Stage) -> anyhow::Result<String> {
    stage.start()?;
    let gate = gate(stage)?;
    let interface = gate.pointer("/interfaces/0").context("status shows no interface")?;
    let mode = interface["mode"].as_str().unwrap_or("nothing");
    ensure!(mode == "native", "the gate is attached in {mode} mode: {interface}");
    let list = stage.listing(&["allow", "list"])?;
    let entries = list.as_array().map_or(0, Vec::len);
    ensure!(entries == 1, "the allowlist has {entries} entries: {list}");
    Ok(format!(
        "The gate is attached to {} in native XDP mode; port {} is guarded and only {} is allowed.",
        interface["name"].as_str().unwrap_or("?"),
        GUARDED.port(),
        list[0]["cidr"].as_str().unwrap_or("?"),
    ))
}

/// Step 2: a message over STARTTLS and SASL, spooled, handed on over STARTTLS, compared.
pub(super) fn delivers(stage: &mut Stage) -> anyhow::Result<String> {
    let sent = message();
    let mut client = session(stage, CLIENT)?;
    let answer = client.send("billing@example.net", "customer@example.com", &sent)?;
    client.say("QUIT", 221)?;
    let arrived = stage.hop.next_message()?;
    let position = arrived.windows(sent.len()).position(|window| window == sent);
    let before = position.context("what arrived is not what was sent")?;
    ensure!(before + sent.len() == arrived.len(), "octets were added behind the message");
    let trace = String::from_utf8_lossy(&arrived[..before]).into_owned();
    ensure!(trace.contains(&format!("by {NAME}")), "no trace of the relay: {trace}");
    ensure!(trace.contains("TLS"), "the trace names no TLS: {trace}");
    Ok(format!(
        "A client at {CLIENT} delivered {} octets over STARTTLS and AUTH PLAIN (250 {}); {} took \
         them over STARTTLS and has the same octets behind {} octets of trace headers.",
        sent.len(),
        answer.lines.join(" "),
        stage.hop.name(),
        trace.len(),
    ))
}

/// Step 3: silence on the guarded port, an answer on another, the drop counted under its reason.
pub(super) fn silence(stage: &mut Stage) -> anyhow::Result<String> {
    let before = refused(stage)?;
    let seen = attempt(stage, STRANGER, GUARDED, SILENCE)?;
    ensure!(seen == Answer::Silence, "the stranger saw {seen:?}");
    let other = attempt(stage, STRANGER, OTHER, SILENCE)?;
    ensure!(other == Answer::Connected, "on port {} he saw {other:?}", OTHER.port());
    let counted = refused(stage)? - before;
    ensure!(counted >= 1, "the drop was not counted");
    let explained = stage.listing(&["explain", &STRANGER.to_string()])?;
    let reason = explained["reason"].as_str().unwrap_or("nothing");
    ensure!(reason == REASON, "`explain` names the reason {reason}");
    Ok(format!(
        "A stranger at {STRANGER} got no answer on port {} for {:.1} s while port {} answered him; \
         {counted} SYNs were counted as \"{REASON}\", and `explain` gives the same reason.",
        GUARDED.port(),
        SILENCE.as_secs_f64(),
        OTHER.port(),
    ))
}

/// Step 4: the time from the command to the first SYN-ACK.
pub(super) fn lets_in(stage: &mut Stage) -> anyhow::Result<String> {
    let source = STRANGER.to_string();
    let mut times = Vec::with_capacity(CHANGES);
    for _ in 0..CHANGES {
        let begin = Instant::now();
        stage.command(&["allow", "add", &source])?;
        let seen = attempt(stage, STRANGER, GUARDED, Duration::from_millis(500))?;
        ensure!(seen == Answer::Connected, "after `allow add` the stranger saw {seen:?}");
        times.push(begin.elapsed());
        stage.command(&["allow", "remove", &source])?;
    }
    times.sort();
    let (median, worst) = (times[CHANGES / 2], times[CHANGES - 1]);
    Ok(format!(
        "`allow add {source}` let the stranger in {CHANGES} times: from starting the command to \
         the SYN-ACK of his first SYN {:.2} ms in the median, {:.2} ms at worst.",
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
    ))
}

/// Step 5: the open session of a removed source ends, and it gets silence again.
pub(super) fn shuts_out(stage: &mut Stage) -> anyhow::Result<String> {
    let source = STRANGER.to_string();
    stage.command(&["allow", "add", &source, "--tag", "demo"])?;
    let mut open = session(stage, STRANGER)?;
    open.say("NOOP", 250)?;
    stage.command(&["allow", "remove", &source])?;
    let words = open.last_words();
    let end = match &words {
        Ok(words) if words.starts_with("421 ") => words.trim_end().to_owned(),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "a reset".to_owned(),
        Ok(_) | Err(_) => bail!("the open session was not ended: {words:?}"),
    };
    let seen = attempt(stage, STRANGER, GUARDED, SILENCE)?;
    ensure!(seen == Answer::Silence, "after `allow remove` the stranger saw {seen:?}");
    Ok(format!(
        "`allow remove {source}` ended his open session ({end}) and gave him silence again."
    ))
}

/// Step 6: refused SYNs become a spike in `status`.
pub(super) fn burst(stage: &mut Stage) -> anyhow::Result<String> {
    let begin = Instant::now();
    stage.world.within(|| (0..BURST).try_for_each(|_| send_syn(STRANGER, GUARDED)))??;
    let alert = wait_for("an alert in `status`", || {
        let gate = gate(stage).ok()?;
        let alerts = gate["spikes"].as_array()?;
        alerts.iter().find(|alert| alert["class"] == "spike-refused").cloned()
    })?;
    let took = begin.elapsed();
    Ok(format!(
        "{BURST} refused SYNs raised the spike alert \"{}\" at {} a second; `status` showed it \
         {:.1} s after the first of them.",
        alert["class"].as_str().unwrap_or("?"),
        alert["peak_per_second"],
        took.as_secs_f64(),
    ))
}

/// Step 7: the gate's process dies; the filter stays, and its successor knows everything.
pub(super) fn killed(stage: &mut Stage) -> anyhow::Result<String> {
    stage.command(&["allow", "add", "203.0.113.0/24", "--note", "added before the accident"])?;
    stage.command(&["ban", "add", "192.0.2.11", "--ttl", "1h"])?;
    let before = (allowed(stage)?, banned(stage)?);
    let pid = pid_of(&gate(stage)?)?;
    // The parent is held, so that no successor stands while the silence is listened to.
    stage.signal_parent(Signal::STOP)?;
    process::signal(pid, Signal::KILL)?;
    let seen = attempt(stage, STRANGER, GUARDED, SILENCE);
    let alone = gate(stage).map(|gate| gate.is_null());
    stage.signal_parent(Signal::CONT)?;
    let seen = seen?;
    ensure!(alone?, "a gate answered although it was killed");
    ensure!(seen == Answer::Silence, "with the gate killed the stranger saw {seen:?}");
    stage.serving()?;
    let next = gate(stage)?;
    ensure!(pid_of(&next)? != pid, "the gate was not started again");
    let after = (allowed(stage)?, banned(stage)?);
    ensure!(stage.log().contains("adopted=true"), "the successor did not adopt the filter");
    ensure!(before == after, "the lists changed from {before:?} to {after:?}");
    let mut client = session(stage, CLIENT)?;
    client.say("QUIT", 221)?;
    Ok(format!(
        "With the gate's process killed and none in its place the stranger still got silence; its \
         successor adopted the \
         filter with {} entries and {} ban, and the client at {CLIENT} got in as before.",
        after.0.len(),
        after.1.len(),
    ))
}

/// The reason under which strangers' SYNs are counted.
const REASON: &str = "unlisted_syn";

/// Connects from an address of the world, which waits `patience` for an answer.
///
/// # Errors
///
/// If the world cannot be entered.
pub fn attempt(
    stage: &Stage,
    from: IpAddr,
    to: SocketAddr,
    patience: Duration,
) -> anyhow::Result<Answer> {
    Ok(stage.world.within(|| dial(from, to, patience))??)
}

/// Opens a session from an address of the world under TLS and logs in.
///
/// # Errors
///
/// If the connection is not made within five seconds, or any step is refused.
pub fn session(stage: &Stage, from: IpAddr) -> anyhow::Result<Secured> {
    let stream = stage.world.within(|| connect(from, GUARDED, Duration::from_secs(5)))?;
    let mut client = Client::greet(stream.context("connect")?)?.secure(NAME, &stage.ca)?;
    client.login(LOGIN, &stage.password)?;
    Ok(client)
}

/// A message with lines that a careless relay would spoil.
fn message() -> Vec<u8> {
    let mut text = String::from(
        "From: Billing <billing@example.net>\r\nTo: customer@example.com\r\n\
         Subject: your receipt\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n\
         Message-ID: <receipt-1@example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\r\n\
         .a line that begins with a dot\r\n..and one with two\r\n.\u{20}\r\n\r\n",
    );
    text.extend(
        (0..1000)
            .map(|line| format!("line {line} of a receipt that is long enough to be split\r\n")),
    );
    text.into_bytes()
}

/// Returns the number of the process whose half of `status` this is.
///
/// # Errors
///
/// If there is none in it.
pub fn pid_of(half: &Value) -> anyhow::Result<u32> {
    let pid = half["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    pid.with_context(|| format!("no pid in {half}"))
}

/// Returns the gate's half of `status`.
///
/// # Errors
///
/// If the gate does not run.
pub fn gate(stage: &Stage) -> anyhow::Result<Value> {
    stage.listing(&["status"])?.get("gate").cloned().context("status without a gate")
}

/// How many frames were dropped because their source is not listed.
fn refused(stage: &Stage) -> anyhow::Result<u64> {
    let gate = gate(stage)?;
    gate["counters"][REASON].as_u64().with_context(|| format!("no counter in {gate}"))
}

fn allowed(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    networks(&stage.listing(&["allow", "list"])?)
}

fn banned(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    networks(&stage.listing(&["ban", "list"])?)
}

fn networks(list: &Value) -> anyhow::Result<Vec<Value>> {
    let list = list.as_array().context("not a list")?;
    Ok(list.iter().map(|entry| entry["cidr"].clone()).collect())
}
