//! Alerts of both processes at a receiver that we did not write, while processes are killed.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver as Lines, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, NAME};
use relay::demo::steps::{gate, pid_of, session};
use relay::hosts::process::{Signal, signal};
use serde_json::Value;
use tests::need;
use tests::world::World;

/// How long an alert is waited for: a channel that failed is tried again after five seconds and more.
const SOON: Duration = Duration::from_secs(40);

/// The receiver in Python, in the relay's host.
struct Receiver {
    process: Child,
    port: u16,
    lines: Lines<String>,
    /// What came, by its id.
    told: BTreeMap<String, Value>,
}

impl Receiver {
    fn start(world: &World) -> Result<Self> {
        let at = world.folder.path();
        fs::write(at.join("hook-secret"), "a secret between two\n")?;
        fs::write(at.join("receiver.py"), include_str!("root_alerts/receiver.py"))?;
        let mut command = Command::new("/usr/bin/python3");
        command.arg(at.join("receiver.py")).arg(at.join("hook-secret")).stdout(Stdio::piped());
        let mut process = world.stage.relay.spawn(&mut command)?;
        let mut output = BufReader::new(process.stdout.take().context("its output")?);
        let mut port = String::new();
        output.read_line(&mut port)?;
        let (show, lines) = channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| show.send(line))
        });
        let port = port.trim().parse().context("its port")?;
        Ok(Self { process, port, lines, told: BTreeMap::new() })
    }

    /// Returns what a configuration says so that everything is told here.
    fn channel(&self, world: &World) -> String {
        format!(
            "[[alerts.webhook]]\nname = \"ops\"\nurl = \"http://127.0.0.1:{}/\"\nsecret-file = \"{}\"\n",
            self.port,
            world.folder.path().join("hook-secret").display()
        )
    }

    /// Waits until each of these was told: keys and stages.
    fn wait_for(&mut self, wanted: &[(&str, &str)]) -> Result<()> {
        let until = Instant::now() + SOON;
        let has = |told: &BTreeMap<String, Value>, (key, stage): &(&str, &str)| {
            told.values().any(|alert| alert["key"] == *key && alert["stage"] == *stage)
        };
        while !wanted.iter().all(|one| has(&self.told, one)) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.with_context(|| format!("{wanted:?} among {:#?}", self.told))?;
            self.note(&line)?;
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        let told: Value = serde_json::from_str(line)?;
        ensure!(told["ours"] == true, "its signature is wrong: {told}");
        let id = told["id"].as_str().context("no id")?;
        ensure!(told["alert"]["id"] == id, "two ids: {told}");
        self.told.insert(id.to_owned(), told["alert"].clone());
        Ok(())
    }

    /// Counts the tellings of a key and a stage; the same one told twice counts once.
    fn count(&self, key: &str, stage: &str) -> usize {
        let is_it = |alert: &&Value| alert["key"] == key && alert["stage"] == stage;
        self.told.values().filter(is_it).count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a world that runs by a changed configuration, and a receiver that its alerts go to.
fn heard(change: impl FnOnce(String) -> String) -> Result<(World, Receiver)> {
    let mut world = World::set()?;
    let receiver = Receiver::start(&world)?;
    let file = world.folder.path().join("sallyport.toml");
    let text = change(fs::read_to_string(&file)?);
    fs::write(&file, text + &receiver.channel(&world))?;
    world.stage.start()?;
    Ok((world, receiver))
}

#[test]
fn want_of_room_is_told_though_no_client_comes() -> Result<()> {
    if !need::root() || need::tool("python3").is_none() {
        return Ok(());
    }
    let (world, mut receiver) = heard(|text| {
        let small = text.replacen("[spool]\n", "[spool]\nmessages = 1\n", 1);
        assert!(small != text, "the stage has a spool: {text}");
        small
    })?;
    world.stage.command(&["route", "suspend", "next-hop"])?;
    // It is taken, and stays.
    let mail = b"From: a@example.net\r\n\r\nhello\r\n";
    session(&world.stage, CLIENT)?.send("a@example.net", "b@example.com", mail)?;
    receiver.wait_for(&[("spool-full", "opened")])
}

#[test]
fn a_certificate_that_ends_is_told_while_the_relay_runs() -> Result<()> {
    if !need::root() || need::tool("python3").is_none() {
        return Ok(());
    }
    let (world, mut receiver) = heard(|text| text)?;
    let at = |name: &str| world.folder.path().join(name);
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(at("tls/key.pem"))?)?;
    let show = |days_left: u32| -> Result<()> {
        let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()])?;
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        params.not_before = (now - 50 * day).into();
        params.not_after = (now + days_left * day).into();
        fs::write(at("tls/new.pem"), params.self_signed(&key)?.pem())?;
        Ok(fs::rename(at("tls/new.pem"), at("tls/chain.pem"))?)
    };
    let told = format!("certificate-ends/{}", at("tls/chain.pem").display());
    show(10)?;
    receiver.wait_for(&[(told.as_str(), "opened")])?;
    show(60)?;
    receiver.wait_for(&[(told.as_str(), "closed")])
}

