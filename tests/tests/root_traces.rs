//! What the whole product says of one message: its line in the log, and its spans.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, HOP, LOGIN, NAME};
use relay::demo::steps::session;
use relay::hosts::process::{Signal, signal};
use serde_json::Value;
use tests::collector::Collector;
use tests::need;
use tests::world::World;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Returns the lines of the log about this event.
fn logged(world: &World, event: &str) -> Vec<Value> {
    let log = world.stage.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == event).collect()
}

#[test]
fn a_message_keeps_its_trace_and_how_it_came_over_a_restart_and_has_one_line() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    let at = SocketAddr::new(HOP.ip(), 4318);
    let collector = Collector::on(world.stage.world.within(|| TcpListener::bind(at))??);
    let mut file =
        OpenOptions::new().append(true).open(world.folder.path().join("sallyport.toml"))?;
    write!(file, "[log]\nformat = \"json\"\n[traces]\nendpoint = \"http://{at}/v1/traces\"\n")?;
    world.stage.start()?;
    world.stage.command(&["route", "suspend", "next-hop"])?;
    let field = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    let message = format!("From: billing@example.net\r\n{field}Subject: traced\r\n\r\nhello\r\n");
    let mut client = session(&world.stage, CLIENT)?;
    let said = client.send("billing@example.net", "a@Example.com", message.as_bytes())?;
    let id = said.lines.join(" ").rsplit(' ').next().context("an id")?.to_owned();
    client.say("QUIT", 221)?;
    ensure!(logged(&world, "settled").is_empty(), "it is still here");

    // The relay that delivers it knows it from the spool alone.
    world.stage.stop()?;
    world.stage.start()?;
    world.stage.command(&["route", "resume", "next-hop"])?;
    let arrived = String::from_utf8(world.stage.hop.next_message()?)?;
    ensure!(arrived.contains(&field), "the field travels as it came:\n{arrived}");
    let line = wait_for("the line", || logged(&world, "settled").pop())?;
    let has = |name: &str, value: Value| {
        assert_eq!(line[name], value, "{name} in {line}");
    };
    has("level", "INFO".into());
    has("id", id.as_str().into());
    has("end", "delivered".into());
    has("source", CLIENT.to_string().into());
    has("entry", "192.0.2.0/28".into());
    has("entry-over-rate", 0.into());
    has("tag", "demo".into());
    has("login", LOGIN.into());
    has("mechanism", "PLAIN".into());
    has("server-name", NAME.into());
    has("domains", "example.com".into());
    has("recipients", 1.into());
    has("delivered", 1.into());
    has("attempts", 1.into());
    has("route", "next-hop".into());
    has("next-hop", HOP.to_string().into());
    has("trace", TRACE.into());
    let passed = line["entry-passed"].as_u64().context("a number")?;
    ensure!(passed >= 1, "the kernel has counted this client's attempt");
    ensure!(line["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.3")), "{line}");
    ensure!(line["reply"].as_str().is_some_and(|reply| reply.starts_with("250")), "{line}");
    for step in ["accepted", "delivered"] {
        ensure!(logged(&world, step).is_empty(), "{step}: one line a message");
    }

    let told = world.stage.command(&["trace", &id])?;
    ensure!(told.contains(&format!("in trace {TRACE}")), "{told}");
    let mut spans = Vec::new();
    while spans.len() < 3 {
        spans.push(collector.next()?);
    }
    let of = |name: &str| {
        spans
            .iter()
            .find(|span| span["name"] == name)
            .with_context(|| format!("{name}: {spans:#?}"))
    };
    let (session, accept, attempt) = (of("session")?, of("accept")?, of("attempt")?);
    for span in [session, accept, attempt] {
        assert_eq!(span["traceId"], TRACE);
    }
    assert_eq!(session["parentSpanId"], PARENT);
    assert_eq!(accept["parentSpanId"], session["spanId"]);
    assert_eq!(attempt["parentSpanId"], accept["spanId"]);
    Ok(())
}

/// Returns the values of a field in what a journald took, in the order of the datagrams.
fn taken(journald: &UnixDatagram, field: &str) -> Result<Vec<String>> {
    let (mut buffer, mut values) = (vec![0; 1 << 16], Vec::new());
    loop {
        let length = match journald.recv(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(values),
            received => received?,
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let start = format!("{field}=");
        values.extend(text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned));
    }
}

#[test]
fn journald_gets_the_lines_of_both_processes_and_standard_error_what_it_does_not_take() -> Result<()>
{
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    // The world has mounts of its own: this hides nothing from anybody else.
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", "/run", "tmpfs", flags, Some(c"mode=0755"))?;
    let folder = Path::new("/run/systemd/journal");
    std::fs::create_dir_all(folder)?;
    let journald = UnixDatagram::bind(folder.join("socket"))?;
    journald.set_nonblocking(true)?;
    std::fs::set_permissions(folder.join("socket"), Permissions::from_mode(0o666))?;
    let mut file =
        OpenOptions::new().append(true).open(world.folder.path().join("sallyport.toml"))?;
    write!(file, "[log]\nformat = \"journald\"\n")?;
    world.stage.start()?;
    let mut processes = taken(&journald, "SALLYPORT_PROCESS")?;
    processes.sort();
    assert_eq!(processes, ["gate", "relay"]);
    assert_eq!(world.stage.log(), "", "nothing is written twice");

    std::fs::remove_file(folder.join("socket"))?;
    world.stage.command(&["reload"])?;
    let lines = wait_for("lines on standard error", || {
        Some(world.stage.log()).filter(|log| log.contains("started process=relay"))
    })?;
    ensure!(lines.lines().all(|line| line.starts_with('<')), "each has its priority:\n{lines}");
    Ok(())
}

#[test]
fn json_goes_to_standard_output_and_leaves_standard_error_to_failures() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::set()?;
    let folder = world.folder.path();
    let mut file = OpenOptions::new().append(true).open(folder.join("sallyport.toml"))?;
    write!(file, "[log]\nformat = \"json\"\n")?;
    let (out, err) = (folder.join("out"), folder.join("err"));
    let mut command = world.stage.program(&["run"]);
    command.stdout(File::create(&out)?).stderr(File::create(&err)?);
    let mut product = world.stage.relay.spawn(&mut command)?;
    let started = |text: &str| text.matches("\"event\":\"started\"").count();
    let told = wait_for("both processes to start", || {
        std::fs::read_to_string(&out).ok().filter(|text| started(text) == 2)
    });
    signal(product.id(), Signal::TERM)?;
    product.wait()?;
    let said = std::fs::read_to_string(&err)?;
    for line in told.with_context(|| said.clone())?.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(line["time"].is_string() && line["level"].is_string(), "{line}");
    }
    assert_eq!(said, "");
    Ok(())
}
