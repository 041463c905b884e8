//! Changes: who may make them, what they do in kernel, file and journal, and what is told.

use super::super::keeper::Service;
use super::desk::*;
use crate::control::wire::{AllowPage, Did, Entry, Explanation, GateRequest, GateStatus};
use crate::event::Event;
use crate::gate::InterfaceState;
use crate::gate::approach::{Approach, Approaches};

#[test]
fn who_may_ask_for_what() {
    let read = [
        GateRequest::AllowList,
        GateRequest::AllowPage { find: None, from: 0, limit: 1 },
        GateRequest::BanList,
        GateRequest::Status,
        GateRequest::Explain { source: "192.0.2.1".parse().unwrap(), port: None },
    ];
    let change = [add("192.0.2.0/24"), remove("192.0.2.0/24"), unban("192.0.2.0/24")];
    let mut desk = Desk::new();
    for request in read {
        for caller in [OPERATOR, RELAY, ANYBODY] {
            assert!(desk.ask(request.clone(), caller, 0).is_ok(), "{request:?} {caller:?}");
        }
    }
    for request in change {
        assert!(desk.ask(request.clone(), OPERATOR, 0).is_ok(), "{request:?}");
        for caller in [RELAY, ANYBODY] {
            let refusal = desk.ask(request.clone(), caller, 0).unwrap_err();
            assert!(refusal.contains("may look, not change"), "{request:?} {caller:?}: {refusal}");
        }
    }
    assert!(desk.ask(ban("198.51.100.7", 60), RELAY, 0).is_ok());
    assert!(desk.ask(ban("198.51.100.0/24", 60), OPERATOR, 0).is_ok());
    for (network, caller) in
        [("198.51.100.0/24", RELAY), ("198.51.100.8", ANYBODY), ("192.0.2.1", RELAY)]
    {
        assert!(desk.ask(ban(network, 60), caller, 0).is_err(), "{network} {caller:?}");
    }
    let attach = GateRequest::Attach { sockets: 0 };
    assert!(desk.ask(attach, OPERATOR, 0).is_err(), "sockets are not for operators");
}

#[test]
fn an_entry_is_in_the_kernel_when_the_command_returns_and_gone_when_removed() {
    let mut desk = Desk::new();
    assert!(!desk.fake.admits("192.0.2.7"));
    assert_eq!(desk.change(add("192.0.2.0/24"), OPERATOR, 1).unwrap().0, Did::Added);
    assert!(desk.fake.admits("192.0.2.7"));
    assert_eq!(desk.change(add("192.0.2.0/24"), OPERATOR, 2).unwrap().0, Did::Unchanged);
    assert_eq!(desk.change(remove("192.0.2.0/24"), OPERATOR, 3).unwrap().0, Did::Removed);
    assert!(!desk.fake.admits("192.0.2.7"));
    assert_eq!(desk.change(remove("192.0.2.0/24"), OPERATOR, 4).unwrap().0, Did::Unchanged);
    let told: Vec<Event> = desk.journal.take();
    let net = "192.0.2.0/24".parse().unwrap();
    assert!(told.contains(&Event::AllowAdded { net, tag: None, uid: 1000 }));
    assert!(told.contains(&Event::AllowRemoved { net, uid: 1000 }));
    assert_eq!(desk.bulletin.borrow().lists, 1, "only the removal can cut a session");
}

#[test]
fn remarks_say_what_an_operator_must_know() {
    let mut desk = Desk::new();
    let remark = |desk: &mut Desk, request| desk.change(request, OPERATOR, 1).unwrap().1;
    assert_eq!(remark(&mut desk, add("0.0.0.0/0")), "WARNING: this admits every IPv4 address");
    assert_eq!(remark(&mut desk, add("::/0")), "WARNING: this admits every IPv6 address");
    assert_eq!(remark(&mut desk, remove("::/0")), "");
    remark(&mut desk, remove("0.0.0.0/0"));
    remark(&mut desk, add("10.1.0.0/16"));
    let text = remark(&mut desk, remove("10.1.0.0/16"));
    assert!(text.starts_with("still admitted by 10.0.0.0/8, declared in "), "{text}");
    remark(&mut desk, add("192.0.2.7"));
    remark(&mut desk, add("192.0.2.0/24"));
    let text = remark(&mut desk, remove("192.0.2.0/24"));
    assert_eq!(text, "1 narrower entry still admits a part of it");
    desk.ask(ban("198.51.100.0/24", 60), OPERATOR, 1).unwrap();
    let text = remark(&mut desk, add("198.51.100.7"));
    assert_eq!(text, "it stays banned by 198.51.100.0/24 until 1970-01-01T00:01:01Z");
    assert_eq!(
        remark(&mut desk, unban("198.51.100.7")),
        "still banned by 198.51.100.0/24 until 1970-01-01T00:01:01Z"
    );
    desk.ask(ban("198.51.100.9", 60), OPERATOR, 1).unwrap();
    let text = remark(&mut desk, unban("198.51.100.0/24"));
    assert_eq!(text, "1 narrower ban still keeps a part of it out");
    let text = remark(&mut desk, unban("198.51.100.9"));
    assert_eq!(text, "still kept out: no entry of the allowlist admits it");
    assert_eq!(remark(&mut desk, unban("198.51.100.7")), "", "it is listed and not banned");
    let refusal = desk.change(remove("10.0.0.0/8"), OPERATOR, 1).unwrap_err();
    let line = std::fs::read_to_string(desk.folder.path().join("sallyport.toml")).unwrap();
    let line = 1 + line.lines().position(|line| line.contains("[[gate.allow]]")).unwrap();
    assert!(refusal.contains(&format!("sallyport.toml:{line}; change it there")), "{refusal}");
}