#[test]
fn a_gate_that_dies_again_and_again_is_told_of() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    for _ in 0..3 {
        let before = pid_of(&gate(&world.stage)?)?;
        signal(before, Signal::KILL)?;
        wait_for("another gate", || {
            let pid = pid_of(&gate(&world.stage).ok()?).ok()?;
            (pid != before).then_some(())
        })?;
    }
    let told = wait_for("the alert", || {
        let listing = world.stage.listing(&["alert", "list"]).ok()?;
        let recent = listing["recent"].as_array()?;
        let is_it =
            |alert: &&Value| alert["class"] == "process-broken" && alert["subject"] == "gate";
        recent.iter().find(is_it).cloned()
    })?;
    ensure!(told["severity"] == "critical", "{told}");
    Ok(())
}

#[test]
fn alerts_of_the_gate_and_the_relay_reach_a_receiver_over_the_relays_death() -> Result<()> {
    if !need::root() || need::tool("python3").is_none() {
        return Ok(());
    }
    let others = "[[alerts.mail]]\nto = [\"ops@example.net\"]\nclasses = [\"test\"]\n\
                  [[alerts.exec]]\ncommand = [\"/bin/cat\"]\nclasses = []\n";
    let (mut world, mut receiver) = heard(|text| text + others)?;

    world.stage.command(&["mode", "observe", "--for", "1h"])?;
    receiver.wait_for(&[("mode-observe", "opened")])?;
    let listing = world.stage.listing(&["alert", "list"])?;
    ensure!(listing["open"][0]["alert"]["class"] == "mode-observe", "{listing}");

    let status = world.stage.listing(&["status"])?;
    signal(pid_of(&status["relay"])?, Signal::KILL)?;
    world.stage.command(&["mode", "enforce"])?;
    receiver.wait_for(&[("mode-observe", "closed"), ("process-broken/relay", "noted")])?;
    world.stage.serving()?;

    let tested = world.stage.listing(&["alert", "test"])?;
    let taken = |tested: &Value| tested["taken"] == true;
    let tested = tested.as_array().context("a list")?;
    ensure!(tested.len() == 4 && tested.iter().all(taken), "{tested:?}");
    receiver.wait_for(&[("test", "noted")])?;

    world.stage.command(&["alert", "silence", "mode-*", "--for", "1h", "--note", "a test"])?;
    world.stage.command(&["mode", "observe", "--for", "1h"])?;
    world.stage.command(&["mode", "enforce"])?;
    let silences = world.stage.listing(&["alert", "list"])?;
    ensure!(silences["silences"][0]["pattern"] == "mode-*", "{silences}");
    world.stage.command(&["alert", "silence", "--remove", "mode-*"])?;
    world.stage.command(&["alert", "test", "ops"])?;
    world.stage.stop()?;
    while let Ok(line) = receiver.lines.try_recv() {
        receiver.note(&line)?;
    }
    for stage in ["opened", "closed"] {
        assert_eq!(receiver.count("mode-observe", stage), 1, "{:#?}", receiver.told);
    }
    Ok(())
}

