//! The metrics of the whole product: what the kernel counted, read by the relay's user.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{attempt, gate, pid_of, session};
use relay::hosts::dial::Answer;
use relay::hosts::process::{Signal, signal};
use tests::need;
use tests::scrape::{list, page, telling};

/// How many entries have series of their own.
const ENTRIES: usize = 3;
/// How long silence is waited for: less than the first retransmission of a SYN, so that one attempt is one.
const SILENCE: Duration = Duration::from_millis(500);

/// Returns the value of a series.
fn value(stage: &Stage, series: &str) -> Result<u64> {
    let (_, text) = page(stage, "/metrics")?;
    let row = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(row.with_context(|| format!("{series} is missing in:\n{text}"))?.parse()?)
}

#[test]
fn the_relay_tells_what_the_kernel_counted_with_and_without_the_gates_process() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = telling(ENTRIES)?;
    let stage = &mut world.stage;
    let (head, word) = page(stage, "/health")?;
    ensure!(head.starts_with("HTTP/1.1 200 ") && word == "good\n", "{head}\n{word}");
    // The first scrape is where the totals of tags begin.
    assert_eq!(value(stage, "sallyport_gate_entries{tag=\"demo\"}")?, 1);
    let strangers = "sallyport_gate_frames_total{door=\"first\",interface=\"guard0\",port=\"2525\",\
                     reason=\"unlisted_syn\"}";
    let before = value(stage, strangers)?;
    assert_eq!(attempt(stage, STRANGER, GUARDED, SILENCE)?, Answer::Silence);
    assert_eq!(value(stage, strangers)?, before + 1);

    let mut client = session(stage, CLIENT)?;
    client.send("news@example.net", "a@example.com", b"From: news@example.net\r\n\r\ntext\r\n")?;
    client.say("QUIT", 221)?;
    stage.hop.next_message()?;
    for (series, wanted) in [
        ("sallyport_gate_connections_total{tag=\"demo\"}", 1),
        ("sallyport_gate_entry_connections_total{cidr=\"192.0.2.0/28\",tag=\"demo\"}", 1),
        ("sallyport_sessions_total{listener=\"192.0.2.1:2525\"}", 1),
        ("sallyport_tls_handshakes_total{version=\"TLSv1.3\"}", 1),
        ("sallyport_logins_total{mechanism=\"PLAIN\",result=\"granted\"}", 1),
        ("sallyport_messages_accepted_total{tag=\"demo\"}", 1),
        ("sallyport_accept_seconds_count", 1),
        ("sallyport_replies_total{code=\"354\"}", 1),
        ("sallyport_gate_bans", 0),
        ("sallyport_gate_interface_up{interface=\"guard0\",mode=\"native\"}", 1),
    ] {
        assert_eq!(value(stage, series)?, wanted, "{series}");
    }
    // The next hop has the message a moment before its outcome is on disk.
    let delivered = "sallyport_outcomes_total{route=\"next-hop\",outcome=\"delivered\"}";
    wait_for(delivered, || value(stage, delivered).ok().filter(|count| *count == 1))?;
    ensure!(value(stage, "sallyport_spool_flush_seconds_count")? >= 2);

    let process = pid_of(&gate(stage)?)?;
    signal(process, Signal::STOP)?;
    let told = without_the_gates_process(stage, strangers, before + 2);
    signal(process, Signal::CONT)?;
    told
}

fn without_the_gates_process(stage: &Stage, strangers: &str, wanted: u64) -> Result<()> {
    assert_eq!(attempt(stage, STRANGER, GUARDED, SILENCE)?, Answer::Silence);
    wait_for("the gate to be missed", || {
        value(stage, "sallyport_gate_up").ok().filter(|up| *up == 0)
    })?;
    ensure!(value(stage, strangers)? == wanted, "the kernel counts on");
    let (head, word) = page(stage, "/health")?;
    ensure!(head.starts_with("HTTP/1.1 200 ") && word.starts_with("degraded\n"), "{head}\n{word}");
    Ok(())
}

/// Returns the names of all series but those of single entries, and how many of those there are.
fn series(stage: &Stage) -> Result<(BTreeSet<String>, usize)> {
    let (head, text) = page(stage, "/metrics")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = rows.filter_map(|row| Some(row.rsplit_once(' ')?.0)).collect();
    let (own, others): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| name.contains("{cidr="));
    let of_a_kind = own.iter().filter(|name| name.contains("_connections_total{")).count();
    Ok((others.into_iter().map(str::to_owned).collect(), of_a_kind))
}

#[test]
fn a_list_of_a_hundred_thousand_networks_has_no_more_series_than_one_of_ten() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = telling(ENTRIES)?;
    let entries = "sallyport_gate_entries{tag=\"\"}";
    list(&world, 10)?;
    assert_eq!(value(&world.stage, entries)?, 10);
    let few = series(&world.stage)?;
    list(&world, 100_000)?;
    assert_eq!(value(&world.stage, entries)?, 100_000);
    let many = series(&world.stage)?;
    assert_eq!((few.1, many.1), (ENTRIES, ENTRIES), "entries with series of their own");
    let difference: Vec<&String> = few.0.symmetric_difference(&many.0).collect();
    ensure!(difference.is_empty(), "{difference:#?}");
    Ok(())
}
