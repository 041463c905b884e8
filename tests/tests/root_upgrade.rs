//! Gate and relay are exchanged, in turn and at a time, in order and by SIGKILL, while a stranger tries and
//! clients submit without a pause: no stranger is answered, no client refused or reset, no mail lost.
//!
//! `SALLYPORT_BEFORE` names the program of another version to begin with: what is exchanged then is that for the one
//! under test. Without it both are the same.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::Stage;
use relay::demo::steps::pid_of;
use relay::hosts::process::{Signal, signal};
use tests::load::{Fault, Load, arrived, only};
use tests::manager::Manager;
use tests::need;
use tests::stranger::Stranger;
use tests::world::{World, program};

/// How often everything is exchanged.
const ROUNDS: usize = 2;
/// The relay's user on the stage.
const RELAY_USER: u32 = 65_534;

/// A product of one's own, which can be exchanged for another while it runs.
struct Installed {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Installed {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let installed = Self { program: folder.path().join("sallyport"), folder };
        let before = std::env::var_os("SALLYPORT_BEFORE").map(PathBuf::from);
        installed.put(&before.map_or_else(program, Ok)?)?;
        Ok(installed)
    }

    /// Puts the program under test in the place of the one that runs.
    fn upgrade(&self) -> Result<()> {
        self.put(&program()?)
    }

    /// Puts another file in the program's place, as install(1) and dpkg(1) do.
    fn put(&self, other: &Path) -> Result<()> {
        let beside = self.folder.path().join("new");
        fs::copy(other, &beside)?;
        Ok(fs::rename(beside, &self.program)?)
    }
}

/// Both processes as two units, on a stage.
struct Units {
    manager: Manager,
    gate: Child,
    relay: Child,
}

impl Units {
    fn start(stage: &mut Stage, folder: &Path) -> Result<Self> {
        let manager = Manager::new(folder)?;
        let gate = manager.start(&stage.relay, &stage.program(&["gate"]))?;
        let relay = start_relay(stage, folder)?;
        let units = Self { manager, gate, relay };
        units.serve(stage)?;
        Ok(units)
    }

    /// Waits until the relay that was started last serves.
    fn serve(&self, stage: &Stage) -> Result<()> {
        let serves = || {
            let status = stage.listing(&["status"]).ok()?;
            let [gate, relay] = [&status["gate"], &status["relay"]];
            let is_last = relay["pid"] == self.relay.id() && gate["pid"] == self.gate.id();
            (is_last && relay["serving"] == true).then_some(())
        };
        wait_for("both to serve", serves).with_context(|| self.manager.log())
    }

    fn end_gate(&mut self, how: Signal) -> Result<()> {
        signal(self.gate.id(), how)?;
        self.gate.wait()?;
        Ok(())
    }

    fn end_relay(&mut self, how: Signal) -> Result<()> {
        signal(self.relay.id(), how)?;
        self.relay.wait()?;
        Ok(())
    }

    fn begin_gate(&mut self, stage: &Stage) -> Result<()> {
        self.gate = self.manager.start(&stage.relay, &stage.program(&["gate"]))?;
        Ok(())
    }

