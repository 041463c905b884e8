//! The gate on a wire: attach, lose the process, adopt, and what stands in its way.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use relay::gate::{
    Entry, EntryPoint, Gate, GateError, InterfaceState, Place, Ruleset, View, XdpMode, load,
};
use relay::hosts::dial::{Answer, dial};
use relay::hosts::{Host, PrivateBpf, private_bpf};
use relay_common::addr::Net;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::{EntryId, LAYOUT, TagName};
use relay_common::verdict::{Reason, Verdict};
use tempfile::TempDir;
use tests::need;

const RELAY: &str = "192.0.2.1";
const LISTED: &str = "192.0.2.10";
const STRANGER: &str = "192.0.2.99";
const RELAY_V6: &str = "2001:db8::1";
const LISTED_V6: &str = "2001:db8::10";
const STRANGER_V6: &str = "2001:db8:0:0:1::99";
const PORT: u16 = 2525;
const OTHER_PORT: u16 = 8080;
/// How long an answer is waited for that must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence is listened to. A SYN-ACK over a veth pair takes microseconds.
const SILENCE: Duration = Duration::from_millis(150);

/// A relay host that listens on two ports, and the world at the other end of its wire.
struct Wire {
    relay: Host,
    world: Host,
    place: Place,
    _listeners: [TcpListener; 2],
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
        let network = |address: &str| {
            let bits = if address.contains(':') { 64 } else { 24 };
            format!("{address}/{bits}").parse().unwrap()
        };
        for address in [RELAY, RELAY_V6] {
            relay.address("guard0", network(address)).unwrap();
        }
        for address in [LISTED, STRANGER, LISTED_V6, STRANGER_V6] {
            world.address("wire0", network(address)).unwrap();
        }
        let listen = |port| {
            let address: SocketAddr = format!("[::]:{port}").parse().unwrap();
            relay.within(|| TcpListener::bind(address)).unwrap().unwrap()
        };
        let listeners = [PORT, OTHER_PORT].map(listen);
        let place = Place { pins: bpf.join("sallyport"), group: Some(1) };
        Self { relay, world, place, _listeners: listeners, _bpf: mounted, _folder: folder }
    }

    /// Starts the gate as a process would: load, fill, attach.
    fn start(&self, ruleset: &Ruleset) -> Result<Box<dyn Gate>, GateError> {
        let interfaces = ["guard0".to_owned()];
        self.relay.within(|| load(&self.place)?.fill(ruleset)?.attach(&interfaces)).unwrap()
    }

    /// Returns what answers a connection attempt from `source`, which should be answered.
    fn dial(&self, source: &str, port: u16) -> Answer {
        self.wait(source, port, PATIENCE)
    }

    /// Returns whether nothing answers a connection attempt from `source`.
    fn is_silent(&self, source: &str, port: u16) -> bool {
        self.wait(source, port, SILENCE) == Answer::Silence
    }

    fn wait(&self, source: &str, port: u16, patience: Duration) -> Answer {
        let source: IpAddr = source.parse().unwrap();
        let relay = if source.is_ipv4() { RELAY } else { RELAY_V6 };
        let target = SocketAddr::new(relay.parse().unwrap(), port);
        self.world.within(|| dial(source, target, patience)).unwrap().unwrap()
    }

    /// Returns how the interface stands, asked in the relay host's network.
    fn state(&self, gate: &mut dyn Gate) -> InterfaceState {
        let mut health = self.relay.within(move || gate.health()).unwrap();
        assert_eq!(health.len(), 1);
        health.remove(0).state
    }

    fn pin(&self, name: &str) -> PathBuf {
        self.place.pins.join(format!("v{LAYOUT}")).join(name)
    }
}

/// The listed networks: one with a tag.
fn ruleset() -> Ruleset {
    let net = Net::new("192.0.2.0".parse::<IpAddr>().unwrap(), 28).unwrap();
    let entry = Entry {
        net,
        id: EntryId(7),
        tag: TagName::new("billing"),
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    Ruleset {
        ports: vec![PORT],
        scope: Scope::EverySegment,
        own_host: OwnHost::Admitted,
        entries: vec![entry],
        bans: Vec::new(),
    }
}

const fn native(adopted: bool) -> InterfaceState {
    InterfaceState::Guarded { mode: XdpMode::Native, adopted, renamed: None }
}

#[test]
fn strangers_meet_silence_also_while_no_process_runs() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    assert_eq!(wire.dial(STRANGER, PORT), Answer::Connected, "without a gate the host is open");

    let mut gate = wire.start(&ruleset()).unwrap();
    assert_eq!(wire.state(&mut *gate), native(false));
    assert!(wire.is_silent(STRANGER, PORT));
    assert_eq!(wire.dial(LISTED, PORT), Answer::Connected);
    assert_eq!(wire.dial(STRANGER, OTHER_PORT), Answer::Connected, "other services are not ours");
    assert_eq!(wire.dial(STRANGER, 81), Answer::Refused, "nor are closed ports");
    let before = gate.counters().unwrap();
    assert!(before.of(Reason::UnlistedSyn) >= 1);
    assert!(before.of(Reason::Admitted) >= 1);
    let passed = gate.entry_counts().unwrap()[&EntryId(7)].passed;

    // The process ends without a word.
    drop(gate);
    assert!(wire.is_silent(STRANGER, PORT));
    assert_eq!(wire.dial(LISTED, PORT), Answer::Connected);

    let mut gate = wire.start(&ruleset()).unwrap();
    assert_eq!(wire.state(&mut *gate), native(true), "the same link, our new program");
    let after = gate.counters().unwrap();
    assert!(
        after.of(Reason::UnlistedSyn) > before.of(Reason::UnlistedSyn),
        "nothing was forgotten"
    );
    assert_eq!(gate.entry_counts().unwrap()[&EntryId(7)].passed, passed + 1);
    assert!(wire.is_silent(STRANGER, PORT));

    wire.relay.within(|| gate.detach()).unwrap().unwrap();
    assert_eq!(wire.dial(STRANGER, PORT), Answer::Connected, "detach opens the host");
    assert!(!wire.pin("switch").exists());
}

