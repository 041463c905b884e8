//! The relay in a network namespace of its own, on a host that carries more: the shipped units and the script that
//! makes that network, under a real systemd.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, HOP, OTHER, RELAY as HOST, STRANGER};
use relay::demo::steps::{attempt, session};
use relay::hosts::Host;
use relay::hosts::dial::{Answer, dial};
use relay::hosts::own::NAMESPACE;
use serde_json::Value;
use tests::house::{FIREWALL, House, INNER, NETNS, OUTER, REDIRECTS, RULES, SHIPPED, run};
use tests::load::{Fault, Load, arrived, only};
use tests::need;
use tests::stranger::Stranger;
use tests::systemd::{GATE, RELAY};

/// How long silence is waited for: one retransmission of a SYN.
const SILENCE: Duration = Duration::from_millis(1_200);
/// How long a connection is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most connections that the host may keep account of: those of delivery, not one for each SYN of a stranger.
const KEPT: usize = 100;

#[test]
fn clients_are_judged_by_their_own_address_and_strangers_leave_nothing_behind() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(house) = House::open(&[])? else { return Ok(()) };
    let stage = house.stage();
    let stranger = Stranger::start(stage)?;

    let mut client = session(stage, CLIENT).with_context(|| stage.log())?;
    let text = b"From: <billing@example.net>\r\n\r\nacross the wire\r\n";
    client.send("billing@example.net", "customer@example.com", text)?;
    let arrived = String::from_utf8(stage.hop.next_message()?)?;
    ensure!(arrived.contains(&CLIENT.to_string()), "whose mail is it? {arrived}");
    ensure!(attempt(stage, STRANGER, OTHER, PATIENCE)? == Answer::Connected, "another service");
    let explained = stage.listing(&["explain", &STRANGER.to_string()])?;
    ensure!(explained["reason"] == "unlisted_syn", "{explained}");

    // The other family, from an address that is let in at run time.
    let (from, to) = ("2001:db8::a".parse()?, "[2001:db8::1]:2525".parse()?);
    ensure!(attempt(stage, from, to, SILENCE)? == Answer::Silence);
    stage.command(&["allow", "add", "2001:db8::a"])?;
    ensure!(attempt(stage, from, to, PATIENCE)? == Answer::Connected);

    // Who says that he is the host's end of the wire is not believed; who is, may be let in.
    stage.command(&["allow", "add", &OUTER.to_string()])?;
    let own = SocketAddr::new(INNER, GUARDED.port());
    let seen = stage.relay.within(|| dial(OUTER, own, PATIENCE))??;
    ensure!(seen == Answer::Connected, "a program of the host itself: {seen:?}");

    let tried = stranger.stop()?;
    tried.met_silence()?;
    ensure!(tried.sent > 10 * KEPT, "the run is void: {} SYNs", tried.sent);
    let kept = house.number("/proc/sys/net/netfilter/nf_conntrack_count")?;
    ensure!(kept < KEPT, "the host keeps account of {kept} connections");
    Ok(())
}

/// Returns the local addresses of the listening sockets of the calling thread's network, as proc(5) writes them.
fn listening() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(Path::new("/proc/thread-self/net").join(table))?;
        for line in text.lines().skip(1) {
            let mut words = line.split_whitespace().skip(1);
            let (Some(local), _, Some(state)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if state == "0A" {
                found.insert(local.to_owned());
            }
        }
    }
    Ok(found)
}

/// Returns the number of an interface of `host`, and the address that the kernel makes for it out of its hardware
/// address (RFC 4291, appendix A), whether it has that or not.
fn of_the_link(host: &Host, interface: &str) -> Result<(u32, Ipv6Addr)> {
    let shown = run(host, &format!("ip -o link show dev {interface}"))?;
    let number = shown.split(':').next().context("no number")?.parse()?;
    let mac = shown.split("link/ether ").nth(1).context("no hardware address")?;
    let mac = mac.get(..17).unwrap_or_default().split(':');
    let mac = mac.map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<Vec<_>, _>>()?;
    let mac: [u8; 6] = mac.try_into().ok().context("six octets")?;
    let mut own = [0; 16];
    own[..2].copy_from_slice(&[0xfe, 0x80]);
    own[8..11].copy_from_slice(&mac[..3]);
    own[8] ^= 2;
    own[11..13].copy_from_slice(&[0xff, 0xfe]);
    own[13..].copy_from_slice(&mac[3..]);
    Ok((number, Ipv6Addr::from(own)))
}

