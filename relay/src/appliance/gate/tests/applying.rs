//! Files that replace the list, lists in shadow, and what is switched as a whole.

use crate::control::wire::{Applied, Confirmed, Entry, GateRequest, GateStatus};
use crate::event::Event;
use crate::gate::audit::Page;

use super::desk::*;

const MINUTE_MS: u64 = 60_000;

fn apply(file: &str) -> GateRequest {
    let (dry_run, force, confirm_within_ms) = (false, false, None);
    GateRequest::AllowApply { bytes: file.len(), dry_run, confirm_within_ms, force }
}

fn apply_for_a_minute(file: &str) -> GateRequest {
    let confirm_within_ms = Some(MINUTE_MS);
    GateRequest::AllowApply { bytes: file.len(), dry_run: false, confirm_within_ms, force: false }
}

/// Asks with a file and returns the answer.
fn applied(desk: &mut Desk, request: GateRequest, file: &str, now: i64) -> Applied {
    serde_json::from_slice(&desk.ask_with(request, file, OPERATOR, now).unwrap()).unwrap()
}

fn networks(desk: &mut Desk, now: i64) -> Vec<String> {
    let entries: Vec<Entry> = desk.look(GateRequest::AllowList, now);
    entries.iter().map(|entry| entry.cidr.to_string()).collect()
}

const FILE: &str = "# the billing cluster\n192.0.2.0/24 tag=billing\n2001:db8::/32\n";

#[test]
fn a_file_takes_the_place_of_what_was_added_and_leaves_what_is_declared() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    let applied = applied(&mut desk, apply(FILE), FILE, 2);
    assert!(applied.is_applied);
    assert_eq!((applied.entries, applied.changes.len()), (3, 3));
    assert!(desk.fake.admits("192.0.2.9") && desk.fake.admits("10.0.0.1"));
    assert!(!desk.fake.admits("198.51.100.7"));
    assert_eq!(networks(&mut desk, 2), ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]);
    assert_eq!(desk.bulletin.borrow().lists, 1, "sessions of whom it lists no more are ended");
    let mut desk = desk.restart(moment(3));
    assert_eq!(networks(&mut desk, 3).len(), 3, "it is kept");
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    let replaced = desk.fake.tables().replaced;
    let request = GateRequest::AllowApply {
        bytes: FILE.len(),
        dry_run: true,
        confirm_within_ms: None,
        force: false,
    };
    let said = applied(&mut desk, request, FILE, 2);
    assert!(!said.is_applied);
    assert_eq!((said.entries, said.changes.len()), (3, 3));
    assert!(desk.fake.admits("198.51.100.7") && !desk.fake.admits("192.0.2.9"));
    assert_eq!(desk.fake.tables().replaced, replaced);
    assert_eq!(networks(&mut desk, 2), ["10.0.0.0/8", "198.51.100.7/32"]);
}

#[test]
fn a_file_with_one_wrong_line_is_refused_by_its_number() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    let right = (0..100_000_u32).map(|number| std::net::Ipv4Addr::from(0x0b00_0000 + number));
    let lines = right.map(|address| address.to_string()).chain(["192.0.2.1/24".to_owned()]);
    let file = lines.collect::<Vec<_>>().join("\n");
    let refusal = desk.ask_with(apply(&file), &file, OPERATOR, 2).unwrap_err();
    assert!(refusal.starts_with("line 100001: "), "{refusal}");
    assert!(refusal.contains("192.0.2.0/24"), "the remedy is missing: {refusal}");
    assert!(refusal.ends_with("nothing was changed"), "{refusal}");
    assert_eq!(networks(&mut desk, 2), ["10.0.0.0/8", "198.51.100.7/32"]);
}

#[test]
fn a_list_that_nobody_confirms_makes_way_for_the_former_one() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    let waiting = applied(&mut desk, apply_for_a_minute(FILE), FILE, 2);
    assert_eq!(waiting.confirm_until, Some(moment(62).wall));
    let status: GateStatus = desk.look(GateRequest::Status, 3);
    assert_eq!(status.confirm_until, Some(moment(62).wall));
    let refusal = desk.ask(add("203.0.113.7"), OPERATOR, 3).unwrap_err();
    assert!(refusal.contains("sallyport allow confirm"), "{refusal}");
    desk.sample(61);
    assert!(desk.fake.admits("192.0.2.9") && !desk.fake.admits("198.51.100.7"));
    desk.sample(62);
    assert!(!desk.fake.admits("192.0.2.9") && desk.fake.admits("198.51.100.7"));
    let told = desk.journal.take().into_iter();
    let told = told.filter(|event| matches!(event, Event::AllowRolledBack { uid: None, .. }));
    assert_eq!(told.count(), 1);
    assert_eq!(networks(&mut desk, 62), ["10.0.0.0/8", "198.51.100.7/32"]);
}

