//! Restarts and reloads: nothing is forgotten, nothing half done.

use super::desk::*;
use crate::control::wire::GateRequest;
use crate::event::Event;
use crate::gate::audit::Page;

#[test]
fn a_killed_gate_comes_back_with_every_entry_and_ban() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    desk.ask(ban("10.0.0.7", 600), OPERATOR, 0).unwrap();
    let before = desk.ask(GateRequest::AllowList, ANYBODY, 0).unwrap();
    let mut desk = desk.restart(moment(60));
    assert_eq!(desk.ask(GateRequest::AllowList, ANYBODY, 60).unwrap(), before);
    assert!(desk.fake.admits("192.0.2.7") && !desk.fake.admits("10.0.0.7"));
}

#[test]
fn what_the_kernel_admits_beyond_the_file_is_shut_out_at_the_start() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    // A crash after the removal was on disk, before it was in the kernel.
    let stale = desk.fake.tables().entries.clone();
    desk.ask(remove("192.0.2.0/24"), OPERATOR, 1).unwrap();
    desk.fake.tables().entries = stale;
    assert!(desk.fake.admits("192.0.2.7"));
    let desk = desk.restart(moment(2));
    assert!(!desk.fake.admits("192.0.2.7"));
}

#[test]
fn entries_that_ended_while_nobody_looked_are_out_after_the_start() {
    let mut desk = Desk::new();
    desk.ask(add_for("192.0.2.0/24", Some(60_000)), OPERATOR, 0).unwrap();
    let desk = desk.restart(moment(60));
    assert!(!desk.fake.admits("192.0.2.7"));
}

#[test]
fn a_damaged_allowlist_leaves_declared_entries_and_an_error_and_keeps_the_damaged_file() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    desk.ask(ban("10.0.0.7", 600), OPERATOR, 0).unwrap();
    for name in ["allow.jsonl", "bans.jsonl"] {
        let path = desk.folder.path().join(name);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
    }
    let desk = desk.restart(moment(5));
    assert!(!desk.fake.admits("192.0.2.7") && desk.fake.admits("10.0.0.8"));
    assert!(!desk.fake.admits("10.0.0.7"), "the kernel still knew the ban");
    let told = desk.journal.take();
    let damages = told.iter().filter(
        |event| matches!(event, Event::Trouble { problem, .. } if problem.contains("damaged")),
    );
    assert_eq!(damages.count(), 2, "{told:?}");
    assert_eq!(desk.keeper.problems().len(), 2, "status says so until the next start");
    assert!(desk.folder.path().join("allow.damaged-5").exists());
}

#[test]
fn bans_that_only_the_kernel_knew_are_in_the_file_again() {
    let mut desk = Desk::new();
    desk.ask(ban("10.0.0.7", 600), OPERATOR, 0).unwrap();
    std::fs::write(desk.folder.path().join("bans.jsonl"), "half a li").unwrap();
    let desk = desk.restart(moment(5)).restart(moment(6));
    assert!(!desk.fake.admits("10.0.0.7"), "the second start has a whole file");
}

#[test]
fn numbers_of_entries_survive_restart_and_reload() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    let before = desk.fake.tables().entries.clone();
    let mut desk = desk.restart(moment(1));
    assert_eq!(desk.fake.tables().entries, before);
    desk.reload(2).unwrap();
    assert_eq!(desk.fake.tables().entries, before);
}

#[test]
fn a_reload_takes_declared_entries_and_leaves_added_ones() {
    let mut desk = Desk::new();
    desk.ask(add("192.0.2.0/24"), OPERATOR, 0).unwrap();
    let lists = desk.bulletin.borrow().lists;
    configure(desk.folder.path(), "", "[[gate.allow]]\ncidr = \"172.16.0.0/12\"\n");
    desk.reload(1).unwrap();
    assert!(desk.fake.admits("172.16.0.1") && desk.fake.admits("192.0.2.7"));
    assert!(!desk.fake.admits("10.0.0.7"));
    assert!(desk.bulletin.borrow().lists > lists, "sessions are looked at again");
    let audit = GateRequest::Audit { since: moment(0).wall, limit: 100 };
    let page: Page = serde_json::from_slice(&desk.ask(audit, OPERATOR, 2).unwrap()).unwrap();
    let reload = page.changes.last().unwrap();
    assert_eq!(reload.networks, ["172.16.0.0/12"], "the log tells what came");
    assert_eq!(reload.removed, ["10.0.0.0/8"], "and what went");
}