#[test]
fn a_request_with_one_bad_network_changes_nothing() {
    let mut desk = Desk::new();
    let networks = vec!["192.0.2.0/24".parse().unwrap(), "192.0.2.1/24".parse().unwrap()];
    let (tag, note, connect_rate, source_rate) = (None, None, None, None);
    let request =
        GateRequest::AllowAdd { networks, tag, note, ttl_ms: None, connect_rate, source_rate };
    let refusal = desk.ask(request, OPERATOR, 0).unwrap_err();
    assert!(refusal.contains("the network is 192.0.2.0/24"), "{refusal}");
    assert!(!desk.fake.admits("192.0.2.7"));
    let request = GateRequest::AllowRemove { networks: Vec::new() };
    assert!(desk.ask(request, OPERATOR, 0).is_err());
}

#[test]
fn an_entry_is_not_admitted_if_its_file_cannot_be_written() {
    let mut desk = Desk::new();
    desk.block_files();
    let refusal = desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap_err();
    assert!(refusal.starts_with("nothing was changed: "), "{refusal}");
    assert!(!desk.fake.admits("192.0.2.7"));
    desk.free_files();
    assert!(desk.ask(add("192.0.2.0/24"), OPERATOR, 0).is_ok());
}

#[test]
fn an_entry_is_forgotten_if_the_kernel_refuses_it() {
    let mut desk = Desk::new();
    desk.fake.tables().is_broken = true;
    let refusal = desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap_err();
    assert!(refusal.contains("broken for the test"), "{refusal}");
    desk.fake.tables().is_broken = false;
    desk.inspect(1);
    assert!(!desk.fake.admits("192.0.2.7"));
    let desk = desk.restart(moment(2));
    assert!(!desk.fake.admits("192.0.2.7"), "not in the file either");
}

#[test]
fn a_stranger_is_shut_out_even_if_the_disk_is_full_and_the_file_follows() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    desk.block_files();
    let told = desk.ask(remove("192.0.2.0/24"), OPERATOR, 1).unwrap_err();
    assert!(told.starts_with("effective now, but a restart would forget it"), "{told}");
    assert!(!desk.fake.admits("192.0.2.7"));
    desk.inspect(2);
    assert!(desk.keeper.problems()[0].contains("allow.jsonl"), "status says so meanwhile");
    desk.free_files();
    desk.inspect(3);
    assert_eq!(desk.keeper.problems(), Vec::<String>::new());
    let desk = desk.restart(moment(4));
    assert!(!desk.fake.admits("192.0.2.7"));
}

#[test]
fn a_removal_that_the_kernel_refuses_is_tried_until_it_is_done() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    desk.fake.tables().is_broken = true;
    let told = desk.ask(remove("192.0.2.0/24"), OPERATOR, 1).unwrap_err();
    assert!(told.starts_with("removed, but not effective yet"), "{told}");
    desk.inspect(2);
    assert!(desk.fake.admits("192.0.2.7"));
    desk.fake.tables().is_broken = false;
    desk.inspect(3);
    assert!(!desk.fake.admits("192.0.2.7"));
}

#[test]
fn entries_end_by_themselves() {
    let mut desk = Desk::new();
    desk.ask(add_for("192.0.2.0/24", Some(5_000)), OPERATOR, 10).unwrap();
    desk.sample(14);
    assert!(desk.fake.admits("192.0.2.7"));
    desk.sample(15);
    assert!(!desk.fake.admits("192.0.2.7"));
    let net = "192.0.2.0/24".parse().unwrap();
    assert!(desk.journal.take().contains(&Event::AllowExpired { net }));
    for ttl_ms in [0, u64::MAX] {
        assert!(desk.ask(add_for("192.0.2.0/24", Some(ttl_ms)), OPERATOR, 0).is_err());
    }
}

