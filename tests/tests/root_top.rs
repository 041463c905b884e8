//! The live view in a real terminal, beside a real gate: strangers knock, the operator bans and admits them by a key.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{GUARDED, STRANGER, Stage};
use relay::demo::steps::pid_of;
use relay::hosts::Host;
use relay::hosts::dial::send_syn;
use relay::hosts::process::{Signal, signal};
use tests::need;
use tests::terminal::Terminal;
use tests::world::{World, program};

/// The pause of a stranger between two bursts of SYNs.
const PAUSE: Duration = Duration::from_millis(100);

fn top(stage: &Stage) -> Result<Terminal> {
    let spawn = |command: &mut std::process::Command| Ok(stage.relay.spawn(command)?);
    Terminal::run((100, 30), stage.program(&["top"]), spawn)
}

/// Has a stranger knock until nobody waits for it any more: the gate's summary samples what it refuses.
fn knock(world: &Host, is_over: &AtomicBool) -> Result<()> {
    for _ in 0..300 {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        world.within(|| (0..400).try_for_each(|_| send_syn(STRANGER, GUARDED)))??;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

#[test]
fn strangers_are_seen_explained_banned_and_admitted_by_keys() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let mut top = top(stage)?;
    top.until("a good relay", |text| text.contains("good") && text.contains("serving, guarded"))?;
    let stranger = STRANGER.to_string();
    let row = format!("> {stranger}");
    let (strangers, is_over) = (&stage.world, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let knocks = scope.spawn(|| knock(strangers, &is_over));
        let seen = top.until("the stranger", |text| text.contains(&row));
        is_over.store(true, Ordering::Relaxed);
        knocks.join().expect("it does not panic")?;
        seen
    })?;
    top.press("e")?;
    let explained = format!("{stranger} to port 2525: drop (unlisted_syn)");
    top.until("an explanation", |text| text.contains(&explained))?;
    top.press(" b")?;
    let command = format!("sallyport ban add {stranger}/32 --ttl 1h");
    top.until("a question", |text| text.contains(&command))?;
    assert_eq!(stage.listing(&["ban", "list"])?.as_array().map(Vec::len), Some(0), "it asks first");
    top.press("y")?;
    top.until("an answer", |text| text.contains(&format!("{stranger}/32 added")))?;
    assert!(stage.command(&["ban", "list"])?.contains("from sallyport top"));
    top.press(" a")?;
    let command = format!("sallyport allow add {stranger}/32 --ttl 8h");
    top.until("another question", |text| text.contains(&command))?;
    top.press("y")?;
    top.until("another answer", |text| text.contains(&format!("{stranger}/32 added")))?;
    assert!(stage.command(&["allow", "list"])?.contains("from sallyport top"));
    top.press(" q")?;
    let (code, left) = top.end()?;
    assert_eq!((code, left.trim()), (0, ""), "the terminal is as before");
    Ok(())
}

#[test]
fn the_status_of_a_relay_under_attack_fits_a_terminal_of_24_rows() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let (strangers, is_over) = (&stage.world, AtomicBool::new(false));
    let spikes = std::thread::scope(|scope| {
        let knocks = scope.spawn(|| knock(strangers, &is_over));
        let told = wait_for("spikes that people were told of", || {
            let status = stage.listing(&["status"]).ok()?;
            let told = status["alerts"].as_array()?;
            told.iter().any(|alert| alert["class"] == "spike-refused").then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
        knocks.join().expect("it does not panic")?;
        told
    });
    spikes?;
    let spawn = |command: &mut std::process::Command| Ok(stage.relay.spawn(command)?);
    let (code, shown) = Terminal::run((80, 24), stage.program(&["status"]), spawn)?.end()?;
    // What scrolled away is not there.
    assert!(code == 0 && shown.trim_start().starts_with("health    "), "{shown}");
    let (_, below) = shown.split_once("\nspike     spike-refused since ").expect(&shown);
    // What its row may continue with is its numbers.
    let first = below.lines().skip(1).find(|line| !line.contains("usual"));
    assert!(first.is_some_and(|line| line.starts_with("          first: sallyport ")), "{shown}");
    assert!(shown.contains("\nrelay     serving"), "{shown}");
    assert!(!shown.contains("alert     spike-refused"), "it stands there once: {shown}");
    Ok(())
}

#[test]
fn the_view_goes_on_when_the_gate_and_the_relay_are_dead() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    let mut top = top(&world.stage)?;
    top.until("a good relay", |text| text.contains("serving, guarded"))?;
    world.stage.stop()?;
    top.until("two dead processes", |text| {
        text.contains("gate    does not answer") && text.contains("the relay does not answer")
    })?;
    top.press("\u{3}")?;
    assert_eq!(top.end()?.0, 0, "it ends by Ctrl-C, too");
    Ok(())
}

/// Shows the view of a host where nothing runs.
fn alone(folder: &std::path::Path) -> Result<Terminal> {
    let file = folder.join("sallyport.toml");
    std::fs::write(
        &file,
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[gate]\nrequired = false\n\
         [[listener]]\naddress = '127.0.0.1:2525'\n",
    )?;
    let mut command = std::process::Command::new(program()?);
    command.arg("--config").arg(&file).arg("top");
    let mut top = Terminal::run((100, 30), command, |command| Ok(command.spawn()?))?;
    top.until("the view", |text| text.contains("the relay does not answer"))?;
    Ok(top)
}

#[test]
fn a_terminal_that_is_gone_ends_it_without_a_signal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    assert_eq!(alone(folder.path())?.hang_up()?, 129);
    Ok(())
}

#[test]
fn a_signal_ends_it_and_leaves_the_terminal_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let signals =
        [(Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143)];
    for (number, code) in signals {
        let top = alone(folder.path())?;
        assert!(top.is_taken(), "{number:?}");
        signal(top.pid(), number)?;
        assert_eq!(top.left()?, (code, true), "{number:?}");
    }
    Ok(())
}

#[test]
fn processes_that_hang_are_named_and_hold_nobody_who_asks() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let mut top = top(stage)?;
    top.until("a good relay", |text| text.contains("serving, guarded"))?;
    let status = stage.listing(&["status"])?;
    let both = [pid_of(&status["gate"])?, pid_of(&status["relay"])?];
    let tell = |number: Signal| both.iter().try_for_each(|pid| signal(*pid, number));
    tell(Signal::STOP)?;
    let seen = top.until("two that hang", |text| {
        text.contains("gate    does not answer")
            && text.contains("the relay does not answer within")
    });
    let mut check = stage.program(&["status", "--check"]);
    let checked = stage.relay.within(|| check.output());
    tell(Signal::CONT)?;
    seen?;
    let checked = checked??;
    assert_eq!(checked.status.code(), Some(2));
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("the gate does not answer within 2 s"), "{said}");
    assert!(said.contains("the relay does not answer within 2 s"), "{said}");
    assert!(said.contains("see `sallyport doctor` and `journalctl -u sallyport-relay`"), "{said}");
    top.until("a good relay again", |text| text.contains("serving, guarded"))?;
    Ok(())
}

#[test]
fn without_a_terminal_it_names_what_programs_read() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let mut command = world.stage.program(&["top"]);
    let output =
        wait_for("an answer", || world.stage.relay.within(|| command.output().ok()).ok()?)?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`sallyport status --json`"), "{said}");
    Ok(())
}
