//! A guarded interface by which nobody can come: every view names it, with what to do, and none any more when it leads
//! here again.

#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{RELAY, Stage};
use relay::hosts::Host;
use tests::need;
use tests::scrape::{page, page_of, telling};

/// One fault of a link.
struct Fault {
    /// The word for it in `status`.
    word: &'static str,
    /// What is said of it.
    says: &'static str,
    /// How it is made and mended, in words of `ip`, on the relay's host or on the other one.
    make: &'static str,
    mend: &'static str,
    host: fn(&Stage) -> &Host,
}

const FAULTS: [Fault; 3] = [
    Fault {
        word: "down",
        says: "`ip link set dev guard0 up`",
        make: "link set guard0 down",
        mend: "link set guard0 up",
        host: |stage| &stage.relay,
    },
    Fault {
        word: "no carrier",
        says: "its other end is off",
        make: "link set wire0 down",
        mend: "link set wire0 up",
        host: |stage| &stage.world,
    },
    Fault {
        word: "no address",
        says: "listener 192.0.2.1:2525: no interface has this address any more",
        make: "address del 192.0.2.1/24 dev guard0",
        mend: "address add 192.0.2.1/24 dev guard0",
        host: |stage| &stage.relay,
    },
];

fn ip(host: &Host, words: &str) -> Result<()> {
    let mut command = Command::new(need::tool("ip").context("ip was there before")?);
    command.args(words.split_whitespace());
    let Output { status, stderr, .. } = host.within(|| command.output())??;
    ensure!(status.success(), "{words}: {}", String::from_utf8_lossy(&stderr));
    Ok(())
}

/// Returns the exit code of `status --check`, and what it says.
fn check(stage: &Stage) -> Result<(Option<i32>, String)> {
    let mut command = stage.program(&["status", "--check"]);
    let Output { status, stdout, .. } = stage.relay.within(|| command.output())??;
    Ok((status.code(), String::from_utf8_lossy(&stdout).into_owned()))
}

/// Tells whether every view says that all is well.
fn is_well(stage: &Stage) -> Result<()> {
    let (code, said) = check(stage)?;
    ensure!(code == Some(0), "{said}");
    let gate = &stage.listing(&["status"])?["gate"];
    let guard0 = &gate["interfaces"][0];
    ensure!(guard0["problem"].is_null() && guard0["down"].is_null(), "{guard0:#}");
    for (path, wanted) in [
        ("/health", "good\n"),
        ("/ready", "ready\n"),
        ("/metrics", "sallyport_gate_interface_open{interface=\"guard0\"} 1\n"),
        ("/metrics", "sallyport_health{health=\"good\"} 1\n"),
    ] {
        let (head, text) = page(stage, path)?;
        ensure!(head.starts_with("HTTP/1.1 200 ") && text.contains(wanted), "{head}\n{text}");
    }
    Ok(())
}

/// Tells whether every view names a fault.
fn is_named(stage: &Stage, fault: &Fault) -> Result<()> {
    let Fault { word, says, .. } = fault;
    let (code, said) = check(stage)?;
    ensure!(code == Some(1) && said.contains("gate on guard0: "), "{code:?}: {said}");
    ensure!(said.contains(says), "{said}");
    let text = stage.command(&["status"])?;
    ensure!(text.contains(&format!("guard0 native ({})", word.to_uppercase())), "{text}");
    let gate = &stage.listing(&["status"])?["gate"];
    let guard0 = &gate["interfaces"][0];
    ensure!(guard0["problem"].is_string() && guard0["down"] == *word, "{guard0:#}");
    for (path, status, wanted) in [
        ("/health", 200, "degraded\ngate on guard0: "),
        ("/ready", 503, "not ready\nno interface leads here"),
        ("/metrics", 200, "sallyport_gate_interface_open{interface=\"guard0\"} 0\n"),
        ("/metrics", 200, "sallyport_gate_interface_up{interface=\"guard0\",mode=\"native\"} 1\n"),
        ("/metrics", 200, "sallyport_health{health=\"degraded\"} 1\n"),
    ] {
        let (head, text) = page(stage, path)?;
        let begins = format!("HTTP/1.1 {status} ");
        ensure!(head.starts_with(&begins) && text.contains(wanted), "{path}: {head}\n{text}");
    }
    Ok(())
}

/// Waits until something is so; if it never is, says why.
fn until(what: &str, is_so: impl Fn() -> Result<()>) -> Result<()> {
    wait_for(what, || is_so().ok()).or_else(|_| is_so().with_context(|| what.to_owned()))
}

#[test]
fn a_link_that_leads_nowhere_degrades_every_view_until_it_leads_here_again() -> Result<()> {
    if !need::root() || need::tool("ip").is_none() {
        return Ok(());
    }
    let world = telling(0)?;
    let stage = &world.stage;
    until("all to be well at first", || is_well(stage))?;
    for fault in &FAULTS {
        let host = (fault.host)(stage);
        ip(host, fault.make)?;
        let named = until(fault.word, || is_named(stage, fault));
        ip(host, fault.mend)?;
        named?;
        until("all to be well again", || is_well(stage))
            .with_context(|| format!("after {}", fault.word))?;
    }
    Ok(())
}

#[test]
fn a_host_that_another_interface_leads_to_stays_ready() -> Result<()> {
    if !need::root() || need::tool("ip").is_none() {
        return Ok(());
    }
    let world = telling(0)?;
    let stage = &world.stage;
    for words in [
        "link add other0 type veth peer name other1",
        "link set other1 up",
        "link set other0 up",
        "address add 198.51.100.1/24 dev other0",
        "link set guard0 down",
    ] {
        ip(&stage.relay, words)?;
    }
    until("health to be degraded", || {
        let (_, text) = page(stage, "/health")?;
        ensure!(text.starts_with("degraded\ngate on guard0: it is switched off"), "{text}");
        let (head, text) = page(stage, "/ready")?;
        ensure!(head.starts_with("HTTP/1.1 200 ") && text == "ready\n", "{head}\n{text}");
        Ok(())
    })
}

#[test]
fn a_relay_without_a_listener_is_not_ready_until_it_has_one() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = telling(0)?;
    world.stage.stop()?;
    let taken = world.stage.relay.within(|| TcpListener::bind((RELAY, 2525)))??;
    let host = world.stage.relay.again()?;
    let seen = thread::spawn(move || {
        let seen = until("a relay without a listener", || {
            let (head, text) = page_of(&host, "/ready")?;
            let wanted = "not ready\nclients are not accepted (no listener stands)\n";
            ensure!(head.starts_with("HTTP/1.1 503 ") && text == wanted, "{head}\n{text}");
            let (head, text) = page_of(&host, "/health")?;
            ensure!(head.starts_with("HTTP/1.1 503 "), "{head}\n{text}");
            Ok(())
        });
        drop(taken);
        seen
    });
    // It serves as soon as it can.
    world.stage.start()?;
    seen.join().expect("no panic")?;
    until("all to be well again", || is_well(&world.stage))
}
