//! The gate on wires that change: names, sizes, channels, several at once; and a host that speaks with itself.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use relay::gate::{Entry, EntryPoint, Gate, Health, InterfaceState, Place, Ruleset, XdpMode, load};
use relay::hosts::dial::{Answer, dial};
use relay::hosts::{Host, PrivateBpf, private_bpf};
use relay::selftest::craft::{DESTINATION, Ends, Extension, PLAIN, V4, V6};
use relay_common::addr::Net;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::EntryId;
use relay_common::verdict::{Reason, judge};
use tempfile::TempDir;
use tests::need;

const RELAY: &str = "192.0.2.1";
const LISTED: &str = "192.0.2.10";
const STRANGER: &str = "192.0.2.99";
const PORT: u16 = 2525;
/// How long an answer is waited for that must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence is listened to. A SYN-ACK over a veth pair takes microseconds.
const SILENCE: Duration = Duration::from_millis(150);

/// A relay host that listens, and the world at the other end of its wire.
struct Wire {
    relay: Host,
    world: Host,
    place: Place,
    _listener: TcpListener,
    _bpf: PrivateBpf,
    _folder: TempDir,
}

impl Wire {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bpf = folder.path().join("bpf");
        let mounted = private_bpf(&bpf).unwrap();
        let (relay, world) = (Host::new().unwrap(), Host::new().unwrap());
        Host::join((&relay, "guard0"), (&world, "wire0")).unwrap();
        relay.address("guard0", format!("{RELAY}/24").parse().unwrap()).unwrap();
        for address in [LISTED, STRANGER] {
            world.address("wire0", format!("{address}/24").parse().unwrap()).unwrap();
        }
        let every: SocketAddr = format!("[::]:{PORT}").parse().unwrap();
        let listener = relay.within(|| TcpListener::bind(every)).unwrap().unwrap();
        let place = Place { pins: bpf.join("sallyport"), group: None };
        Self { relay, world, place, _listener: listener, _bpf: mounted, _folder: folder }
    }

    fn start(&self, interfaces: &[&str]) -> Box<dyn Gate> {
        let interfaces: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
        let start = || load(&self.place)?.fill(&ruleset())?.attach(&interfaces);
        self.relay.within(start).unwrap().unwrap()
    }

    /// The listed client is answered, and the stranger is not.
    fn guards(&self, when: &str) {
        let target = SocketAddr::new(RELAY.parse().unwrap(), PORT);
        let dial = |source: &str, patience| {
            let source: IpAddr = source.parse().unwrap();
            self.world.within(|| dial(source, target, patience)).unwrap().unwrap()
        };
        assert_eq!(dial(LISTED, PATIENCE), Answer::Connected, "{when}: the listed client");
        assert_eq!(dial(STRANGER, SILENCE), Answer::Silence, "{when}: the stranger");
    }

    fn repaired(&self, gate: &mut dyn Gate) -> Vec<Health> {
        self.relay.within(move || gate.repair()).unwrap()
    }
}

/// Runs a tool in a host.
fn run(host: &Host, tool: &Path, words: &str) {
    let mut command = Command::new(tool);
    let output = host.within(|| command.args(words.split(' ')).output()).unwrap().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a stranger's ends of a connection to the guarded port.
fn ends() -> Ends {
    Ends {
        hardware: [[2; 6], [4; 6]],
        source: ([192, 0, 2, 99].into(), "2001:db8::99".parse().unwrap()),
        target: ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()),
        source_port: 20_000,
        port: PORT,
    }
}

fn ruleset() -> Ruleset {
    let net = Net::new("192.0.2.0".parse::<IpAddr>().unwrap(), 28).unwrap();
    Ruleset {
        ports: vec![PORT],
        scope: Scope::EverySegment,
        own_host: OwnHost::Judged,
        entries: vec![Entry {
            net,
            id: EntryId(7),
            tag: None,
            rate: None,
            source_rate: None,
            until_ns: None,
        }],
        bans: Vec::new(),
    }
}

fn state(health: &[Health], name: &str) -> InterfaceState {
    health.iter().find(|one| one.interface == name).unwrap().state.clone()
}

#[test]
fn a_renamed_interface_goes_on_being_guarded_and_is_followed() {
    if !need::root() {
        return;
    }
    let Some(ip) = need::tool("ip") else { return };
    let wire = Wire::new();
    let mut gate = wire.start(&["guard0"]);
    for words in ["link set guard0 down", "link set guard0 name lan7", "link set lan7 up"] {
        run(&wire.relay, &ip, words);
    }
    wire.guards("renamed");
    let health = wire.repaired(&mut *gate);
    let renamed = Some("lan7".to_owned());
    let guarded = InterfaceState::Guarded { mode: XdpMode::Native, adopted: false, renamed };
    assert_eq!(state(&health, "guard0"), guarded);
    let view = relay::gate::View::open(&wire.place.pins).unwrap();
    let names = ["guard0".to_owned()];
    let health = wire.relay.within(|| view.health(&names)).unwrap();
    let told = matches!(&health[0].state, InterfaceState::Guarded { renamed: Some(to), .. } if to == "lan7");
    assert!(told, "the relay sees the same: {health:?}");
    gate.detach().unwrap();
}