#[test]
fn the_former_list_comes_back_also_if_its_numbers_were_given_away_meanwhile() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    applied(&mut desk, apply_for_a_minute(FILE), FILE, 2);
    let declared: String = (0..8).fold(DECLARED.to_owned(), |text, number| {
        format!("{text}[[gate.allow]]\ncidr = \"172.16.{number}.0/24\"\n")
    });
    configure(desk.folder.path(), "", &declared);
    desk.reload(3).unwrap();
    desk.sample(62);
    assert!(desk.fake.admits("198.51.100.7") && desk.fake.admits("172.16.3.1"));
    let entries: Vec<_> = desk.fake.tables().entries.values().copied().collect();
    let numbers: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(numbers.len(), entries.len(), "two networks have one number: {entries:?}");
}

#[test]
fn the_former_list_comes_back_also_if_the_gate_was_killed_meanwhile() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    applied(&mut desk, apply_for_a_minute(FILE), FILE, 2);
    let mut desk = desk.restart(moment(10));
    assert!(desk.fake.admits("192.0.2.9"), "its time is not over");
    desk.sample(62);
    assert!(!desk.fake.admits("192.0.2.9") && desk.fake.admits("198.51.100.7"));
    let mut desk = desk.restart(moment(70));
    assert_eq!(networks(&mut desk, 70), ["10.0.0.0/8", "198.51.100.7/32"]);
}

#[test]
fn a_list_that_was_confirmed_stays_and_one_that_was_not_can_be_taken_back_at_once() {
    let mut desk = Desk::new();
    applied(&mut desk, apply_for_a_minute(FILE), FILE, 2);
    let kept = desk.ask(GateRequest::AllowConfirm, OPERATOR, 3).unwrap();
    assert_eq!(serde_json::from_slice::<Confirmed>(&kept).unwrap().entries, 3);
    desk.sample(1_000);
    assert!(desk.fake.admits("192.0.2.9"));
    let refusal = desk.ask(GateRequest::AllowConfirm, OPERATOR, 1_000).unwrap_err();
    assert_eq!(refusal, "no list waits to be confirmed");

    let other = "203.0.113.0/24\n";
    applied(&mut desk, apply_for_a_minute(other), other, 1_001);
    desk.ask(GateRequest::AllowRollback, OPERATOR, 1_002).unwrap();
    assert!(desk.fake.admits("192.0.2.9") && !desk.fake.admits("203.0.113.7"));
    desk.ask(add("198.51.100.7"), OPERATOR, 1_003).unwrap();
}

#[test]
fn a_file_that_kernel_or_disk_refuses_leaves_everything_as_it_was() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    desk.fake.tables().is_broken = true;
    let refusal = desk.ask_with(apply(FILE), FILE, OPERATOR, 2).unwrap_err();
    assert!(refusal.starts_with("nothing was changed: "), "{refusal}");
    desk.fake.tables().is_broken = false;
    assert_eq!(networks(&mut desk, 2), ["10.0.0.0/8", "198.51.100.7/32"]);
    desk.block_files();
    let refusal = desk.ask_with(apply(FILE), FILE, OPERATOR, 3).unwrap_err();
    assert!(refusal.starts_with("nothing was changed: "), "{refusal}");
    assert_eq!(networks(&mut desk, 3), ["10.0.0.0/8", "198.51.100.7/32"]);
    assert!(desk.fake.admits("198.51.100.7") && !desk.fake.admits("192.0.2.9"));
}

