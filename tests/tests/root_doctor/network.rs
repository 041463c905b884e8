//! Faults of the network: interfaces, addresses, ways back, the host's firewall; and clients that are not let in.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER};
use relay::demo::steps::{attempt, pid_of};
use relay::hosts::process::{Signal, signal};

use tests::misconduct::stranger;
use tests::peer::Manners;

use super::row::{Row, row, well};
use super::scene::Scene;

/// A client that is listed, one that is not, and one that no route leads to.
const LISTED: &[&str] = &["--from", "192.0.2.10"];
const UNLISTED: &[&str] = &["--from", "192.0.2.99"];
const FAR: &[&str] = &["--from", "203.0.113.9"];

const FLUSH: fn(&mut Scene) -> Result<()> = |scene| scene.nft("flush ruleset");

/// Adds a chain of one rule at a hook, and a chain `extra` that drops.
fn chain(scene: &mut Scene, hook: &str, rule: &str) -> Result<()> {
    scene.nft(&format!(
        "add table inet t; add chain inet t extra; add rule inet t extra counter drop; \
         add chain inet t c {{ {hook}; }}; {}",
        if rule.is_empty() { String::new() } else { format!("add rule inet t c {rule}") }
    ))
}

/// What switches IPv6 off.
const IPV6: [&str; 2] = ["ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"];

/// Has a policy drop what leaves this host; what stays on it is let go, and there the next hop is.
fn out_by_policy(scene: &mut Scene) -> Result<()> {
    scene.peer(Manners::default(), "")?;
    chain(scene, "type filter hook output priority 0; policy drop", "oif lo accept")
}

const OUTPUT: &str = "type filter hook output priority 0";
const INPUT: &str = "type filter hook input priority 0";
const NAT: &str = "type nat hook prerouting priority -100";

