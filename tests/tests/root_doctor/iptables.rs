//! Faults of the host's firewall that iptables makes, the newer and the elder.

use std::process::Command;

use anyhow::Result;
use tests::need;

use super::row::{Row, row, well};
use super::scene::Scene;

const LISTED: &[&str] = &["--from", "192.0.2.10"];
const FLUSH: fn(&mut Scene) -> Result<()> = |scene| scene.nft("flush ruleset");

/// What ufw writes for what comes in, with the port open.
const UFW: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../relay/src/doctor/firewall/tests/ufw.iptables");

/// Rules of nftables that iptables writes: `nft` lists them without the options of extensions.
pub const NEWER: &[Row] = &[
    row("iptables refuses the client", "firewall", |s| {
        s.run("iptables-nft", "-A INPUT -s 192.0.2.10 -p tcp --dport 2525 -j REJECT")
    })
    .words(LISTED)
    .pasted()
    .undo(FLUSH),
    well("ufw opens the port", |s| s.run("iptables-nft-restore", UFW)).undo(FLUSH),
    row("ufw does not open the port", "firewall", |s| {
        s.run("iptables-nft-restore", UFW)?;
        s.run("iptables-nft", "-D ufw-user-input -p tcp --dport 2525 -j ACCEPT")
    })
    .undo(FLUSH),
    row("iptables drops a list of ports", "firewall", |s| {
        s.run("iptables-nft", "-A INPUT -p tcp -m multiport --dports 25,2525 -j DROP")
    })
    .pasted()
    .undo(FLUSH),
    row("iptables sends the port to another", "redirected-away", |s| {
        s.run(
            "iptables-nft",
            "-t nat -A PREROUTING -p tcp --dport 2525 -j REDIRECT --to-ports 2626",
        )
    })
    .undo(FLUSH),
    row("iptables sends another port to the listener", "redirected-here", |s| {
        s.run("iptables-nft", "-t nat -A PREROUTING -p tcp --dport 25 -j REDIRECT --to-ports 2525")
    })
    .undo(FLUSH),
    row("iptables lets root alone send mail", "firewall-out", |s| {
        s.run("iptables-nft", "-A OUTPUT -p tcp --dport 2587 -m owner ! --uid-owner 0-99 -j REJECT")
    })
    .pasted()
    .undo(FLUSH),
    row("iptables refuses what is over a limit", "firewall-perhaps", |s| {
        s.run("iptables-nft", "-A INPUT -s 192.0.2.10 -p tcp -m limit --limit 3/min -j REJECT")
    })
    .words(LISTED)
    .undo(FLUSH),
];

/// Rules of tables that nftables does not know.
pub const ELDER: &[Row] = &[row("the elder iptables drops the port", "firewall", |s| {
    s.run("iptables-legacy", "-A INPUT -p tcp --dport 2525 -j DROP")
})
.pasted()
.undo(|s| s.run("iptables-legacy", "-F INPUT"))];

/// Tells whether the newer iptables is there.
pub fn newer() -> bool {
    ["iptables-nft", "iptables-nft-restore"].into_iter().all(|name| need::tool(name).is_some())
}

/// Tells whether the elder iptables is there, and a kernel that has its tables. That is tried in a network of its
/// own, since to ask makes them.
pub fn elder() -> Result<bool> {
    let Some(tool) = need::tool("iptables-legacy") else { return Ok(false) };
    let asked = Command::new("unshare").arg("--net").arg(tool).arg("--list-rules").output()?;
    if !asked.status.success() {
        eprintln!("this kernel has no tables of the elder iptables");
    }
    Ok(asked.status.success())
}