#[test]
fn a_list_in_shadow_is_declared_entries_and_the_file_and_admits_nobody() {
    let mut desk = Desk::new();
    let request = GateRequest::AllowShadow { bytes: FILE.len() };
    assert_eq!(desk.ask_with(request, FILE, OPERATOR, 1).unwrap(), b"3");
    assert_eq!(desk.fake.tables().shadow.as_ref().map(Vec::len), Some(3));
    assert!(!desk.fake.admits("192.0.2.9"));
    assert_eq!(networks(&mut desk, 1), ["10.0.0.0/8"]);
    let status: GateStatus = desk.look(GateRequest::Status, 1);
    assert_eq!(status.shadow, Some(3));
    let none = GateRequest::AllowShadow { bytes: 0 };
    assert_eq!(desk.ask_with(none, "", OPERATOR, 2).unwrap(), b"0");
    assert!(desk.fake.tables().shadow.is_none());
}

#[test]
fn observing_ends_by_itself_and_sessions_that_it_let_in_are_looked_at() {
    let mut desk = Desk::new();
    let mode = |observe_ms| GateRequest::Mode { observe_ms };
    desk.ask(mode(Some(MINUTE_MS)), OPERATOR, 1).unwrap();
    let status: GateStatus = desk.look(GateRequest::Status, 2);
    assert_eq!((status.mode.as_str(), status.observe_until), ("observe", Some(moment(61).wall)));
    let lists = desk.bulletin.borrow().lists;
    desk.sample(61);
    let status: GateStatus = desk.look(GateRequest::Status, 61);
    assert_eq!((status.mode.as_str(), status.observe_until), ("enforce", None));
    assert!(desk.bulletin.borrow().lists > lists);
    let modes = desk.journal.take().into_iter().filter_map(|event| match event {
        Event::ModeChanged { mode, uid, .. } => Some((mode, uid)),
        _ => None,
    });
    let modes: Vec<_> = modes.collect();
    assert_eq!(modes, [("observe", Some(OPERATOR.uid)), ("enforce", None)]);
    for wrong in [0, 8 * 86_400_000] {
        let refusal = desk.ask(mode(Some(wrong)), OPERATOR, 62).unwrap_err();
        assert!(refusal.starts_with("--for: "), "{refusal}");
    }
    assert!(desk.ask(mode(Some(1)), ANYBODY, 63).is_err());
}

#[test]
fn a_detached_gate_says_so_and_is_not_put_back_by_itself() {
    let mut desk = Desk::new();
    desk.ask(GateRequest::Detach, OPERATOR, 1).unwrap();
    assert!(desk.fake.tables().is_open);
    desk.fake.tables().interface = Some(crate::gate::InterfaceState::Missing);
    desk.fake.tables().repaired = Some(GUARDED);
    desk.inspect(2);
    let stands = desk.fake.tables().interface.clone();
    assert_eq!(stands, Some(crate::gate::InterfaceState::Missing), "nobody repaired it");
    let status: GateStatus = desk.look(GateRequest::Status, 3);
    assert_eq!(status.mode, "open");
    let refusal = desk.ask(GateRequest::Mode { observe_ms: None }, OPERATOR, 3).unwrap_err();
    assert!(refusal.contains("start it again"), "{refusal}");
}

#[test]
fn the_audit_log_names_who_changed_what_and_when() {
    let mut desk = Desk::new();
    desk.ask(add("198.51.100.7"), OPERATOR, 1).unwrap();
    desk.ask(ban("203.0.113.7", 60), OPERATOR, 2).unwrap();
    applied(&mut desk, apply_for_a_minute(FILE), FILE, 3);
    desk.sample(63);
    desk.ask(GateRequest::Mode { observe_ms: Some(1_000) }, OPERATOR, 64).unwrap();
    let audit = GateRequest::Audit { since: moment(0).wall, limit: 100 };
    let page: Page = serde_json::from_slice(&desk.ask(audit, OPERATOR, 65).unwrap()).unwrap();
    let told: Vec<(&str, Option<u32>)> =
        page.changes.iter().map(|change| (change.verb.as_str(), change.uid)).collect();
    let by = Some(OPERATOR.uid);
    assert_eq!(
        told,
        [
            ("allow add", by),
            ("ban add", by),
            ("allow apply", by),
            ("allow rollback", None),
            ("mode observe", by),
        ]
    );
    assert_eq!(page.changes[0].at, moment(1).wall);
    assert_eq!(page.changes[0].networks, ["198.51.100.7/32"]);
    assert_eq!(page.changes[2].removed, ["198.51.100.7/32"]);
    assert!(page.broken_lines.is_empty());
}