pub const ROWS: &[Row] = &[
    row("the interface is off", "interface-down", |s| s.ip("link set guard0 down"))
        .also(&["hop-unreachable"])
        .undo(|s| s.ip("link set guard0 up")),
    row("its other end is off", "no-carrier", |s| s.ip_of_world("link set wire0 down"))
        .also(&["hop-unreachable", "hop-silent"])
        .undo(|s| s.ip_of_world("link set wire0 up")),
    row("it lost its address", "no-address", |s| s.ip("address flush dev guard0 scope global"))
        .also(&["address-missing", "hop-unreachable", "hop-silent"])
        .undo(|s| s.ip("address add 192.0.2.1/24 dev guard0")),
    row("loopback is off", "interface-down", |s| s.ip("link set lo down"))
        .pasted()
        .undo(|s| s.ip("link set lo up")),
    row("a second interface is not guarded", "interface-unguarded", |s| {
        s.ip("link add other0 type veth peer name other1")?;
        s.ip("link set other1 up")?;
        s.ip("link set other0 up")?;
        s.ip("address add 198.51.100.1/24 dev other0")
    })
    .undo(|s| s.ip("link del other0")),
    row("a tunnel ends here", "tunnel-around", |s| {
        s.ip("tuntap add dev tun0 mode tun")?;
        s.ip("address add 198.51.100.1/24 dev tun0")?;
        s.ip("link set tun0 up")
    })
    .undo(|s| s.ip("link del tun0")),
    row("the client's answers leave by another interface", "reverse-path", |s| {
        s.ip("link add other0 type veth peer name other1")?;
        s.ip("link set other1 up")?;
        s.ip("link set other0 up")?;
        s.ip("address add 198.51.100.1/24 dev other0")?;
        s.sysctl("ipv4/conf/all/rp_filter", "1")?;
        s.sallyport(&["allow", "add", "198.51.100.7"]).map(drop)
    })
    .words(&["--from", "198.51.100.7"])
    .undo(|s| {
        s.sysctl("ipv4/conf/all/rp_filter", "0")?;
        s.ip("link del other0")?;
        s.sallyport(&["allow", "remove", "198.51.100.7"]).map(drop)
    }),
    row("no route leads back to the client", "no-route-back", |s| {
        s.sallyport(&["allow", "add", "203.0.113.9"]).map(drop)
    })
    .words(FAR)
    .undo(|s| s.sallyport(&["allow", "remove", "203.0.113.9"]).map(drop)),
    row("a route throws away what the client is answered", "no-route-back", |s| {
        s.ip("route add blackhole 192.0.2.10/32")
    })
    .words(LISTED)
    .pasted()
    .undo(|s| s.ip("route flush type blackhole")),
    row("the default route went with the link, and did not come back", "no-route-back", |s| {
        s.sallyport(&["allow", "add", "203.0.113.9"])?;
        s.ip("route add default via 192.0.2.254")?;
        s.ip("link set guard0 down")?;
        s.ip("link set guard0 up")
    })
    .undo(|s| s.sallyport(&["allow", "remove", "203.0.113.9"]).map(drop)),
    well("two uplinks, and rules that send answers back by the one that was asked", |s| {
        s.ip("link add other0 type veth peer name other1")?;
        s.ip("link set other1 up")?;
        s.ip("link set other0 up")?;
        s.ip("address add 198.51.100.1/24 dev other0")?;
        s.ip("route add default via 198.51.100.2")?;
        s.ip("route add default via 192.0.2.200 dev guard0 table 100")?;
        s.ip("rule add from 192.0.2.1 lookup 100")?;
        s.sysctl("ipv4/conf/all/rp_filter", "1")?;
        s.sallyport(&["allow", "add", "203.0.113.9"]).map(drop)
    })
    .words(FAR)
    .undo(|s| {
        s.sysctl("ipv4/conf/all/rp_filter", "0")?;
        s.ip("rule del from 192.0.2.1 lookup 100")?;
        s.ip("route flush table 100")?;
        s.ip("link del other0")?;
        s.sallyport(&["allow", "remove", "203.0.113.9"]).map(drop)
    }),
    well("a listener for all, and IPv6 is switched off", |s| {
        s.start_with("address = \"192.0.2.1:2525\"", "address = \"[::]:2525\"")?;
        IPV6.iter().try_for_each(|name| s.sysctl(name, "1"))
    })
    .undo(|s| {
        IPV6.iter().try_for_each(|name| s.sysctl(name, "0"))?;
        s.start_as_before()
    }),
    well("the firewall opens IPv4 alone, and nobody is listed with an address of IPv6", |s| {
        s.start_with("address = \"192.0.2.1:2525\"", "address = \"[::]:2525\"")?;
        s.ip("-6 address add 2001:db8::1/64 dev guard0")?;
        chain(s, "type filter hook input priority 0; policy drop", "iif lo accept")?;
        s.nft(
            "add rule inet t c ct state established accept; \
               add rule inet t c meta nfproto ipv4 tcp dport 2525 accept",
        )
    })
    .undo(|s| {
        FLUSH(s)?;
        s.ip("-6 address del 2001:db8::1/64 dev guard0")?;
        s.start_as_before()
    }),
    row("a listener listens at another address of the host", "listens-elsewhere", |s| {
        s.ip("address add 192.0.2.2/24 dev guard0")?;
        s.write("address = \"192.0.2.1:2525\"", "address = \"192.0.2.2:2525\"")
    })
    .undo(|s| s.ip("address del 192.0.2.2/24 dev guard0")),
    row("the client speaks IPv6", "family-not-served", |s| {
        s.ip("-6 address add 2001:db8::1/64 dev guard0")?;
        s.sallyport(&["allow", "add", "2001:db8::7"]).map(drop)
    })
    .words(&["--from", "2001:db8::7"])
    .undo(|s| {
        s.ip("-6 address del 2001:db8::1/64 dev guard0")?;
        s.sallyport(&["allow", "remove", "2001:db8::7"]).map(drop)
    }),
    row("the client is not listed", "not-listed", |_| Ok(())).words(UNLISTED),
    row("the client's entry went with a list that was applied", "entry-removed", |s| {
        s.sallyport(&["allow", "add", "192.0.2.97"])?;
        std::fs::write(s.path("list"), "192.0.2.128/25\n")?;
        let list = s.path("list").display().to_string();
        s.sallyport(&["allow", "apply", &list]).map(drop)
    })
    .words(&["--from", "192.0.2.97"])
    .undo(|s| s.sallyport(&["allow", "remove", "192.0.2.128/25"]).map(drop)),
    row("an operator removed the client's entry", "entry-removed", |s| {
        s.sallyport(&["allow", "add", "192.0.2.96"])?;
        s.sallyport(&["allow", "remove", "192.0.2.96"]).map(drop)
    })
    .words(&["--from", "192.0.2.96"]),
    row("the client's entry ended", "entry-expired", |s| {
        s.sallyport(&["allow", "add", "192.0.2.98", "--ttl", "1s"])?;
        let entries = |s: &Scene| Some(s.world.stage.listing(&["allow", "list"]).ok()?.as_array()?.len());
        wait_for("the entry to end", || (entries(s)? == 1).then_some(()))
    })
    .words(&["--from", "192.0.2.98"])
    .pasted()
    .undo(|s| s.sallyport(&["allow", "remove", "192.0.2.98"]).map(drop)),
    row("the client is banned", "banned", |s| s.sallyport(&["ban", "add", "192.0.2.10"]).map(drop))
        .words(LISTED)
        .undo(|s| s.sallyport(&["ban", "remove", "192.0.2.10"]).map(drop)),
    row("the client's network is banned", "banned", |s| {
        s.sallyport(&["ban", "add", "192.0.2.8/29"]).map(drop)
    })
    .words(LISTED)
    .pasted()
    .undo(|s| s.sallyport(&["ban", "remove", "192.0.2.8/29"]).map(drop)),
    row("a whole entry is banned", "banned", |s| {
        s.sallyport(&["ban", "add", "192.0.2.0/24"]).map(drop)
    })
    .pasted()
    .undo(|s| s.sallyport(&["ban", "remove", "192.0.2.0/24"]).map(drop)),
    row("the client is over its rate", "over-rate", |s| {
        s.sallyport(&["allow", "add", "192.0.2.99", "--connect-rate", "1/h"])?;
        attempt(&s.world.stage, STRANGER, GUARDED, Duration::from_secs(5)).map(drop)
    })
    .words(UNLISTED)
    .undo(|s| s.sallyport(&["allow", "remove", "192.0.2.99"]).map(drop)),
    row("a login of the client failed again and again", "login-waits", |s| {
        for _ in 0..5 {
            let tried = stranger(&s.world.stage, CLIENT)?.login("app", "wrong");
            let said = tried.map_or_else(|error| format!("{error:#}"), |()| "it was right".into());
            ensure!(said.contains("got 535 "), "{said}");
        }
        let said = s.sallyport(&["explain", "192.0.2.10"])?;
        ensure!(said.contains("Login app failed too often from there: until "), "{said}");
        Ok(())
    })
    .words(LISTED)
    // A relay that is started anew has forgotten it.
    .undo(|s| {
        let relay = pid_of(&s.world.stage.listing(&["status"])?["relay"])?;
        signal(relay, Signal::KILL)?;
        s.world.stage.serving()
    }),
    row("the firewall drops the port", "firewall", |s| chain(s, INPUT, "tcp dport 2525 drop"))
        .pasted()
        .undo(FLUSH),
    row("the firewall refuses the port", "firewall", |s| {
        chain(s, INPUT, "tcp dport { 25, 2500-2600 } reject with tcp reset")
    })
    .pasted()
    .undo(FLUSH),
    row("the firewall's policy drops", "firewall", |s| {
        chain(s, "type filter hook input priority 0; policy drop", "tcp dport 22 accept")?;
        s.nft("add rule inet t c ct state established,related accept; add rule inet t c iif lo accept")
    })
    .pasted()
    .undo(FLUSH),
    row("the firewall drops at the device", "firewall", |s| {
        s.nft("add table netdev d; add chain netdev d c { type filter hook ingress device guard0 priority 0; }; \
               add rule netdev d c tcp dport 2525 drop")
    })
    .pasted()
    .undo(FLUSH),
    row("the firewall drops by a map and a chain", "firewall", |s| {
        chain(s, INPUT, "iifname \"guard*\" tcp dport vmap { 25 : accept, 2525 : jump extra }")
    })
    .pasted()
    .undo(FLUSH),
    row("the firewall drops this client", "firewall", |s| {
        s.nft("add table inet t; add set inet t bad { type ipv4_addr; flags interval; elements = { 192.0.2.8/29 }; }")?;
        chain(s, INPUT, "ip saddr @bad drop")
    })
    .words(LISTED)
    .pasted()
    .undo(FLUSH),
    well("two tables of one name, each with a set of one name", |s| {
        s.nft("add table ip filter; add table ip6 filter; \
               add set ip filter trusted { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }; \
               add set ip6 filter trusted { type ipv6_addr; elements = { 2001:db8::1 }; }; \
               add chain ip filter c { type filter hook input priority 0; policy drop; }; \
               add rule ip filter c iif lo accept; add rule ip filter c ip saddr @trusted accept")
    })
    .words(LISTED)
    .undo(FLUSH),
    row("the firewall drops what this client is answered", "firewall", |s| {
        chain(s, OUTPUT, "ip daddr 192.0.2.10 tcp sport 2525 drop")
    })
    .words(LISTED)
    .pasted()
    .undo(FLUSH),
    row("the firewall drops it after the way is chosen", "firewall", |s| {
        chain(s, "type filter hook postrouting priority 0", "oifname \"guard0\" tcp sport 2525 drop")
    })
    .pasted()
    .undo(FLUSH),
    row("the firewall's policy drops what anybody is answered", "firewall", out_by_policy)
        .pasted()
        .undo(FLUSH),
    row("the firewall's policy drops what this client is answered", "firewall", out_by_policy)
        .words(LISTED)
        .pasted()
        .undo(FLUSH),
    well("the firewall's policy drops what is not known to leave", |s| {
        out_by_policy(s)?;
        s.nft("add rule inet t c ct state established accept")
    })
    .undo(FLUSH),
    row("the firewall may drop some client", "firewall-perhaps", |s| {
        chain(s, INPUT, "ip saddr 192.0.2.8/29 tcp dport 2525 drop")
    })
    .undo(FLUSH),
    row("the firewall drops what a client sends too often", "firewall-perhaps", |s| {
        s.nft("add table inet t; add set inet t m { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1m; }")?;
        chain(s, INPUT, "tcp dport 2525 ct state new update @m { ip saddr limit rate over 100/minute burst 50 packets } drop")
    })
    .undo(FLUSH),
    row("the firewall refuses more connections of a client", "firewall-perhaps", |s| {
        s.nft("add table inet t; add set inet t m { type ipv4_addr; size 100; flags dynamic; }")?;
        chain(s, INPUT, "tcp dport 2525 add @m { ip saddr ct count over 3 } reject")
    })
    .words(LISTED)
    .undo(FLUSH),
    row("the firewall drops a whole entry, and this host", "firewall", |s| {
        chain(s, INPUT, "ip saddr 192.0.2.0/24 tcp dport 2525 drop")
    })
    .pasted()
    .undo(FLUSH),
    row("the firewall lets out what goes to others", "firewall", |s| {
        out_by_policy(s)?;
        s.nft("add rule inet t c ip daddr 192.0.2.200 accept")
    })
    .pasted()
    .undo(FLUSH),
    well("the firewall drops whom nobody listed", |s| {
        chain(s, INPUT, "ip saddr { 192.0.2.64/26, 198.51.100.0/24 } drop")
    })
    .undo(FLUSH),
    row("the firewall drops this host alone", "own-attempt-stopped", |s| {
        chain(s, INPUT, "iif lo tcp dport 2525 drop")
    })
    .undo(FLUSH),
    row("the firewall rejects this host alone", "own-attempt-stopped", |s| {
        chain(s, INPUT, "iif lo tcp dport 2525 reject with tcp reset")
    })
    .undo(FLUSH),
    row("the port is sent to another host", "redirected-away", |s| {
        chain(s, NAT, "ip daddr 192.0.2.1 tcp dport 2525 dnat ip to 198.51.100.9:2525")
    })
    .undo(FLUSH),
    row("another port is sent to the listener", "redirected-here", |s| {
        chain(s, NAT, "tcp dport 25 redirect to :2525")
    })
    .undo(FLUSH),
    row("the port is one that the system gives away", "local-ports", |s| {
        s.sysctl("ipv4/ip_local_port_range", "1024 65000")
    })
    .undo(|s| s.sysctl("ipv4/ip_local_port_range", "32768 60999")),
    row("nobody is listed", "list-empty", |s| {
        reload(s, "[[gate.allow]]\ncidr = \"192.0.2.0/28\"\ntag = \"demo\"\nnote = \"the allowed network\"\n", "")
    })
    .undo(|s| {
        let file = s.path("sallyport.toml");
        std::fs::rename(s.path("before.toml"), file)?;
        s.sallyport(&["reload"]).map(drop)
    }),
    row("the gate only observes", "gate-observes", |s| {
        s.sallyport(&["mode", "observe", "--for", "1h"]).map(drop)
    })
    .undo(|s| s.sallyport(&["mode", "enforce"]).map(drop)),
];

/// Changes the product's own configuration, and has it read.
fn reload(scene: &mut Scene, from: &str, to: &str) -> Result<()> {
    let file = scene.path("sallyport.toml");
    std::fs::copy(&file, scene.path("before.toml"))?;
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replacen(from, to, 1)).context("the configuration")?;
    scene.sallyport(&["reload"]).map(drop)
}