#[test]
fn the_relay_reaches_next_hops_and_nothing_of_the_host_and_nobody_else_listens_there() -> Result<()>
{
    if !need::root() {
        return Ok(());
    }
    for change in [&[][..], &[SHIPPED]] {
        let Some(house) = House::open(change)? else { return Ok(()) };
        let stage = house.stage();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let on_loopback = stage.relay.within(|| TcpListener::bind((loopback, 0)))??;
        let everywhere = stage.relay.within(|| TcpListener::bind("[::]:0"))??;
        let (port, any) = (on_loopback.local_addr()?, everywhere.local_addr()?.port());
        ensure!(stage.relay.within(|| dial(loopback, port, PATIENCE))?? == Answer::Connected);

        let inside = house.inside()?;
        let seen = |from, to| -> Result<Answer> { Ok(inside.within(|| dial(from, to, SILENCE))??) };
        ensure!(seen(INNER, HOP)? == Answer::Connected, "the next hop");
        ensure!(seen(loopback, port)? == Answer::Refused, "the relay's own loopback: nobody");
        let listening = inside.within(listening)??;
        let guarded = BTreeSet::from([format!("{:032X}:{:04X}", 0, GUARDED.port())]);
        ensure!(listening == guarded, "who listens in there? {listening:?}");

        let (scope, _) = of_the_link(&inside, "gate0")?;
        let (_, host) = of_the_link(&stage.relay, "sallyport0")?;
        let link = SocketAddr::V6(SocketAddrV6::new(host, any, 0, scope));
        // An error is what a relay without any address of that family meets.
        let by_link = || seen(Ipv6Addr::UNSPECIFIED.into(), link).unwrap_or(Answer::Silence);
        let held = |when: &str| {
            for to in [SocketAddr::new(OUTER, any), SocketAddr::new(HOST, any), OTHER] {
                ensure!(seen(INNER, to)? == Answer::Silence, "{when}: the host at {to}");
            }
            ensure!(by_link() == Answer::Silence, "{when}: the host at {link}");
            Ok(())
        };
        held("at work")?;
        house.control(&["stop", RULES])?;
        held("while nothing is translated")?;
        // It is the wall that all this rests on.
        house.run("nft flush ruleset")?;
        ensure!(seen(INNER, SocketAddr::new(OUTER, any))? == Answer::Connected, "the run is void");
        if change.is_empty() {
            let through = || (by_link() == Answer::Connected).then_some(());
            wait_for("the host to be reached by the link", through)?;
        } else {
            ensure!(by_link() == Answer::Silence, "an address of the link");
        }
        house.control(&["start", RULES])?;
        held("again")?;
    }
    Ok(())
}

#[test]
fn a_host_whose_tables_were_flushed_routes_for_nobody() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(house) = House::open(&[])? else { return Ok(()) };
    let stage = house.stage();
    let other = Host::new()?;
    Host::join((&stage.relay, "far0"), (&other, "far1"))?;
    let families = [
        ("-4", "198.51.100.1/24", "198.51.100.2/24", CLIENT, HOST),
        (
            "-6",
            "2001:db8:1::1/64",
            "2001:db8:1::2/64",
            "2001:db8::a".parse()?,
            "2001:db8::1".parse()?,
        ),
    ];
    for (family, near, far, from, host) in families {
        stage.relay.address("far0", near.parse()?)?;
        other.address("far1", far.parse()?)?;
        let near: IpNetwork = near.parse()?;
        let far: IpNetwork = far.parse()?;
        run(&other, &format!("ip {family} route add default via {}", near.ip()))?;
        run(
            &stage.world,
            &format!("ip {family} route add {}/{} via {host}", near.network(), near.prefix()),
        )?;
        let listener = other.within(|| TcpListener::bind("[::]:0"))??;
        let to = SocketAddr::new(far.ip(), listener.local_addr()?.port());
        ensure!(attempt(stage, from, to, SILENCE)? == Answer::Silence, "{to}");
        house.run("nft flush ruleset")?;
        ensure!(attempt(stage, from, to, SILENCE)? == Answer::Silence, "flushed: {to}");
        house.run(&format!("ip {family} rule delete pref 27"))?;
        ensure!(attempt(stage, from, to, PATIENCE)? == Answer::Connected, "the run is void: {to}");
        house.control(&["restart", RULES])?;
    }
    Ok(())
}

#[test]
fn doctor_looks_from_inside_and_calls_the_mode_no_fault() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(house) = House::open(&[])? else { return Ok(()) };
    let folder = house.world.folder.path();
    let mut doctor = house.systemd.beside(&folder.join("sallyport"));
    doctor.arg("--config").arg(folder.join("sallyport.toml")).args(["doctor", "--json"]);
    let found = house.stage().relay.within(|| doctor.output())??;
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    let found: Value = serde_json::from_slice(&found.stdout).with_context(|| said)?;
    let none = Vec::new();
    for finding in found["findings"].as_array().unwrap_or(&none) {
        let about = finding["place"].as_str().unwrap_or_default();
        let is_of_the_network = ["interface", "gate", "firewall", "listener"].contains(&about);
        ensure!(!is_of_the_network || finding["severity"] != "fault", "{finding}");
    }
    let left_out = found["left_out"].to_string();
    ensure!(left_out.contains("own network namespace"), "{left_out}");
    Ok(())
}

