//! Many clients at once, and clients that come while processes go and come.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::client::{Client, Secured};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, LOGIN, NAME, Stage};
use relay::demo::steps::{pid_of, session};
use relay::hosts::Host;
use relay::hosts::dial::connect;
use relay::hosts::process::{Signal, signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::forger::Forger;
use tests::need;
use tests::world::World;

/// Sessions that say nothing.
const IDLE: usize = 5000;
/// What each may cost the relay at most, octets. It fails where a session
/// holds a buffer.
const IDLE_COST: usize = 8 << 10;
/// SYNs whose handshake is never completed: many more than the listening socket's queue holds.
const HALF_OPEN: u16 = 20_000;
/// How long a connection may wait for a process that starts anew.
const PATIENCE: Duration = Duration::from_secs(20);

/// Appends to the configuration of a stage that was not started.
fn configure(world: &World, lines: &str) -> Result<()> {
    let path = world.folder.path().join("sallyport.toml");
    let text = fs::read_to_string(&path)?;
    Ok(fs::write(&path, format!("{text}{lines}"))?)
}

fn relay_pid(stage: &Stage) -> Result<u32> {
    pid_of(&stage.listing(&["status"])?["relay"])
}

/// Returns the memory that a process alone has, octets (`Private_*` of proc_pid_smaps(5)).
fn private_memory(pid: u32) -> Result<usize> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    let sizes =
        lines.map(|line| line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()));
    let kib = sizes.sum::<Option<usize>>().context("a size in smaps_rollup")?;
    Ok(kib << 10)
}

#[test]
fn five_thousand_idle_sessions_cost_little_and_keep_nobody_out() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    let mut world = World::set()?;
    configure(
        &world,
        "[limits]\nsessions = 6000\nsessions-per-source = 6000\nsessions-per-network = 6000\n",
    )?;
    world.stage.start()?;
    let stage = &world.stage;
    // What the first session brings with it is no cost of each.
    drop(session(stage, CLIENT)?);
    let pid = relay_pid(stage)?;
    let before = private_memory(pid)?;
    let idle = stage.world.within(|| -> Result<Vec<BufReader<TcpStream>>> {
        (0..IDLE)
            .map(|_| {
                let mut client = BufReader::with_capacity(
                    128,
                    connect(CLIENT, GUARDED, PATIENCE).context("connect")?,
                );
                let mut greeting = String::new();
                client.read_line(&mut greeting)?;
                ensure!(greeting.starts_with("220 "), "greeted with {greeting:?}");
                Ok(client)
            })
            .collect()
    })??;
    let each = private_memory(pid)?.saturating_sub(before) / IDLE;
    ensure!(each <= IDLE_COST, "an idle session takes {each} octets");
    println!("an idle session takes {each} octets");
    let mut late = session(stage, CLIENT)?;
    late.send("a@example.net", "b@example.com", b"From: a@example.net\r\n\r\nhello\r\n")?;
    let status = stage.listing(&["status"])?;
    ensure!(status["relay"]["sessions"] == IDLE + 1, "{status}");
    drop(idle);
    wait_for("the sessions to end", || {
        let status = stage.listing(&["status"]).ok()?;
        (status["relay"]["sessions"] == 1).then_some(())
    })
}

#[test]
fn as_many_sessions_as_there_may_be_are_told_while_they_are_open() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    configure(&world, "[limits]\nsessions = 1\n")?;
    world.stage.start()?;
    let stage = &world.stage;
    let only = session(stage, CLIENT)?;
    let words = "sessions: as many are open as limits.sessions allows";
    let told = stage.command(&["status"])?;
    ensure!(told.starts_with("health    degraded") && told.contains(words), "{told}");
    let mut doctor = stage.program(&["doctor", "--json"]);
    let doctor = stage.relay.within(|| doctor.output())??;
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout)?;
    let found = found["findings"].as_array().context("findings")?;
    let ids: Vec<_> = found.iter().filter_map(|one| one["id"].as_str()).collect();
    ensure!(ids.contains(&"sessions-full") && !ids.contains(&"relay-troubled"), "{ids:?}");
    drop(only);
    wait_for("a good relay", || {
        let told = stage.command(&["status"]).ok()?;
        told.starts_with("health    good").then_some(())
    })
}

/// Sends a message; returns its session, which is open still.
fn say_hello(stage: &Stage) -> Result<Secured> {
    let mut client = session(stage, CLIENT)?;
    client.send("a@example.net", "b@example.com", b"From: a@example.net\r\n\r\nhello\r\n")?;
    Ok(client)
}

