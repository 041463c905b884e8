//! Two doors: what happens when the first is taken away, and what goes around it.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, RELAY, STRANGER, Stage};
use relay::demo::steps::{attempt, gate, pid_of, session};
use relay::hosts::Host;
use relay::hosts::dial::{Answer, dial, send_syn};
use relay::hosts::process::{Signal, signal};
use relay_common::table::LAYOUT;
use serde_json::Value;
use tests::measure::Measure;
use tests::need;
use tests::world::World;

/// How long silence is waited for: one retransmission of a SYN.
const SILENCE: Duration = Duration::from_millis(1_200);
/// How long a connection is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a tool in a host and returns what it printed.
fn run(host: &Host, tool: &Path, words: &str) -> Result<String> {
    let mut command = Command::new(tool);
    command.args(words.split_whitespace());
    let Output { status, stdout, stderr } = host.within(|| command.output())??;
    ensure!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

fn is_silent(stage: &Stage) -> Result<bool> {
    Ok(attempt(stage, STRANGER, GUARDED, SILENCE)? == Answer::Silence)
}

/// Takes the program from the interface as somebody does who knows how: the link is detached.
fn take_away(world: &World, bpftool: &Path) -> Result<()> {
    let links = world.folder.path().join("bpf/sallyport/links");
    let mut pins = std::fs::read_dir(&links)?;
    let pin = pins.next().context("no link is pinned")??.path();
    run(&world.stage.relay, bpftool, &format!("link detach pinned {}", pin.display()))?;
    Ok(())
}

fn tools() -> Option<[PathBuf; 3]> {
    let mut found = ["bpftool", "ip", "nft"].map(need::tool).into_iter().flatten();
    Some([found.next()?, found.next()?, found.next()?])
}

#[test]
fn with_the_program_taken_away_strangers_meet_silence_in_both_settings() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some([bpftool, ..]) = tools() else { return Ok(()) };
    for (on_loss, serves) in [("refuse", false), ("second-door", true)] {
        let mut world = World::set()?;
        world.stage.say_of_the_gate(&format!("on-loss = \"{on_loss}\""))?;
        world.stage.start()?;
        // The gate's process is held: nobody repairs anything, and the kernel is alone with it.
        let pid = pid_of(&gate(&world.stage)?)?;
        signal(pid, Signal::STOP)?;
        take_away(&world, &bpftool)?;
        let (is_silent, seen) = (is_silent(&world.stage), serving(&world.stage, serves));
        signal(pid, Signal::CONT)?;
        ensure!(is_silent?, "{on_loss}: a stranger was answered");
        seen.with_context(|| format!("on-loss = {on_loss}"))?;
        let log = wait_for("the gate to be put back", || {
            let log = world.stage.log();
            log.contains("gate-restored").then_some(log)
        })?;
        ensure!(log.contains("gate-lost"), "the loss was not told: {log}");
        session(&world.stage, CLIENT).context("after it was put back")?;
        ensure!(bypasses(&world.stage)?.is_empty(), "no first door was there to get around");
    }
    Ok(())
}

/// Waits until a listed client gets a session, or gets none.
fn serving(stage: &Stage, serves: bool) -> Result<()> {
    wait_for("the relay to see the loss", || {
        (session(stage, CLIENT).is_ok() == serves).then_some(())
    })
}

#[test]
fn another_program_in_its_place_is_told_and_strangers_meet_silence() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some([bpftool, ip, _]) = tools() else { return Ok(()) };
    let world = World::serving()?;
    // A program that passes everything, loaded by somebody else.
    let mut others = Measure::load()?;
    let id = others.program("nothing")?.info()?.id();

    let pid = pid_of(&gate(&world.stage)?)?;
    signal(pid, Signal::STOP)?;
    take_away(&world, &bpftool)?;
    let attached = run(&world.stage.relay, &bpftool, &format!("net attach xdp id {id} dev guard0"));
    signal(pid, Signal::CONT)?;
    attached?;
    let told = wait_for("the foreign program to be told", || {
        let problem = gate(&world.stage).ok()?["interfaces"][0]["problem"].clone();
        problem.as_str().filter(|text| text.contains("another program")).map(str::to_owned)
    })?;
    ensure!(told.contains(&format!("id {id}")), "{told}");
    ensure!(is_silent(&world.stage)?, "a stranger was answered");
    let status = world.stage.listing(&["status"])?;
    ensure!(status["health"] == "not-serving", "{status}");

    run(&world.stage.relay, &ip, "link set dev guard0 xdp off")?;
    wait_for("the gate to be put back", || {
        gate(&world.stage).ok()?["interfaces"][0]["problem"].is_null().then_some(())
    })?;
    session(&world.stage, CLIENT)?;
    Ok(())
}

