//! Faults of the gate's program and of both processes. Here each leaves its traces, so they come in an order.

use std::fs;

use anyhow::{Context as _, Result};
use relay::demo::steps::{gate, pid_of};
use relay::hosts::process::{Signal, signal};
use tests::measure::Measure;
use tests::need;

use super::scene::{Row, Scene, row};

/// Sends a signal to the gate's process, by the number that it had when it was asked.
fn to_gate(scene: &Scene, number: Signal) -> Result<()> {
    let pid: u32 = fs::read_to_string(scene.path("gate.pid"))?.parse()?;
    Ok(signal(pid, number)?)
}

/// Holds the gate's process, so that it repairs nothing, and takes its program away.
fn take_away(scene: &mut Scene) -> Result<()> {
    let pid = pid_of(&gate(&scene.world.stage)?)?;
    fs::write(scene.path("gate.pid"), pid.to_string())?;
    to_gate(scene, Signal::STOP)?;
    let mut links = fs::read_dir(scene.path("bpf/sallyport/links"))?;
    let link = links.next().context("a link is pinned")??.path();
    scene.run("bpftool", &format!("link detach pinned {}", link.display()))
}

const GO_ON: fn(&mut Scene) -> Result<()> = |scene| {
    to_gate(scene, Signal::CONT)?;
    scene.world.stage.serving()
};

pub const ROWS: &[Row] = &[
    row("the kernel shows no types", "no-btf", |s| {
        s.shell("mkdir {at}/empty; mount --bind {at}/empty /sys/kernel/btf")
    })
    .undo(|s| s.shell("umount /sys/kernel/btf")),
    row("the gate's program is gone", "gate-missing", take_away)
        .also(&["relay-not-serving", "no-greeting"])
        .undo(GO_ON),
    row("another program stands in its place", "gate-foreign", |s| {
        take_away(s)?;
        let mut others = Measure::load()?;
        let id = others.program("nothing")?.info()?.id();
        s.run("bpftool", &format!("net attach xdp id {id} dev guard0"))?;
        s.kept.push(Box::new(others));
        Ok(())
    })
    .also(&["relay-not-serving", "no-greeting"])
    .undo(|s| {
        s.ip("link set dev guard0 xdp off")?;
        GO_ON(s)
    }),
    row("the relay hangs", "no-greeting", |s| {
        let pid = pid_of(&s.world.stage.listing(&["status"])?["relay"])?;
        fs::write(s.path("gate.pid"), pid.to_string())?;
        to_gate(s, Signal::STOP)
    })
    .undo(GO_ON),
    row("somebody opened the host", "gate-open", |s| s.sallyport(&["detach"]).map(drop))
        .also(&["relay-not-serving", "no-greeting"])
        .undo(|s| {
            s.world.stage.stop()?;
            s.world.stage.start()
        }),
    row("nothing runs", "gate-not-running", |s| s.world.stage.stop())
        .also(&["relay-not-running", "not-listening"])
        .undo(|s| s.world.stage.start()),
    row("nothing runs, and a client asks", "gate-not-running", |s| s.world.stage.stop())
        .words(&["--from", "192.0.2.99"])
        .also(&["relay-not-running", "not-listening", "not-listed"])
        .undo(|s| s.world.stage.start()),
];

/// Tells whether the tools for these rows are there.
pub fn tools() -> bool {
    need::tool("bpftool").is_some()
}
