//! The metrics of the whole product: what the kernel counted, read by the relay's user.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{attempt, gate, pid_of, session};
use relay::hosts::dial::Answer;
use relay::hosts::process::{Signal, signal};
use tests::need;
use tests::world::World;

/// How long silence is waited for: less than the first retransmission of a SYN, so that one attempt is one.
const SILENCE: Duration = Duration::from_millis(500);

/// Sets a world whose relay tells its metrics.
fn told() -> Result<World> {
    let mut world = World::set()?;
    let file = world.folder.path().join("sallyport.toml");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text + "[metrics]\naddress = \"127.0.0.1:9525\"\nentries = 3\n")?;
    world.stage.start()?;
    Ok(world)
}

/// Asks the relay for a page; returns its head and its text.
fn page(stage: &Stage, path: &str) -> Result<(String, String)> {
    let mut stream = stage.relay.within(|| TcpStream::connect("127.0.0.1:9525"))??;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok((head.to_owned(), text.to_owned()))
}

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
    let mut world = told()?;
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

#[test]
fn a_list_of_a_hundred_thousand_networks_is_told_soon() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = told()?;
    let stage = &world.stage;
    let mut list = String::new();
    for number in 0..100_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(list, "10.{a}.{b}.{c}")?;
    }
    let file = world.folder.path().join("list");
    fs::write(&file, list)?;
    stage.command(&["allow", "apply", &file.display().to_string(), "--force"])?;
    let mut took = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let (head, text) = page(stage, "/metrics")?;
        took.push(began.elapsed());
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        ensure!(text.contains("\nsallyport_gate_entries{tag=\"\"} 100000\n"), "{text}");
        let own = text.matches("\nsallyport_gate_entry_connections_total{").count();
        ensure!(own == 3, "{own} entries have series of their own");
    }
    took.sort_unstable();
    println!("a scrape of 100,000 entries took {took:?}");
    // A build without optimisation on a busy machine; the target is 200 ms for one with.
    ensure!(took[0] < Duration::from_secs(2), "{took:?}");
    Ok(())
}