    fn begin_relay(&mut self, stage: &Stage, folder: &Path) -> Result<()> {
        self.relay = start_relay(stage, folder)?;
        Ok(())
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for child in [&mut self.relay, &mut self.gate] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_relay(stage: &Stage, folder: &Path) -> Result<Child> {
    let log = File::options().append(true).create(true).open(folder.join("log"))?;
    let mut command = stage.program(&["relay"]);
    command.uid(RELAY_USER).gid(RELAY_USER).stdout(log.try_clone()?).stderr(log);
    Ok(stage.relay.spawn(&mut command)?)
}

/// Checks that every message arrived that was acknowledged, each once but those of a relay that was killed.
fn none_is_lost(stage: &Stage, acknowledged: &BTreeSet<String>, twice: usize) -> Result<()> {
    let counts = arrived(&stage.hop, acknowledged)?;
    let more: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    println!("{} messages acknowledged, {} arrived twice", acknowledged.len(), more.len());
    ensure!(more.len() <= twice, "more than once: {more:?}");
    Ok(())
}

#[test]
fn units_are_exchanged_without_a_refused_client_an_answered_stranger_or_lost_mail() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let installed = Installed::new()?;
    let mut world = World::set_for(&installed.program)?;
    let folder = world.folder.path().to_owned();
    let stage = &mut world.stage;
    let mut units = Units::start(stage, &folder)?;
    let socket = units.manager.kept()?;
    ensure!(socket.len() == 1, "the gate has its socket kept: {socket:?}");
    let stranger = Stranger::start(stage)?;
    let mut load = Load::start(stage, "exchanged")?;
    only(&[], &load.goes_on("at the beginning")?, "at the beginning")?;

    for round in 0..ROUNDS {
        installed.upgrade()?;
        for (how, what) in
            [(Signal::TERM, "the gate was exchanged"), (Signal::KILL, "it was killed")]
        {
            units.end_gate(how)?;
            let what = format!("{what}, round {round}");
            only(&[], &load.goes_on(&what)?, &what)?;
            units.begin_gate(stage)?;
            only(&[], &load.goes_on(&what)?, &what)?;
        }
        let what = format!("the relay was exchanged, round {round}");
        units.end_relay(Signal::TERM)?;
        units.begin_relay(stage, &folder)?;
        only(&[Fault::Ended], &load.goes_on(&what)?, &what)?;

        let what = format!("both were exchanged, round {round}");
        units.end_relay(Signal::TERM)?;
        units.end_gate(Signal::TERM)?;
        units.begin_gate(stage)?;
        units.begin_relay(stage, &folder)?;
        only(&[Fault::Ended], &load.goes_on(&what)?, &what)?;
        units.serve(stage)?;
    }
    let acknowledged = load.stop()?;
    none_is_lost(stage, &acknowledged, 0)?;

    let mut load = Load::start(stage, "killed")?;
    let what = "both were killed";
    for _ in 0..ROUNDS {
        only(&[], &load.goes_on(what)?, what)?;
        units.end_gate(Signal::KILL)?;
        units.end_relay(Signal::KILL)?;
        units.begin_gate(stage)?;
        units.begin_relay(stage, &folder)?;
        // Who had a session lost it; nobody who came meanwhile was turned away.
        only(&[Fault::Ended, Fault::Reset], &load.goes_on(what)?, what)?;
    }
    let acknowledged = load.stop()?;
    // What was under way to the next hop when the relay was killed may arrive again.
    none_is_lost(stage, &acknowledged, usize::MAX)?;
    ensure!(units.manager.kept()? == socket, "all of it was one socket");
    stranger.stop()?.met_silence()
}

/// Ends a child and waits until both serve, the child by another process.
fn end_and_wait(stage: &mut Stage, half: &str, how: Signal) -> Result<()> {
    let pid = pid_of(&stage.listing(&["status"])?[half])?;
    signal(pid, how)?;
    wait_for("another process", || {
        let status = stage.listing(&["status"]).ok()?;
        // Only then has the relay shown its socket to a gate that came back: one of the two holds it.
        let is_held = status["gate"]["second_door"] == 1;
        (is_held && pid_of(&status[half]).ok()? != pid).then_some(())
    })?;
    stage.serving()
}

#[test]
fn children_of_one_parent_are_exchanged_without_a_refused_client_or_lost_mail() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let installed = Installed::new()?;
    let mut world = World::set_for(&installed.program)?;
    world.stage.start()?;
    let stage = &mut world.stage;
    let stranger = Stranger::start(stage)?;
    let mut load = Load::start(stage, "exchanged")?;
    only(&[], &load.goes_on("at the beginning")?, "at the beginning")?;
    for (how, may) in
        [(Signal::TERM, &[Fault::Ended][..]), (Signal::KILL, &[Fault::Ended, Fault::Reset])]
    {
        installed.upgrade()?;
        let what = format!("the gate ended by {how:?}");
        end_and_wait(stage, "gate", how)?;
        only(&[], &load.goes_on(&what)?, &what)?;
        let what = format!("the relay ended by {how:?}");
        end_and_wait(stage, "relay", how)?;
        only(may, &load.goes_on(&what)?, &what)?;
    }
    let acknowledged = load.stop()?;
    none_is_lost(stage, &acknowledged, usize::MAX)?;
    stranger.stop()?.met_silence()
}
