//! Faults of the gate's program and of both processes. Here each leaves its traces, so they come in an order.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context as _, Result};
use relay::demo::steps::{gate, pid_of};
use relay::hosts::process::{Signal, signal};
use tests::measure::Measure;
use tests::need;

use super::row::{Row, row};
use super::scene::Scene;

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

/// Stops these processes, as a fault would that makes them hang.
fn hold(scene: &mut Scene, names: &[&str]) -> Result<()> {
    let status = scene.world.stage.listing(&["status"])?;
    for name in names {
        let pid = pid_of(&status[*name])?;
        signal(pid, Signal::STOP)?;
        scene.kept.push(Box::new(Held(pid)));
    }
    Ok(())
}

/// A process that hangs as long as this is kept.
struct Held(u32);

impl Drop for Held {
    fn drop(&mut self) {
        // One that ended meanwhile hangs no more.
        let _ = signal(self.0, Signal::CONT);
    }
}

/// Lets those that hang go on.
const LET_GO: fn(&mut Scene) -> Result<()> = |scene| {
    scene.kept.clear();
    scene.world.stage.serving()
};

/// Lets those that hang go on, and starts the product as it was before.
const START_ANEW: fn(&mut Scene) -> Result<()> = |scene| {
    scene.kept.clear();
    scene.start_as_before()
};

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
        .also(&["gate-hangs", "relay-not-serving", "unanswered", "no-greeting"])
        .undo(GO_ON),
    row("another program stands in its place", "gate-foreign", |s| {
        take_away(s)?;
        let mut others = Measure::load()?;
        let id = others.program("nothing")?.info()?.id();
        s.run("bpftool", &format!("net attach xdp id {id} dev guard0"))?;
        s.kept.push(Box::new(others));
        Ok(())
    })
    .also(&["gate-hangs", "relay-not-serving", "unanswered", "no-greeting"])
    .undo(|s| {
        s.ip("link set dev guard0 xdp off")?;
        GO_ON(s)
    }),
    row("the relay hangs", "relay-hangs", |s| hold(s, &["relay"])).undo(LET_GO),
    row("the relay hangs behind TLS from the first octet", "relay-hangs", |s| {
        s.start_with(
            "address = \"192.0.2.1:2525\"",
            "address = \"192.0.2.1:2525\"\ntls = \"implicit\"",
        )?;
        hold(s, &["relay"])
    })
    .undo(START_ANEW),
    row("the relay hangs behind a proxy", "relay-hangs", |s| {
        s.start_with(
            "address = \"192.0.2.1:2525\"",
            "address = \"192.0.2.1:2525\"\nproxy = [\"192.0.2.10\"]",
        )?;
        hold(s, &["relay"])
    })
    .undo(START_ANEW),
    row("the relay hangs, and the gate does not admit this host", "relay-hangs", |s| {
        s.start_with("[gate]", "[gate]\nloopback = false")?;
        hold(s, &["relay"])
    })
    .undo(START_ANEW),
    row("the gate hangs", "gate-hangs", |s| hold(s, &["gate"])).undo(LET_GO),
    row("both hang", "relay-hangs", |s| hold(s, &["gate", "relay"]))
        .also(&["gate-hangs"])
        .undo(LET_GO),
    row("the gate hangs, and no route leads back to the client", "no-route-back", |s| {
        s.sallyport(&["allow", "add", "203.0.113.9"])?;
        hold(s, &["gate"])
    })
    .words(&["--from", "203.0.113.9"])
    .also(&["gate-hangs"])
    .undo(|s| {
        LET_GO(s)?;
        s.sallyport(&["allow", "remove", "203.0.113.9"]).map(drop)
    }),
    row("another program took a port while nothing ran", "port-taken", |s| {
        let second = "[[listener]]\naddress = \"192.0.2.1:2626\"\n[tls]\n";
        s.start_with("[tls]\n", second)?;
        s.world.stage.stop()?;
        let other = s.world.stage.relay.within(|| TcpListener::bind("192.0.2.1:2626"))??;
        s.kept.push(Box::new(other));
        s.world.stage.start()
    })
    .undo(START_ANEW),
    row("an interface takes no program in its driver", "gate-generic", |s| {
        s.ip("link add mac0 link guard0 type macvlan")?;
        s.ip("address add 198.51.100.1/24 dev mac0")?;
        s.ip("link set mac0 up")?;
        s.start_with("interfaces = [\"guard0\"]", "interfaces = [\"guard0\", \"mac0\"]")
    })
    .undo(|s| {
        s.start_as_before()?;
        s.ip("link del mac0")
    }),
    row("somebody opened the host", "gate-open", |s| s.sallyport(&["detach"]).map(drop))
        .also(&["relay-not-serving", "unanswered", "no-greeting"])
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