#[test]
fn bans_stand_on_the_boot_clock_and_end() {
    let mut desk = Desk::new();
    assert_eq!(desk.change(ban("10.0.0.7", 60), RELAY, 100).unwrap().0, Did::Added);
    assert_eq!(desk.fake.tables().bans.values().copied().collect::<Vec<_>>(), [160_000_000_000]);
    assert!(!desk.fake.admits("10.0.0.7") && desk.fake.admits("10.0.0.8"));
    desk.sample(101);
    let mut desk = desk.restart(moment(130));
    assert_eq!(desk.fake.tables().bans.values().copied().collect::<Vec<_>>(), [160_000_000_000]);
    desk.sample(160);
    assert!(desk.fake.tables().bans.is_empty());
    assert_eq!(desk.change(unban("10.0.0.7"), OPERATOR, 161).unwrap().0, Did::Unchanged);
}

#[test]
fn a_lifted_ban_that_the_kernel_holds_on_to_goes_as_soon_as_it_can() {
    let mut desk = Desk::new();
    desk.ask(ban("10.0.0.7", 600), OPERATOR, 0).unwrap();
    desk.fake.tables().is_broken = true;
    let told = desk.ask(unban("10.0.0.7"), OPERATOR, 1).unwrap_err();
    assert!(told.starts_with("lifted, but not effective yet"), "{told}");
    assert!(desk.ask(ban("10.0.0.8", 600), OPERATOR, 1).is_err());
    desk.fake.tables().is_broken = false;
    desk.inspect(2);
    assert!(desk.fake.admits("10.0.0.7") && desk.fake.admits("10.0.0.8"));
    let desk = desk.restart(moment(3));
    assert!(desk.fake.admits("10.0.0.7"));
}

#[test]
fn a_ban_holds_although_its_file_cannot_be_written_and_is_kept_later() {
    let mut desk = Desk::new();
    desk.block_files();
    let told = desk.ask(ban("10.0.0.7", 600), OPERATOR, 0).unwrap_err();
    assert!(told.starts_with("effective now"), "{told}");
    assert!(!desk.fake.admits("10.0.0.7"));
    let told = desk.ask(unban("10.0.0.7"), OPERATOR, 1).unwrap_err();
    assert!(told.starts_with("nothing was changed"), "{told}");
    assert!(!desk.fake.admits("10.0.0.7"));
    desk.free_files();
    desk.inspect(2);
    desk.fake.tables().bans.clear();
    let desk = desk.restart(moment(3));
    assert!(!desk.fake.admits("10.0.0.7"), "it was in the file");
}

#[test]
fn the_relay_asks_for_ten_bans_a_second() {
    let mut desk = Desk::new();
    let taken = (0..30).filter(|n| desk.ask(ban(&format!("10.0.0.{n}"), 60), RELAY, 0).is_ok());
    assert_eq!(taken.count(), 10);
    assert!(desk.ask(ban("10.0.1.1", 60), RELAY, 1).is_ok());
    assert!(desk.ask(ban("10.0.2.0/24", 60), OPERATOR, 1).is_ok(), "operators are not counted");
}

#[test]
fn a_lost_program_is_told_put_back_and_told_again() {
    let mut desk = Desk::new();
    desk.inspect(1);
    assert_eq!(desk.bulletin.borrow().service, Service::Serve);
    desk.fake.tables().interface = Some(InterfaceState::Foreign { program_id: 9 });
    desk.inspect(2);
    desk.inspect(3);
    assert_eq!(desk.bulletin.borrow().service, Service::Refuse);
    let status: GateStatus = desk.look(GateRequest::Status, 3);
    assert!(!status.serving);
    assert!(status.interfaces[0].problem.as_ref().unwrap().contains("bpftool prog show id 9"));
    desk.fake.tables().repaired = Some(GUARDED);
    desk.inspect(4);
    assert_eq!(desk.bulletin.borrow().service, Service::Serve);
    let told = desk.journal.take();
    let count = |wanted: fn(&Event) -> bool| told.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::GateAttached { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::GateLost { .. })), 1, "not one a second");
    assert_eq!(count(|event| matches!(event, Event::GateRestored { .. })), 1);
}