#[test]
fn the_loss_of_the_program_is_told_by_the_event_and_mended() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some([bpftool, ..]) = tools() else { return Ok(()) };
    let world = World::serving()?;
    let begin = Instant::now();
    take_away(&world, &bpftool)?;
    wait_for("the loss to be told", || world.stage.log().contains("gate-restored").then_some(()))?;
    println!("told and mended {:?} after the link was detached", begin.elapsed());
    ensure!(world.stage.log().contains("gate-lost"), "{}", world.stage.log());
    Ok(())
}

#[test]
fn pins_that_are_taken_away_come_back_and_open_nothing() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(ip) = need::tool("ip") else { return Ok(()) };
    let world = World::serving()?;
    let folder = world.folder.path().join("bpf/sallyport");
    let pins = |folder: &Path| -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for inside in ["links", &format!("v{LAYOUT}")] {
            for pin in std::fs::read_dir(folder.join(inside))? {
                found.push(pin?.path());
            }
        }
        found.push(folder.join("doors"));
        found.sort();
        Ok(found)
    };
    let before = pins(&folder)?;
    let group = |path: &PathBuf| -> Result<_> {
        let found = std::fs::metadata(path)?;
        Ok((found.gid(), found.mode()))
    };
    let given: Vec<_> = before.iter().map(group).collect::<Result<_>>()?;
    let inside = ["links".to_owned(), format!("v{LAYOUT}")].map(|name| folder.join(name));
    let folders_given: Vec<_> = inside.iter().map(group).collect::<Result<_>>()?;
    let are_back = || {
        wait_for("the pins to come back", || {
            pins(&folder).is_ok_and(|after| after == before).then_some(())
        })?;
        let again: Vec<_> = before.iter().map(group).collect::<Result<_>>()?;
        ensure!(again == given, "not for the same as before: {again:?}, {given:?}");
        let again: Vec<_> = inside.iter().map(group).collect::<Result<_>>()?;
        ensure!(again == folders_given, "not for the same as before: {again:?}, {folders_given:?}");
        // The relay opens the tables anew, and serves.
        world.stage.command(&["allow", "add", "203.0.113.77"])?;
        world.stage.command(&["allow", "remove", "203.0.113.77"])?;
        wait_for("a session", || session(&world.stage, CLIENT).ok().map(drop))
    };
    // The pins, and then their folders with them.
    for folders in [&[][..], &inside] {
        before.iter().try_for_each(std::fs::remove_file)?;
        folders.iter().try_for_each(std::fs::remove_dir)?;
        ensure!(is_silent(&world.stage)?, "a stranger was answered");
        are_back()?;
    }

    // And the folder of all of it, whose group the gate cannot give any more: it is a problem until somebody does.
    let (group_of_all, _) = group(&folder)?;
    before.iter().try_for_each(std::fs::remove_file)?;
    inside.iter().chain([&folder]).try_for_each(std::fs::remove_dir)?;
    ensure!(is_silent(&world.stage)?, "a stranger was answered");
    let problem = || -> Option<String> {
        let status = world.stage.listing(&["status"]).ok()?;
        let problems = status["gate"]["problems"].as_array()?;
        problems.iter().filter_map(Value::as_str).find(|one| one.contains("pins")).map(Into::into)
    };
    let told = wait_for("the problem", problem)?;
    let remedy = format!("install -d -m 2750 -g {group_of_all} {}", folder.display());
    ensure!(told.contains(&format!("As root: {remedy}, ")), "{told}");
    // It stays with it, however often it looks: it looks at pins whenever it looks at interfaces.
    for state in ["down", "up", "down", "up"] {
        run(&world.stage.relay, &ip, &format!("link set dev guard0 {state}"))?;
        wait_for("a look at the interface", || {
            let status = world.stage.listing(&["status"]).ok()?;
            let is_down = !status["gate"]["interfaces"][0]["down"].is_null();
            (is_down == (state == "down")).then_some(())
        })?;
    }
    ensure!(problem().is_some(), "{}", world.stage.log());
    let done = Command::new("sh").args(["-c", &remedy]).status()?;
    ensure!(done.success(), "{remedy}");
    are_back()?;
    wait_for("no problem", || problem().is_none().then_some(()))?;
    let said = "pins were gone and are back";
    wait_for("both to be told", || (world.stage.log().matches(said).count() >= 2).then_some(()))?;
    Ok(())
}

