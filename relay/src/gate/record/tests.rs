use std::time::Duration;

use super::*;
use crate::config;

fn moment(second: i64) -> Moment {
    Moment {
        wall: Timestamp::from_second(1_000_000 + second).unwrap(),
        boot_ns: 500_000_000_000 + second.unsigned_abs() * 1_000_000_000,
    }
}

fn net(text: &str) -> Net {
    crate::gate::net(text.parse().unwrap()).unwrap()
}

fn entry(text: &str, id: u32, until_ns: Option<u64>) -> Entry {
    Entry {
        net: net(text),
        id: EntryId(id),
        tag: Some("billing".into()),
        note: Some("a \"quoted\" note".into()),
        connect_rate: Some(config::Rate { count: 100, per: Duration::from_secs(60) }),
        source_rate: None,
        until_ns,
        origin: Origin::Added { uid: 1000, at: Timestamp::from_second(5).unwrap() },
    }
}

fn kept() -> Kept {
    Kept {
        declared: [(net("10.0.0.0/8"), EntryId(0))].into(),
        added: vec![
            entry("192.0.2.0/24", 2, None),
            entry("2001:db8::/32", 9, Some(590_000_000_000)),
        ],
    }
}

fn ban(text: &str, until_ns: u64) -> Ban {
    let at = Timestamp::from_second(1).unwrap();
    Ban { net: net(text), until_ns, note: None, uid: 0, at, repeats: 2 }
}

#[test]
fn both_files_are_read_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::within(folder.path());
    let nothing = files.allowlist(moment(0)).unwrap();
    assert_eq!((nothing.kept, nothing.damage), (Kept::default(), None));
    files.save_allowlist(&kept(), moment(0)).unwrap();
    assert_eq!(files.allowlist(moment(3)).unwrap().kept, kept());
    let (one, past) = (
        ban("192.0.2.0/24", 600_000_000_000),
        Past { net: net("192.0.2.9"), ended_ns: -7, times: 3 },
    );
    files.save_bans([&one].into_iter(), [&past].into_iter(), moment(0)).unwrap();
    assert_eq!(files.bans(moment(3)).unwrap().kept, (vec![one], vec![past]));
}

#[test]
fn changes_behind_the_file_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::within(folder.path());
    files.save_allowlist(&kept(), moment(0)).unwrap();
    let edits = [
        Edit::Take(net("192.0.2.0/24")),
        Edit::Put(entry("198.51.100.0/24", 3, None)),
        Edit::Put(entry("2001:db8::/32", 9, None)),
    ];
    files.append_allow(&edits, moment(1)).unwrap();
    let found = files.allowlist(moment(2)).unwrap().kept;
    assert_eq!(found.added, [entry("198.51.100.0/24", 3, None), entry("2001:db8::/32", 9, None)]);
    let bans = [ban("192.0.2.1", 600_000_000_000), ban("192.0.2.2", 600_000_000_000)];
    files.save_bans([].iter(), [].iter(), moment(0)).unwrap();
    files.append_bans(&bans, &[], moment(1)).unwrap();
    files.append_bans(&[], &[net("192.0.2.1")], moment(2)).unwrap();
    assert_eq!(files.bans(moment(3)).unwrap().kept.0, bans[1..]);
}

#[test]
fn in_the_same_boot_no_step_of_the_wall_clock_moves_an_end_and_in_another_it_is_the_wall_clocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::within(folder.path()).in_boot("one");
    files.save_allowlist(&kept(), moment(0)).unwrap();
    files.save_bans([ban("192.0.2.1", 560_000_000_000)].iter(), [].iter(), moment(0)).unwrap();
    let end = |files: &Files, now| {
        let kept = files.allowlist(now).unwrap().kept;
        let bans = files.bans(now).unwrap().kept.0;
        (kept.added[1].until_ns.unwrap(), bans[0].until_ns)
    };
    // An hour forward by the wall clock, a second by the boot clock.
    let stepped = Moment { wall: moment(3_600).wall, boot_ns: moment(1).boot_ns };
    assert_eq!(end(&files, stepped), (590_000_000_000, 560_000_000_000));
    let files = Files::within(folder.path()).in_boot("another");
    // 40 seconds later by the wall clock the host is 10 seconds up.
    let rebooted = Moment { wall: moment(40).wall, boot_ns: 10_000_000_000 };
    assert_eq!(end(&files, rebooted), (60_000_000_000, 30_000_000_000));
}

#[test]
fn the_list_that_comes_back_is_kept_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::within(folder.path());
    assert_eq!(files.former(moment(0)).unwrap().kept, None);
    let former = Former { until_ns: 560_000_000_000, added: kept().added };
    files.save_former(&former, moment(0)).unwrap();
    assert_eq!(files.former(moment(1)).unwrap().kept, Some(former));
    files.remove_former().unwrap();
    assert_eq!(files.former(moment(1)).unwrap().kept, None);
}

#[test]
fn what_the_first_version_wrote_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path().join("allow.jsonl"), "allowlist", VERSION);
    let lines = [
        r#"{"last-id":9}"#,
        r#"{"declared":{"cidr":"10.0.0.0/8","id":1}}"#,
        r#"{"added":{"cidr":"192.0.2.0/24","id":2,"uid":0,"at":"2026-11-23T00:00:00Z"}}"#,
    ];
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    store.save(&lines).unwrap();
    let found = Files::within(folder.path()).allowlist(moment(0)).unwrap().kept;
    assert_eq!((found.declared.len(), found.added.len()), (1, 1));
}

#[test]
fn a_damaged_allowlist_is_set_aside_with_a_word_and_admits_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::within(folder.path());
    files.save_allowlist(&kept(), moment(0)).unwrap();
    let path = folder.path().join("allow.jsonl");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    let found = files.allowlist(moment(77)).unwrap();
    assert_eq!(found.kept, Kept::default());
    let damage = found.damage.unwrap();
    assert!(
        damage.contains("allow.damaged-1000077") && damage.contains("only declared"),
        "{damage}"
    );
    let aside = std::fs::read(folder.path().join("allow.damaged-1000077")).unwrap();
    assert_eq!(aside.len(), text.len() / 2);
    assert!(folder.path().join("allow.damaged-log-1000077").exists());
}