#[test]
fn handshakes_that_are_never_completed_keep_nobody_out_and_make_no_session() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    // The first messages bring memory of their own, on every thread and on the way out.
    for _ in 0..20 {
        say_hello(stage)?;
    }
    let pid = relay_pid(stage)?;
    let mut forger = Forger::at(stage)?;
    let mut grown = Vec::new();
    // Each costs nothing, so no round does. A first one may: the alert of it takes memory of threads that had none.
    for round in 1..=3 {
        let before = private_memory(pid)?;
        forger.send(HALF_OPEN)?;
        wait_for("the gate to have counted them", || {
            let list = stage.listing(&["allow", "list"]).ok()?;
            let entries = list.as_array().or_else(|| list["entries"].as_array())?;
            let counted = entries.iter().filter_map(|entry| entry["connections"].as_u64()).max();
            counted.filter(|connections| *connections > u64::from(HALF_OPEN) * round)
        })?;
        let client = say_hello(stage)?;
        let status = stage.listing(&["status"])?;
        ensure!(status["relay"]["sessions"] == 1, "{status}");
        drop(client);
        grown.push(private_memory(pid)?.saturating_sub(before));
        if grown.last().is_some_and(|last| *last < usize::from(HALF_OPEN) * 64) {
            return Ok(());
        }
    }
    bail!("the relay grew by {grown:?} octets")
}

/// Sends `text`, closes its own half and returns all that comes back.
fn half_close(stage: &Stage, text: &str) -> Result<String> {
    stage.world.within(|| -> Result<String> {
        let mut client = connect(CLIENT, GUARDED, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(text.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        let mut said = String::new();
        client.read_to_string(&mut said)?;
        Ok(said)
    })?
}

#[test]
fn a_client_that_closed_its_half_hears_its_answers_and_leaves_no_session() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    // Before the greeting that would be early talk: it waits for none here, and says nothing at all.
    let said = half_close(stage, "")?;
    ensure!(said.starts_with("220 "), "{said:?}");
    wait_for("the session to end", || {
        let status = stage.listing(&["status"]).ok()?;
        (status["relay"]["sessions"] == 0).then_some(())
    })
}

/// What one client went through that came again and again.
#[derive(Default)]
struct Seen {
    /// Messages that were acknowledged.
    acknowledged: usize,
    /// Sessions that ended with 421, as one that is idle may at a restart.
    sent_away: usize,
    /// Connections that were refused, reset or not answered.
    lost: Vec<String>,
}

/// What a client needs of the stage.
#[derive(Clone, Copy)]
struct Sender<'a> {
    host: &'a Host,
    ca: &'a [u8],
    password: &'a str,
}

impl Sender<'_> {
    /// Sends the message of this number by a connection of its own.
    fn send(self, number: usize) -> Result<()> {
        let stream = self.host.within(|| connect(CLIENT, GUARDED, PATIENCE))?;
        let mut client = Client::greet(stream.context("connect")?)?.secure(NAME, self.ca)?;
        client.login(LOGIN, self.password)?;
        // No command confirms the answer: the same octets again would be a repeat.
        let message = format!("From: a@example.net\r\n\r\nhello {number}\r\n");
        client.send("a@example.net", "b@example.com", message.as_bytes()).map(drop)
    }
}

/// Sends a message and notes what came of it.
fn submit(sender: Sender<'_>, seen: &mut Seen) {
    match sender.send(seen.acknowledged) {
        Ok(()) => seen.acknowledged += 1,
        Err(error) if format!("{error:#}").contains("421 ") => seen.sent_away += 1,
        Err(error) => seen.lost.push(format!("{error:#}")),
    }
}

#[test]
fn no_connection_is_refused_while_each_process_is_reloaded_and_started_anew() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let over = AtomicBool::new(false);
    let sender = Sender { host: &stage.world, ca: &stage.ca, password: &stage.password };
    let seen = std::thread::scope(|scope| -> Result<Seen> {
        let over = &over;
        let clients = scope.spawn(move || {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                submit(sender, &mut seen);
            }
            seen
        });
        let acted = disturb(stage);
        over.store(true, Ordering::Relaxed);
        let seen = clients.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        acted.map(|()| seen)
    })?;
    ensure!(seen.lost.is_empty(), "{:?}\n{}", seen.lost, stage.log());
    ensure!(seen.acknowledged > 10, "only {} messages were sent", seen.acknowledged);
    println!("{} acknowledged, {} sent away with 421", seen.acknowledged, seen.sent_away);
    for _ in 0..seen.acknowledged {
        stage.hop.next_message().context("a message that was acknowledged")?;
    }
    Ok(())
}

/// Reloads both processes, then ends each in order, so that it is started anew.
fn disturb(stage: &Stage) -> Result<()> {
    let pids = || -> Result<(u32, u32)> {
        let status = stage.listing(&["status"])?;
        Ok((pid_of(&status["relay"])?, pid_of(&status["gate"])?))
    };
    let (relay, gate) = pids()?;
    signal(relay, Signal::HUP)?;
    signal(gate, Signal::HUP)?;
    wait_for("the reload", || {
        stage.log().contains("the configuration was read again").then_some(())
    })?;
    signal(relay, Signal::TERM)?;
    wait_for("another relay", || pids().ok().filter(|(now, _)| *now != relay))?;
    signal(gate, Signal::TERM)?;
    wait_for("another gate", || pids().ok().filter(|(_, now)| *now != gate))?;
    wait_for("both to serve", || {
        let status = stage.listing(&["status"]).ok()?;
        (status["relay"]["serving"] == true && status["relay"]["guard"] == "guarded").then_some(())
    })
}