fn bypasses(stage: &Stage) -> Result<Vec<Value>> {
    Ok(gate(stage)?["bypasses"].as_array().context("bypasses")?.clone())
}

#[test]
fn a_way_around_the_first_door_is_named_and_only_then() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some([_, ip, nft]) = tools() else { return Ok(()) };
    let world = World::serving()?;
    let (relay, outside) = (&world.stage.relay, &world.stage.world);
    // Whom the first door refuses goes around nothing, nor who is refused just after the list changed.
    outside.within(|| (0..200).try_for_each(|_| send_syn(STRANGER, GUARDED)))??;
    let stranger = STRANGER.to_string();
    world.stage.command(&["allow", "add", &stranger])?;
    ensure!(attempt(&world.stage, STRANGER, GUARDED, PATIENCE)? == Answer::Connected);
    world.stage.command(&["allow", "remove", &stranger])?;
    ensure!(is_silent(&world.stage)?);
    ensure!(bypasses(&world.stage)?.is_empty(), "{:?}", bypasses(&world.stage)?);

    // A redirection of another port.
    run(relay, &nft, "add table ip ways")?;
    run(relay, &nft, "add chain ip ways in { type nat hook prerouting priority -100 ; }")?;
    run(relay, &nft, "add rule ip ways in tcp dport 25 redirect to :2525")?;
    let other = SocketAddr::new(RELAY, 25);
    ensure!(attempt(&world.stage, CLIENT, other, PATIENCE)? == Answer::Connected);
    ensure!(bypasses(&world.stage)?.is_empty(), "who is listed may come by any way");
    ensure!(attempt(&world.stage, STRANGER, other, SILENCE)? == Answer::Silence);
    let way = named(&world.stage, "guard0")?;
    ensure!(way["source"] == stranger && text(&way).contains("redirection"), "{way}");

    // A tunnel that ends on the relay host: the first door sees UDP.
    let (client, host) = (v4(CLIENT)?, v4(RELAY)?);
    let [theirs, ours] = ["10.9.0.2", "10.9.0.1"];
    for (end, [from, to]) in [(relay, [host, client]), (outside, [client, host])] {
        let tunnel =
            format!("link add tun1 type vxlan id 42 local {from} remote {to} dstport 4789");
        run(end, &ip, &tunnel)?;
    }
    for (end, address) in [(relay, ours), (outside, theirs)] {
        run(end, &ip, &format!("addr add {address}/24 dev tun1"))?;
        run(end, &ip, "link set tun1 up")?;
    }
    run(outside, &ip, &format!("route add {host}/32 dev tun1 table 9"))?;
    run(outside, &ip, &format!("rule add from {theirs} table 9"))?;
    let from: IpAddr = theirs.parse()?;
    let seen = outside.within(|| dial(from, GUARDED, SILENCE))??;
    ensure!(seen == Answer::Silence, "through the tunnel: {seen:?}");
    let way = named(&world.stage, "tun1 (vxlan)")?;
    ensure!(text(&way).contains("not guarded"), "{way}");

    // An interface that nobody named.
    Host::join((relay, "side0"), (outside, "side1"))?;
    relay.address("side0", "198.51.100.1/24".parse()?)?;
    outside.address("side1", "198.51.100.2/24".parse()?)?;
    run(outside, &ip, &format!("route add {host}/32 via 198.51.100.1 table 10"))?;
    run(outside, &ip, "rule add from 198.51.100.2 table 10")?;
    let from: IpAddr = "198.51.100.2".parse()?;
    let seen = outside.within(|| dial(from, GUARDED, SILENCE))??;
    ensure!(seen == Answer::Silence, "by the side: {seen:?}");
    named(&world.stage, "side0 (veth)")?;

    let screen = world.stage.command(&["status"])?;
    ensure!(screen.contains("gate bypass: tun1 (vxlan)"), "{screen}");
    ensure!(world.stage.log().contains("gate-bypass"), "{}", world.stage.log());
    Ok(())
}

fn v4(address: IpAddr) -> Result<Ipv4Addr> {
    let IpAddr::V4(address) = address else { bail!("{address}") };
    Ok(address)
}

fn text(way: &Value) -> &str {
    way["path"].as_str().unwrap_or_default()
}

/// Waits until a way is named that begins so.
fn named(stage: &Stage, begin: &str) -> Result<Value> {
    wait_for(&format!("the way by {begin} to be named"), || {
        bypasses(stage).ok()?.into_iter().find(|way| text(way).starts_with(begin))
    })
}