#[test]
fn an_entry_admits_when_it_is_added_and_shuts_out_when_it_is_removed() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = wire.start(&ruleset()).unwrap();
    let net = Net::from(STRANGER.parse::<IpAddr>().unwrap());
    let entry = Entry {
        net,
        id: EntryId(8),
        tag: TagName::new("guest"),
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    for _ in 0..3 {
        gate.insert(&entry).unwrap();
        assert_eq!(wire.dial(STRANGER, PORT), Answer::Connected);
        assert_eq!(gate.remove(&net).unwrap(), Some(EntryId(8)));
        assert_eq!(gate.remove(&net).unwrap(), None);
        assert!(wire.is_silent(STRANGER, PORT));
    }
    let later_ns = gate.now_ns() + 3_600_000_000_000;
    gate.ban(&[(Net::from(LISTED.parse::<IpAddr>().unwrap()), later_ns)]).unwrap();
    assert!(wire.is_silent(LISTED, PORT));
    assert!(gate.counters().unwrap().of(Reason::Banned) >= 1);
    gate.detach().unwrap();
}

#[test]
fn a_restart_with_another_ruleset_keeps_what_stays_and_drops_what_does_not() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    drop(wire.start(&ruleset()).unwrap());
    let mut other = ruleset();
    let net = Net::from(STRANGER.parse::<IpAddr>().unwrap());
    // The number moves to another network, and its tag with it.
    other.entries = vec![Entry {
        net,
        id: EntryId(7),
        tag: TagName::new("guest"),
        rate: None,
        source_rate: None,
        until_ns: None,
    }];
    let mut gate = wire.start(&other).unwrap();
    assert_eq!(gate.entries(), [(net, EntryId(7))]);
    assert_eq!(wire.dial(STRANGER, PORT), Answer::Connected);
    assert!(wire.is_silent(LISTED, PORT));
    let explained = gate.explain(STRANGER.parse().unwrap(), PORT).unwrap();
    assert_eq!((explained.entry, explained.tag.as_deref()), (Some(net), Some("guest")));
    gate.detach().unwrap();
}

#[test]
fn the_view_answers_as_the_gate_does_through_pins_of_its_group() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    assert!(View::open(&wire.place.pins).is_err(), "nothing is pinned yet");
    let mut gate = wire.start(&ruleset()).unwrap();
    let view = View::open(&wire.place.pins).unwrap();
    let listed = view.listed(LISTED.parse().unwrap()).unwrap();
    assert_eq!((listed.entry, listed.tag.as_deref()), (EntryId(7), Some("billing")));
    let mapped = format!("::ffff:{LISTED}").parse().unwrap();
    assert_eq!(view.listed(mapped), Some(listed), "a dual-stack listener shows mapped addresses");
    assert_eq!(view.listed(STRANGER.parse().unwrap()), None);
    assert_eq!(view.verdict(LISTED.parse().unwrap()), Verdict::Pass(Reason::Admitted));
    assert_eq!(view.verdict(STRANGER.parse().unwrap()), Verdict::Drop(Reason::UnlistedSyn));
    let interfaces = ["guard0".to_owned()];
    let health = wire.relay.within(|| view.health(&interfaces)).unwrap();
    assert_eq!(health[0].state, native(true));

    for name in ["cells_1", "entries_0", "tags", "counters", "programs"] {
        let pin = std::fs::metadata(wire.pin(name)).unwrap();
        assert_eq!(
            (pin.permissions().mode() & 0o777, pin.uid(), pin.gid()),
            (0o640, 0, 1),
            "{name}"
        );
    }
    gate.detach().unwrap();
}

#[test]
fn a_list_in_shadow_ends_with_the_process_that_put_it_there() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = wire.start(&ruleset()).unwrap();
    gate.shadow(Some(&[])).unwrap();
    drop(gate);
    let mut gate = wire.start(&ruleset()).unwrap();
    assert_eq!(wire.dial(LISTED, PORT), Answer::Connected);
    let counts = gate.entry_counts().unwrap();
    assert!(counts.values().all(|counts| counts.would_drop == 0), "{counts:?}");
    gate.detach().unwrap();
}