#[test]
fn jumbo_frames_and_changed_sizes_and_channels_change_nothing() {
    if !need::root() {
        return;
    }
    let (Some(ip), Some(ethtool)) = (need::tool("ip"), need::tool("ethtool")) else { return };
    let wire = Wire::new();
    let sizes = |bytes: u32| {
        run(&wire.relay, &ip, &format!("link set guard0 mtu {bytes}"));
        run(&wire.world, &ip, &format!("link set wire0 mtu {bytes}"));
    };
    sizes(9_000);
    let mut gate = wire.start(&["guard0"]);
    let native = InterfaceState::Guarded { mode: XdpMode::Native, adopted: false, renamed: None };
    // The gate's process looks at every change.
    let mut guards = |when: &str| {
        assert_eq!(state(&wire.repaired(&mut *gate), "guard0"), native, "{when}");
        wire.guards(when);
    };
    guards("frames of 9,000 bytes");
    sizes(1_500);
    guards("frames of 1,500 bytes again");
    run(&wire.relay, &ethtool, "-L guard0 rx 2 tx 2");
    run(&wire.world, &ethtool, "-L wire0 rx 2 tx 2");
    guards("two channels");
    run(&wire.relay, &ip, "link set guard0 down");
    run(&wire.relay, &ip, "link set guard0 up");
    guards("down and up");
    let strips_tags = || {
        let seen = wire.relay.within(|| relay::gate::offloads("guard0")).unwrap();
        seen.unwrap().expect("the driver says it").strips_tags
    };
    assert!(strips_tags(), "as a driver of veth begins");
    for host in [(&wire.relay, "guard0"), (&wire.world, "wire0")] {
        run(host.0, &ethtool, &format!("-K {} rxvlan off txvlan off", host.1));
    }
    assert!(!strips_tags(), "the bit follows ethtool");
    guards("tags left in the frames");
    gate.detach().unwrap();
}

#[test]
fn syn_cookies_answer_no_stranger() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let cookies = "/proc/sys/net/ipv4/tcp_syncookies";
    wire.relay.within(|| std::fs::write(cookies, "2")).unwrap().unwrap();
    let mut gate = wire.start(&["guard0"]);
    wire.guards("a cookie for every SYN");
    gate.detach().unwrap();
}

#[test]
fn several_interfaces_are_guarded_counted_and_mended_each_by_itself() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    Host::join((&wire.relay, "guard1"), (&wire.world, "wire1")).unwrap();
    wire.relay.address("guard1", "198.51.100.1/24".parse().unwrap()).unwrap();
    wire.world.address("wire1", "198.51.100.99/24".parse().unwrap()).unwrap();
    let mut gate = wire.start(&["guard0", "guard1"]);
    let dial = |source: &str, target: &str| {
        let target = SocketAddr::new(target.parse().unwrap(), PORT);
        let source: IpAddr = source.parse().unwrap();
        wire.world.within(|| dial(source, target, SILENCE)).unwrap().unwrap()
    };
    wire.guards("two interfaces");
    assert_eq!(dial("198.51.100.99", "198.51.100.1"), Answer::Silence);
    assert_eq!(dial("198.51.100.99", "198.51.100.1"), Answer::Silence);
    let counters = gate.counters().unwrap();
    let refused = |name: &str| -> u64 {
        let rows = counters.rows.iter().filter(|row| row.interface.as_deref() == Some(name));
        rows.map(|row| row.counts.by_reason()[Reason::UnlistedSyn as usize]).sum()
    };
    assert_eq!((refused("guard0"), refused("guard1")), (1, 2), "{counters:?}");

    wire.relay.cut("guard1").unwrap();
    let health = wire.repaired(&mut *gate);
    assert_eq!(state(&health, "guard1"), InterfaceState::NoInterface);
    wire.guards("the other one is gone");
    Host::join((&wire.relay, "guard1"), (&wire.world, "wire1")).unwrap();
    let health = wire.repaired(&mut *gate);
    assert!(matches!(state(&health, "guard1"), InterfaceState::Guarded { .. }), "{health:?}");
    gate.detach().unwrap();
}

#[test]
fn where_the_driver_cannot_the_stack_does_and_says_so() {
    if !need::root() {
        return;
    }
    let Some(ip) = need::tool("ip") else { return };
    let wire = Wire::new();
    // A bridge runs no XDP programs by itself.
    for words in [
        "link add br0 type bridge",
        "link set br0 up",
        "address flush dev guard0",
        "link set guard0 master br0",
    ] {
        run(&wire.relay, &ip, words);
    }
    run(&wire.relay, &ip, &format!("address add {RELAY}/24 dev br0"));
    let mut gate = wire.start(&["br0"]);
    let generic = InterfaceState::Guarded { mode: XdpMode::Generic, adopted: false, renamed: None };
    assert_eq!(state(&wire.repaired(&mut *gate), "br0"), generic);
    wire.guards("in the stack");
    gate.detach().unwrap();
}

