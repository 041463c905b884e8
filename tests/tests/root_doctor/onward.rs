//! Faults on the way out: names, connections, certificates, logins.

use std::fs;
use std::net::TcpListener;

use anyhow::Result;
use rcgen::{CertificateParams, IsCa, KeyPair};
use tests::peer::{Certificate, Manners};

use super::row::{Row, row, well};
use super::scene::Scene;

const LOGIN: &str = "login = { user = \"relay\", password-file = \"{at}/password\" }";
const TO: &[&str] = &["--to", "next-hop"];

/// Names a peer as next hop, with a login.
fn with_login(scene: &mut Scene, manners: Manners) -> Result<()> {
    fs::write(scene.path("password"), "wrong\n")?;
    scene.shell("chown 65534 {at}/password")?;
    scene.peer(manners, LOGIN)
}

fn instead(command: &'static str, answer: &'static str) -> Manners {
    Manners { instead: vec![(command, answer)], ..Manners::default() }
}

pub const ROWS: &[Row] = &[
    row("its name does not resolve", "hop-name", |s| s.hop("no-such-host.example.net:587", "")),
    row("no way leads to it", "hop-unreachable", |s| s.hop("198.51.100.9:587", "")),
    row("a route throws away what we send", "hop-unreachable", |s| {
        s.ip("route add blackhole 192.0.2.200/32")
    })
    .pasted()
    .undo(|s| s.ip("route flush type blackhole")),
    row("a route forbids what we send", "hop-unreachable", |s| {
        s.ip("route add prohibit 192.0.2.200/32")
    })
    .words(TO)
    .pasted()
    .undo(|s| s.ip("route flush type prohibit")),
    row("nobody listens there", "hop-refuses", |s| s.hop("hop.example.net:2999", "")),
    row("it does not answer", "hop-silent", |s| {
        s.nft_of_world(
            "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                        add rule inet t c tcp dport 2587 drop",
        )
    })
    .undo(|s| s.nft_of_world("flush ruleset")),
    row("our own firewall drops what we send", "firewall-out", |s| {
        s.nft(
            "add table inet t; add chain inet t c { type filter hook output priority 0; }; \
               add rule inet t c tcp dport 2587 drop",
        )
    })
    .pasted()
    .undo(|s| s.nft("flush ruleset")),
    row("our own firewall drops what it answers", "firewall-out", |s| {
        s.nft(
            "add table inet t; add chain inet t c { type filter hook input priority 0; policy drop; }; \
               add rule inet t c iif lo accept; add rule inet t c tcp dport 2525 accept",
        )
    })
    .pasted()
    .undo(|s| s.nft("flush ruleset")),
    row("our own firewall drops what the relay's user sends", "firewall-out", |s| {
        s.nft(
            "add table inet t; add chain inet t c { type filter hook output priority 0; }; \
               add rule inet t c meta skuid 65534 tcp dport 2587 drop",
        )
    })
    .pasted()
    .undo(|s| s.nft("flush ruleset")),
    row("our own firewall lets root alone send mail", "firewall-out", |s| {
        s.nft(
            "add table inet t; add chain inet t c { type filter hook output priority 0; }; \
               add rule inet t c tcp dport 2587 meta skuid != 0 reject with tcp reset",
        )
    })
    .words(TO)
    .pasted()
    .undo(|s| s.nft("flush ruleset")),
    well("our own firewall drops what root sends, and not what the relay does", |s| {
        s.nft(
            "add table inet t; add chain inet t c { type filter hook output priority 0; }; \
               add rule inet t c meta skuid 0 tcp dport 2587 drop",
        )
    })
    .undo(|s| s.nft("flush ruleset")),
    row("port 25 is closed, and 587 answers", "port-25-closed", |s| {
        let other = s.world.stage.world.within(|| TcpListener::bind("192.0.2.200:587"))??;
        s.kept.push(Box::new(other));
        s.nft_of_world(
            "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                        add rule inet t c tcp dport 25 drop",
        )?;
        s.hop("hop.example.net:25", "")
    })
    .undo(|s| s.nft_of_world("flush ruleset")),
    row("it greets nobody", "hop-greeting", |s| s.peer(instead("BANNER", "554 5.7.1 not you"), "")),
    row("it greets so late that nobody knows", "hop-slow", |s| {
        let late = s.world.stage.world.within(|| TcpListener::bind("192.0.2.200:2600"))??;
        s.kept.push(Box::new(late));
        s.hop("hop.example.net:2600", "")
    }),
    row("it offers no STARTTLS", "hop-no-starttls", |s| {
        s.peer(Manners { before_tls: vec!["SIZE"], ..Manners::default() }, "")
    }),
    row("it refuses STARTTLS", "hop-other", |s| {
        s.peer(instead("STARTTLS", "454 4.7.0 no TLS now"), "")
    }),
    row("its certificate is by another authority", "hop-certificate", |s| {
        s.peer(Manners::default(), "")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Ok(fs::write(s.path("peer-ca.pem"), params.self_signed(&KeyPair::generate()?)?.pem())?)
    }),
    row("its certificate is for another name", "hop-certificate", |s| {
        s.peer(Manners { certificate: Certificate::OtherName, ..Manners::default() }, "")
    }),
    row("its certificate is its own", "hop-certificate", |s| {
        s.peer(Manners { certificate: Certificate::SelfSigned, ..Manners::default() }, "")
    }),
    row("it refuses our login", "hop-login", |s| {
        with_login(s, instead("AUTH", "535 5.7.8 authentication failed"))
    })
    .words(TO),
    row("our password's file is not there", "route-file-unreadable", |s| {
        s.peer(
            Manners::default(),
            "login = { user = \"relay\", password-file = \"/nowhere/password\" }",
        )
    })
    .words(TO)
    .also(&["hop-other"]),
    row("the route is suspended", "route-held", |s| {
        s.sallyport(&["route", "suspend", "next-hop", "--note", "they move"]).map(drop)
    })
    .undo(|s| s.sallyport(&["route", "resume", "next-hop"]).map(drop)),
];