#[test]
fn what_stands_in_the_way_is_named() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = wire.start(&ruleset()).unwrap();

    // Another installation, with pins of its own, is somebody else.
    let other = Place { pins: wire.place.pins.with_file_name("other"), group: None };
    let start = |place: &Place, name: &str| {
        let interfaces = [name.to_owned()];
        wire.relay
            .within(|| load(place)?.fill(&ruleset())?.attach(&interfaces))
            .unwrap()
            .err()
            .unwrap()
    };
    let foreign = start(&other, "guard0");
    assert!(matches!(&foreign, GateError::Foreign { name, .. } if name == "guard0"), "{foreign}");
    let unknown = start(&other, "guard1");
    assert!(
        matches!(&unknown, GateError::UnknownInterface { name } if name == "guard1"),
        "{unknown}"
    );
    if let Some(ip) = need::tool("ip") {
        let mut command = std::process::Command::new(ip);
        command.args(["tuntap", "add", "tun0", "mode", "tun"]);
        assert!(wire.relay.within(|| command.output()).unwrap().unwrap().status.success());
        let tunnel = start(&other, "tun0").to_string();
        assert!(tunnel.contains("no header of Ethernet"), "{tunnel}");
    }
    assert!(wire.is_silent(STRANGER, PORT), "the gate is unchanged");

    let folder = tempfile::tempdir().unwrap();
    let unmounted = Place { pins: folder.path().join("pins"), group: None };
    let error = load(&unmounted).err().unwrap().to_string();
    assert!(
        error.starts_with("gate.pins: ") && error.contains("mount -t bpf bpf /sys/fs/bpf"),
        "{error}"
    );
    gate.detach().unwrap();
}

#[test]
fn an_interface_that_comes_back_is_guarded_again() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let mut gate = wire.start(&ruleset()).unwrap();
    wire.relay.cut("guard0").unwrap();
    assert_eq!(wire.state(&mut *gate), InterfaceState::NoInterface);
    Host::join((&wire.relay, "guard0"), (&wire.world, "wire0")).unwrap();
    assert_eq!(wire.state(&mut *gate), InterfaceState::Missing);
    let repaired = wire.relay.within(|| gate.repair()).unwrap();
    assert_eq!(repaired[0].state, native(false));
    wire.relay.address("guard0", format!("{RELAY}/24").parse().unwrap()).unwrap();
    wire.world.address("wire0", format!("{STRANGER}/24").parse().unwrap()).unwrap();
    assert!(wire.is_silent(STRANGER, PORT));
    assert_eq!(wire.dial(STRANGER, OTHER_PORT), Answer::Connected);
    gate.detach().unwrap();
}

#[test]
fn the_first_odd_frame_is_told_once() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let frame = tests::frames::all()
        .unwrap()
        .into_iter()
        .find(|frame| frame.name == "tags/priority-tags-20")
        .unwrap()
        .bytes;
    let mut filled = load(&wire.place).unwrap().fill(&ruleset()).unwrap();
    for _ in 0..3 {
        filled.run(EntryPoint::Gate, &frame, 1).unwrap();
    }
    let mut gate = filled.attach(&[]).unwrap();
    let heard = gate.diagnostics();
    let number = Reason::TagsTooDeep.index();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains(&format!("reason {number} ")), "{heard:?}");
    assert!(gate.diagnostics().is_empty());
    gate.detach().unwrap();
}

#[test]
fn both_families_are_guarded_and_a_default_route_of_one_admits_none_of_the_other() {
    if !need::root() {
        return;
    }
    let wire = Wire::new();
    let every = |address: &str| Net::new(address.parse::<IpAddr>().unwrap(), 0).unwrap();
    let entry = |net| Entry {
        net,
        id: EntryId(9),
        tag: None,
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    let listed = Net::new("2001:db8::10".parse::<IpAddr>().unwrap(), 124).unwrap();
    let rows = [
        ("an IPv6 network", entry(listed), [LISTED_V6], [STRANGER_V6, LISTED, STRANGER].as_slice()),
        ("::/0", entry(every("::")), [STRANGER_V6], [LISTED, STRANGER].as_slice()),
        ("0.0.0.0/0", entry(every("0.0.0.0")), [STRANGER], [LISTED_V6, STRANGER_V6].as_slice()),
    ];
    for (name, entry, admitted, silent) in rows {
        let gate = wire.start(&Ruleset { entries: vec![entry], ..ruleset() }).unwrap();
        for source in admitted {
            assert_eq!(wire.dial(source, PORT), Answer::Connected, "{name}: {source}");
        }
        for source in silent {
            assert!(wire.is_silent(source, PORT), "{name}: {source}");
            assert_eq!(wire.dial(source, OTHER_PORT), Answer::Connected, "{name}: {source}");
        }
        drop(gate);
    }
}