#[test]
fn the_log_tells_what_of_a_declared_entry_a_reload_changed() {
    let mut desk = Desk::new();
    let entry = |rest: &str| format!("[[gate.allow]]\ncidr = \"172.16.0.0/12\"\n{rest}");
    let other = "[[gate.allow]]\ncidr = \"192.0.2.0/24\"\n";
    for (second, text, networks, changed) in [
        (1, entry("tag = \"billing\"\n") + other, vec!["172.16.0.0/12", "192.0.2.0/24"], ""),
        (
            2,
            entry("tag = \"admin\"\nconnect-rate = \"10/s\"\n") + other,
            vec!["172.16.0.0/12"],
            "; 172.16.0.0/12: tag admin (was billing), connect-rate 10/s (was none)",
        ),
        // The other way round in the file.
        (3, other.to_owned() + &entry("tag = \"admin\"\nconnect-rate = \"10/s\"\n"), vec![], ""),
    ] {
        configure(desk.folder.path(), "", &text);
        desk.reload(second).unwrap();
        let audit = GateRequest::Audit { since: moment(0).wall, limit: 100 };
        let page: Page = serde_json::from_slice(&desk.ask(audit, OPERATOR, 4).unwrap()).unwrap();
        let reload = page.changes.last().unwrap();
        assert_eq!(reload.at, moment(second).wall);
        assert_eq!(reload.networks, networks);
        assert_eq!(reload.detail, Some(format!("2 declared entries{changed}")));
    }
}

#[test]
fn a_configuration_with_problems_leaves_the_gate_as_it_was_and_names_all_of_them() {
    let mut desk = Desk::new();
    let more = "[[gate.allow]]\ncidr = \"10.1.2.3/8\"\n[[gate.allow]]\ncidr = \"x\"\n";
    configure(desk.folder.path(), "", more);
    let problems = desk.reload(1).unwrap_err();
    assert!(problems.contains("write 10.0.0.0/8") && problems.lines().count() == 2, "{problems}");
    assert!(desk.fake.admits("10.0.0.7"));
    std::fs::remove_file(desk.folder.path().join("sallyport.toml")).unwrap();
    assert!(desk.reload(1).is_err());
    assert!(desk.fake.admits("10.0.0.7"));
}

#[test]
fn a_reload_says_what_waits_for_a_restart_until_it_is_taken_back() {
    let mut desk = Desk::new();
    let file = desk.folder.path().join("sallyport.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, before.replace("[\"eth0\"]", "[\"eth1\"]")).unwrap();
    for second in 1..3 {
        desk.reload(second).unwrap();
        assert!(desk.keeper.problems()[0].contains("with a restart only"));
    }
    std::fs::write(&file, before).unwrap();
    desk.reload(3).unwrap();
    assert_eq!(desk.keeper.problems(), Vec::<String>::new());
}

#[test]
fn a_reload_that_the_kernel_refuses_is_taken_back() {
    let mut desk = Desk::new();
    configure(desk.folder.path(), "", "[[gate.allow]]\ncidr = \"172.16.0.0/12\"\n");
    desk.fake.tables().is_broken = true;
    assert!(desk.reload(1).is_err());
    desk.fake.tables().is_broken = false;
    desk.inspect(2);
    assert!(desk.fake.admits("10.0.0.7") && !desk.fake.admits("172.16.0.1"));
}

#[test]
fn a_reload_never_stops_guarding_a_port_that_still_listens() {
    let mut desk = Desk::new();
    let file = desk.folder.path().join("sallyport.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let address = "address = \"192.0.2.1:2525\"";
    for listener in ["address = \"192.0.2.1:587\"", &format!("{address}\ngate = false")] {
        std::fs::write(&file, text.replace(address, listener)).unwrap();
        desk.reload(1).unwrap();
        assert_eq!(desk.fake.tables().ports, [2525], "{listener}");
        let told = desk.journal.take();
        let said = |event: &Event| matches!(event, Event::Trouble { problem, .. } if problem.contains("restart only"));
        assert_eq!(told.iter().filter(|event| said(event)).count(), 1, "{told:?}");
    }
}

#[test]
fn root_writes_no_file_where_the_relay_could_put_a_link() {
    let desk = Desk::new();
    let text = std::fs::read_to_string(desk.folder.path().join("sallyport.toml")).unwrap();
    let apart = text.replace("/gate.sock", "/run/gate.sock");
    let config = crate::config::Config::parse(&apart).unwrap();
    assert_eq!(super::super::record(&config).parent(), Some(config.gate.state.as_path()));
    assert_ne!(config.gate.socket.parent(), Some(config.gate.state.as_path()));
}