#[test]
fn a_relay_that_hangs_is_told_of_by_the_gate_at_once_and_by_itself_when_it_is_back() -> Result<()> {
    if !need::root() || need::tool("python3").is_none() {
        return Ok(());
    }
    let (world, mut receiver) = heard(|text| text)?;
    let hangs = pid_of(&world.stage.listing(&["status"])?["relay"])?;
    signal(hangs, Signal::STOP)?;
    let told = wait_for("the gate to tell of it", || {
        let log = world.stage.log();
        log.lines().find(|line| line.contains(" relay-silent ")).map(str::to_owned)
    });
    signal(hangs, Signal::CONT)?;
    let told = told.with_context(|| world.stage.log())?;
    ensure!(told.contains("ERROR") && told.contains("it hangs, or was stopped"), "{told}");
    receiver.wait_for(&[("relay-silent", "opened"), ("relay-silent", "closed")])?;

    // One that is killed is back before anybody is told.
    signal(hangs, Signal::KILL)?;
    receiver.wait_for(&[("process-broken/relay", "noted")])?;
    world.stage.command(&["mode", "observe", "--for", "1h"])?;
    receiver.wait_for(&[("mode-observe", "opened")])?;
    assert_eq!(receiver.count("relay-silent", "opened"), 1, "{:#?}", receiver.told);
    Ok(())
}

#[test]
fn a_gate_that_hangs_is_told_of_until_it_answers_and_one_that_is_back_at_once_is_not() -> Result<()>
{
    if !need::root() || need::tool("python3").is_none() {
        return Ok(());
    }
    let (world, mut receiver) = heard(|text| text)?;
    let hangs = pid_of(&gate(&world.stage)?)?;
    signal(hangs, Signal::STOP)?;
    let told = receiver.wait_for(&[("gate-silent", "opened")]);
    signal(hangs, Signal::CONT)?;
    told?;
    receiver.wait_for(&[("gate-silent", "closed")])?;

    signal(hangs, Signal::KILL)?;
    wait_for("the gate to be back", || {
        let pid = pid_of(&gate(&world.stage).ok()?).ok()?;
        (pid != hangs).then_some(())
    })?;
    // The gate's alerts come in their order: this one after what it said at its start.
    world.stage.command(&["mode", "observe", "--for", "1h"])?;
    receiver.wait_for(&[("mode-observe", "opened")])?;
    let told: Vec<&Value> = receiver.told.values().map(|alert| &alert["summary"]).collect();
    assert_eq!(receiver.count(&format!("listener-down/{GUARDED}"), "opened"), 0, "{told:?}");
    assert_eq!(receiver.count("gate-silent", "opened"), 1, "{told:?}");
    Ok(())
}

#[test]
fn a_listener_whose_address_another_program_took_is_told_of_until_it_is_free_again() -> Result<()> {
    if !need::root() || need::tool("python3").is_none() {
        return Ok(());
    }
    let (world, mut receiver) = heard(|text| text)?;
    let stage = &world.stage;
    let status = stage.listing(&["status"])?;
    // Both processes die at once, so nobody holds the socket until the gate is back.
    stage.signal_parent(Signal::STOP)?;
    for half in ["gate", "relay"] {
        signal(pid_of(&status[half])?, Signal::KILL)?;
    }
    let taker = wait_for("the address to be free", || {
        stage.relay.within(|| TcpListener::bind(GUARDED)).ok()?.ok()
    });
    stage.signal_parent(Signal::CONT)?;
    let taker = taker?;
    let key = format!("listener-down/{GUARDED}");
    receiver.wait_for(&[(&key, "opened")]).with_context(|| stage.log())?;
    let told = receiver.told.values().find(|alert| alert["key"] == *key).context("it was told")?;
    ensure!(told["severity"] == "critical", "{told}");
    ensure!(told.to_string().contains("another program listens there"), "{told}");
    ensure!(stage.log().contains(&format!("not yet on {GUARDED}")), "{}", stage.log());
    ensure!(stage.listing(&["status"])?["health"] == "not-serving");
    drop(taker);
    receiver.wait_for(&[(&key, "closed")])?;
    session(stage, CLIENT)?;
    Ok(())
}