#[test]
fn a_firewall_that_is_loaded_anew_ends_sessions_and_loses_no_mail_and_what_is_stopped_leaves_nothing()
-> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(house) = House::open(&[])? else { return Ok(()) };
    let stage = house.stage();
    let mut load = Load::start(stage, "netns")?;
    only(&[], &load.goes_on("at the beginning")?, "at the beginning")?;
    let none: &[Fault] = &[];
    let refused = Fault::Connect(ErrorKind::ConnectionRefused);
    for (words, may) in [
        (&["restart", GATE][..], none),
        (&["restart", RELAY], &[Fault::Ended]),
        // While nothing is translated the host answers for itself.
        (&["reload", FIREWALL], &[Fault::Reset, refused.clone()]),
        (&["restart", FIREWALL], &[Fault::Reset, refused.clone()]),
        (&["stop", FIREWALL], &[Fault::Reset, refused.clone()]),
        (&["start", FIREWALL], &[Fault::Reset, refused]),
    ] {
        let what = words.join(" ");
        house.control(words)?;
        house.serves().with_context(|| what.clone())?;
        only(may, &load.goes_on(&what)?, &what)?;
    }
    let acknowledged = load.stop()?;
    // What was on its way out was cut off too, and waits for an answer or for its next try: another relay does not.
    let before = house.relay()?;
    house.control(&["kill", "--kill-who=main", "--signal=KILL", RELAY])?;
    wait_for("another relay", || (house.relay().ok()? != before).then_some(()))?;
    house.serves()?;
    stage.command(&["route", "resume", "next-hop"])?;
    stage.command(&["queue", "retry", "--all"])?;
    arrived(&stage.hop, &acknowledged).with_context(|| stage.log())?;
    ensure!(attempt(stage, STRANGER, GUARDED, SILENCE)? == Answer::Silence);

    house.control(&["stop", NETNS])?;
    ensure!(!house.systemd.path(NAMESPACE).exists(), "the namespace is still there");
    let interfaces = stage.relay.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    ensure!(!interfaces.contains("sallyport0"), "{interfaces}");
    let forwards = [("ipv4/ip_forward", 0), ("ipv6/conf/all/forwarding", 0)];
    for (name, was) in
        [&forwards[..], &[(REDIRECTS, 0), ("ipv6/conf/guard0/accept_ra", 1)]].concat()
    {
        let is = house.number(&format!("/proc/sys/net/{name}"))?;
        ensure!(is == was, "{name}: {is}\n{}", house.told());
    }
    for list in ["nft list ruleset", "ip -4 rule list pref 27", "ip -6 rule list pref 27"] {
        ensure!(house.run(list)?.is_empty(), "{list}");
    }
    for active in [GATE, RELAY, RULES] {
        ensure!(
            house.control(&["is-active", active]).is_err(),
            "{active} runs without its network"
        );
    }
    // And all of it comes again; also where the network is made anew, in which the sockets of before listen no more.
    house.control(&["start", GATE, RELAY])?;
    house.serves()?;
    session(stage, CLIENT)?;
    house.control(&["restart", NETNS])?;
    house.serves()?;
    session(stage, CLIENT).with_context(|| house.told()).map(drop)
}

#[test]
fn a_host_that_forwards_already_is_asked_whether_it_is_meant_to() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let forward = |house: &House| {
        let path = PathBuf::from("/proc/sys/net/ipv4/ip_forward");
        house.stage().relay.within(|| fs::write(path, "1"))
    };
    let Some(house) = House::build(&[])? else { return Ok(()) };
    forward(&house)??;
    ensure!(house.control(&["start", RULES]).is_err(), "the host was a router before");
    let log = house.stage().log();
    ensure!(log.contains("ROUTER=yes"), "{log}");
    // The relay runs nevertheless, and the wall outlives the firewall.
    house.control(&["start", GATE, RELAY])?;
    house.control(&["restart", FIREWALL])?;
    let wall = || house.run("nft list chain ip sallyport_wall enters").ok();
    wait_for("the wall", wall).with_context(|| house.told())?;
    drop(house);

    let Some(house) = House::build(&[("ROUTER=no", "ROUTER=yes")])? else { return Ok(()) };
    forward(&house)??;
    // Who forwards IPv6 and was not told to heed advertisements does not begin to.
    house.stage().relay.within(|| fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1"))??;
    house.control(&["start", GATE, RELAY])?;
    house.serves()?;
    session(house.stage(), CLIENT)?;
    ensure!(house.number("/proc/sys/net/ipv6/conf/guard0/accept_ra")? == 1);
    house.control(&["stop", NETNS])?;
    ensure!(house.number("/proc/sys/net/ipv4/ip_forward")? == 1, "it is no router any more");
    Ok(())
}

#[test]
fn settings_that_are_missing_are_named_and_nothing_is_made() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    for (from, to, named) in [
        ("PORTS=2525", "", "PORTS"),
        ("INNER6=", "# ", "INNER6"),
        ("ROUTER=no", "ROUTER=maybe", "ROUTER"),
    ] {
        let Some(house) = House::build(&[(from, to)])? else { return Ok(()) };
        ensure!(house.control(&["start", NETNS]).is_err(), "without {from}");
        let log = house.stage().log();
        ensure!(log.contains("netns.conf") && log.contains(named), "{named}: {log}");
        ensure!(!house.systemd.path(NAMESPACE).exists(), "{named}: a namespace");
        ensure!(house.run("nft list ruleset")?.is_empty(), "{named}: tables");
    }
    Ok(())
}