#[test]
fn an_interface_by_which_nobody_comes_is_a_problem_at_once_and_told_when_it_lasts() {
    let mut desk = Desk::new();
    desk.inspect(1);
    let status: GateStatus = desk.look(GateRequest::Status, 1);
    assert_eq!((&status.interfaces[0].problem, &status.interfaces[0].down), (&None, &None));
    let closed = Approaches { guarded: vec![Approach::Off], cut_off: true };
    desk.fake.tables().approaches = Some(closed);
    (2..70).for_each(|second| desk.inspect(second));
    let status: GateStatus = desk.look(GateRequest::Status, 70);
    assert!(status.cut_off && status.serving, "the host itself is served");
    let eth0 = &status.interfaces[0];
    assert_eq!((eth0.mode.as_str(), eth0.down.as_deref()), ("native", Some("down")));
    assert!(eth0.problem.as_ref().unwrap().contains("`ip link set dev eth0 up`"), "{eth0:?}");
    let unknown = Approaches { guarded: vec![Approach::Unknown], cut_off: false };
    desk.fake.tables().approaches = Some(unknown);
    let status: GateStatus = desk.look(GateRequest::Status, 70);
    assert!(status.cut_off, "nobody who asks makes the gate look");
    desk.inspect(71);
    let status: GateStatus = desk.look(GateRequest::Status, 71);
    assert!(status.interfaces[0].unknown && status.interfaces[0].problem.is_none());
    desk.fake.tables().approaches = None;
    desk.inspect(72);
    let told = desk.journal.take();
    let count = |wanted: fn(&Event) -> bool| told.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::InterfaceDown { .. })), 1, "not one a second");
    assert_eq!(count(|event| matches!(event, Event::InterfaceUp { .. })), 1);
}

#[test]
fn the_second_door_setting_and_an_optional_gate_serve_on() {
    for gate in ["on-loss = \"second-door\"", "required = false"] {
        let mut desk = Desk::configured(gate, DECLARED);
        desk.fake.tables().interface = Some(InterfaceState::Missing);
        desk.inspect(1);
        assert_eq!(desk.bulletin.borrow().service, Service::Serve, "{gate}");
    }
}

#[test]
fn explain_and_list_show_entry_tag_and_place() {
    let mut desk = Desk::new();
    let explain =
        |source: &str| GateRequest::Explain { source: source.parse().unwrap(), port: None };
    let mut asked = |source| -> Explanation { desk.look(explain(source), 0) };
    let listed = asked("::ffff:10.0.0.7");
    assert_eq!((listed.verdict.as_str(), listed.port), ("pass", 2525));
    assert_eq!(
        (listed.source, listed.entry),
        ("10.0.0.7".parse().unwrap(), "10.0.0.0/8".parse().ok())
    );
    assert_eq!(listed.tag.as_deref(), Some("core"));
    let stranger = asked("192.0.2.7");
    assert_eq!((stranger.verdict.as_str(), stranger.reason.as_str()), ("drop", "unlisted_syn"));
    desk.ask(add("192.0.2.0/24"), OPERATOR, 9).unwrap();
    let entries: Vec<Entry> = desk.look(GateRequest::AllowList, 9);
    assert_eq!(entries.len(), 2);
    assert!(entries[0].declared_in_line.is_some() && entries[0].added_by_uid.is_none());
    assert_eq!((entries[1].added_by_uid, entries[1].added_at), (Some(1000), Some(moment(9).wall)));
}

#[test]
fn a_part_of_the_list_is_shown_and_found_by_address_network_tag_and_note() {
    let mut desk = Desk::new();
    for (network, tag, note) in
        [("192.0.2.0/24", "billing", "ticket 4711"), ("2001:db8::/32", "web", "Core of the web")]
    {
        let networks = vec![network.parse().unwrap()];
        let (tag, note) = (Some(tag.to_owned()), Some(note.to_owned()));
        let (ttl_ms, connect_rate, source_rate) = (None, None, None);
        let request =
            GateRequest::AllowAdd { networks, tag, note, ttl_ms, connect_rate, source_rate };
        desk.ask(request, OPERATOR, 1).unwrap();
    }
    let mut page = |find: &str, from, limit| {
        let find = Some(find.to_owned());
        let page: AllowPage = desk.look(GateRequest::AllowPage { find, from, limit }, 2);
        let networks = page.entries.iter().map(|entry| entry.cidr.to_string());
        (networks.collect::<Vec<_>>().join(" "), page.found)
    };
    let all = "10.0.0.0/8 192.0.2.0/24 2001:db8::/32";
    for (find, from, limit, networks, found) in [
        ("", 0, 9, all, 3),
        ("", 1, 1, "192.0.2.0/24", 3),
        ("", 3, 9, "", 3),
        ("192.0.2.77", 0, 9, "192.0.2.0/24", 1),
        ("::ffff:10.1.2.3", 0, 9, "10.0.0.0/8", 1),
        (" CORE ", 0, 9, "10.0.0.0/8 2001:db8::/32", 2),
        ("core", 1, 9, "2001:db8::/32", 2),
        ("4711", 0, 9, "192.0.2.0/24", 1),
        ("db8", 0, 9, "2001:db8::/32", 1),
        ("nothing of this kind", 0, 9, "", 0),
    ] {
        assert_eq!(page(find, from, limit), (networks.to_owned(), found), "{find} {from} {limit}");
    }
}