#[test]
fn the_host_itself_is_admitted_if_it_is_told_to_and_only_then() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = wire.start(&["guard0"]);
    let door = gate.door().unwrap();
    let to_itself = |from: &str, to: &str| {
        let target = SocketAddr::new(to.parse().unwrap(), PORT + 1);
        let source: IpAddr = from.parse().unwrap();
        wire.relay.within(|| dial(source, target, SILENCE)).unwrap().unwrap()
    };
    let listener = wire.relay.within(|| guarded(&door)).unwrap();
    let (own, loopback) = (OwnHost::Admitted, OwnHost::Judged);
    for (own_host, expected) in
        [(loopback, Answer::Silence), (own, Answer::Connected), (loopback, Answer::Silence)]
    {
        let ports = vec![PORT, PORT + 1];
        gate.replace(&Ruleset { own_host, ports, ..ruleset() }).unwrap();
        assert_eq!(to_itself("127.0.0.1", "127.0.0.1"), expected, "over loopback, {own_host:?}");
    }
    // Its own address is on the list: it is admitted as anybody would be.
    assert_eq!(to_itself(RELAY, RELAY), Answer::Connected);
    drop(listener);
    gate.detach().unwrap();
}

/// Listens behind the second door on the port beside the guarded one.
fn guarded(door: &relay::gate::Door) -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let every: SocketAddr = format!("0.0.0.0:{}", PORT + 1).parse().unwrap();
    bind(&socket, &every).unwrap();
    door.hang(&socket).unwrap();
    listen(&socket, 16).unwrap();
    socket
}

#[test]
fn a_header_beyond_the_first_piece_of_a_frame_is_read() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = load(&wire.place).unwrap().fill(&ruleset()).unwrap();
    let ends = ends();
    // Options of 264 bytes each: the TCP header stands behind 5,280 bytes, in the second page.
    let mut options = [0_u8; 263];
    options[0] = 32;
    let chain: Vec<Extension<'_>> = vec![(DESTINATION, &options); 20];
    let frame = V6 { chain: &chain, ..V6 }.frame(&ends, &PLAIN.over_v6(&ends));
    assert!(frame.len() > 5_000, "{}", frame.len());
    let on_host = judge(&frame[..], &tests::lists::Lists::new(ruleset(), 0));
    assert_eq!(gate.judge(&frame).unwrap(), on_host);
    assert_eq!(on_host.reason(), Reason::UnlistedSyn);
    assert_eq!(gate.run(EntryPoint::Gate, &frame, 1).unwrap().returned, 1, "dropped");
}

#[test]
fn a_flood_costs_no_more_samples_than_were_permitted() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = wire.start(&[]);
    let mut runner = load(&wire.place).unwrap();
    let ends = ends();
    let frame = V4.frame(&ends, &PLAIN.over_v4(&ends));
    for _ in 0..3 {
        runner.run(EntryPoint::Gate, &frame, 100_000).unwrap();
        let samples = gate.samples();
        assert_eq!(samples.len(), 64, "as many as a tick may tell");
        let sample = &samples[0];
        assert_eq!(sample.head[..sample.head_bytes.into()], frame[..sample.head_bytes.into()]);
        assert_eq!(u32::from(sample.reason), Reason::UnlistedSyn.index());
    }
    // Attempts of listed sources have samples of their own, which no flood of strangers uses up.
    let listed = Ends { source: (Ipv4Addr::from([192, 0, 2, 10]), ends.source.1), ..ends };
    let listed = V4.frame(&listed, &PLAIN.over_v4(&listed));
    for frame in [&frame, &listed] {
        runner.run(EntryPoint::Gate, frame, 100_000).unwrap();
    }
    let samples = gate.samples();
    let told = |reason: Reason| {
        samples.iter().filter(|sample| u32::from(sample.reason) == reason.index()).count()
    };
    assert_eq!((told(Reason::UnlistedSyn), told(Reason::Admitted)), (64, 16));
    let admitted = samples.last().unwrap();
    assert_eq!(admitted.source[..4], [192, 0, 2, 10]);
    assert_eq!(admitted.head[..admitted.head_bytes.into()], listed[..admitted.head_bytes.into()]);
    let entry = ruleset().entries[0];
    assert_eq!(gate.entry_count(&entry.net).unwrap().unwrap().passed, 100_000);
    let within = Net::new(entry.net.addr(), 32).unwrap();
    assert_eq!(gate.entry_count(&within).unwrap(), None, "no entry of its own");
    drop(gate);
    let mut gate = wire.start(&[]);
    gate.samples();
    let refused = gate.refused().unwrap();
    assert!(refused.total >= 290_000, "{}", refused.total);
}
