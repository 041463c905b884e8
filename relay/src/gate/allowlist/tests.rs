use jiff::Timestamp;
use relay_common::bucket;
use relay_common::table::TagName;

use super::*;

fn net(text: &str) -> Net {
    super::super::net(text.parse().unwrap()).unwrap()
}

const SECOND: u64 = 1_000_000_000;
const AUTHOR: Author = Author { uid: 1000, at: Timestamp::UNIX_EPOCH };

fn declared(text: &str, tag: Option<&str>, line: usize) -> config::Allow {
    let cidr = text.parse().unwrap();
    config::Allow {
        cidr,
        tag: tag.map(str::to_owned),
        note: None,
        connect_rate: None,
        source_rate: None,
        auto_ban: None,
        line,
    }
}

fn wish(text: &str) -> Wish {
    Wish::plain(net(text))
}

fn list() -> Allowlist {
    let declared = [declared("10.0.0.0/8", Some("core"), 12), declared("::1/128", None, 15)];
    Allowlist::new(Kept::default(), &declared, 0)
}

fn add(list: &mut Allowlist, wish: Wish) -> Result<(Did, Vec<Step>), Refusal> {
    let plan = list.add(&[wish], AUTHOR)?;
    let (steps, _undo) = list.apply(&plan.edits);
    Ok((plan.did[0].1, steps))
}

#[test]
fn every_way_to_add_and_what_it_does() {
    use Did::{Added, Unchanged, Updated};
    let tagged = |text: &str, tag: &str| Wish { tag: Some(tag.into()), ..wish(text) };
    let noted = |text: &str, note: &str| Wish { note: Some(note.into()), ..wish(text) };
    let ending = |text: &str, end| Wish { until_ns: Some(end * SECOND), ..wish(text) };
    let refused = |net_text: &str, line| Err(Refusal::Declared { net: net(net_text), line });
    let mut list = list();
    let steps = [
        ("a new network", wish("192.0.2.0/24"), Ok((Added, 1))),
        ("twice", wish("192.0.2.0/24"), Ok((Unchanged, 0))),
        ("with a tag", tagged("192.0.2.0/24", "billing"), Ok((Updated, 1))),
        ("with the same tag", tagged("192.0.2.0/24", "billing"), Ok((Unchanged, 0))),
        ("without its tag, which stays", wish("192.0.2.0/24"), Ok((Unchanged, 0))),
        ("with another tag", tagged("192.0.2.0/24", "mail"), Ok((Updated, 1))),
        ("with a note", noted("192.0.2.0/24", "ticket 7"), Ok((Updated, 1))),
        ("with an end", ending("192.0.2.0/24", 200), Ok((Updated, 1))),
        ("with a later end", ending("192.0.2.0/24", 300), Ok((Updated, 1))),
        ("a part of it", wish("192.0.2.7"), Ok((Added, 1))),
        ("a mapped address", wish("::ffff:192.0.2.7"), Ok((Unchanged, 0))),
        ("a mapped network", wish("::ffff:192.0.2.0/120"), Ok((Unchanged, 0))),
        ("everything", wish("0.0.0.0/0"), Ok((Added, 1))),
        ("everything of the other family", wish("::/0"), Ok((Added, 1))),
        ("a declared network", wish("10.0.0.0/8"), Ok((Unchanged, 0))),
        ("a declared network with its tag", tagged("10.0.0.0/8", "core"), Ok((Unchanged, 0))),
        (
            "a declared network with another tag",
            tagged("10.0.0.0/8", "x"),
            refused("10.0.0.0/8", 12),
        ),
        ("a declared network with an end", ending("::1", 200), refused("::1", 15)),
        (
            "a tag that is too long",
            tagged("192.0.2.9", &"x".repeat(33)),
            Err(Refusal::Tag("x".repeat(33))),
        ),
        ("a tag of nothing", tagged("192.0.2.9", ""), Err(Refusal::Tag(String::new()))),
        ("a tag with a line end", tagged("192.0.2.9", "a\nb"), Err(Refusal::Tag("a\nb".into()))),
        ("a note that is too long", noted("192.0.2.9", &"x".repeat(257)), Err(Refusal::Note)),
        ("a note with an escape", noted("192.0.2.9", "\u{1b}[2J"), Err(Refusal::Note)),
    ];
    for (name, wish, wanted) in steps {
        let done = add(&mut list, wish).map(|(did, steps)| (did, steps.len()));
        assert_eq!(done, wanted, "{name}");
    }
    assert_eq!(list.entries().count(), 6);
}

#[test]
fn one_refusal_refuses_the_whole_request() {
    let list = list();
    let bad = Wish { tag: Some(String::new()), ..wish("192.0.2.2") };
    assert_eq!(list.add(&[wish("192.0.2.1"), bad], AUTHOR), Err(Refusal::Tag(String::new())));
    let nets = [net("192.0.2.1"), net("10.0.0.0/8")];
    let refusal = Refusal::Declared { net: net("10.0.0.0/8"), line: 12 };
    assert_eq!(list.remove(&nets), Err(refusal));
}

#[test]
fn a_network_named_twice_in_one_request_is_one_entry() {
    let mut list = list();
    let plan = list.add(&[wish("192.0.2.0/24"), wish("192.0.2.0/24")], AUTHOR).unwrap();
    assert_eq!(
        plan.did,
        [(net("192.0.2.0/24"), Did::Added), (net("192.0.2.0/24"), Did::Unchanged)]
    );
    list.apply(&plan.edits);
    let plan = list.remove(&[net("192.0.2.0/24"), net("192.0.2.0/24")]).unwrap();
    assert_eq!(plan.edits.len(), 1);
}

#[test]
fn removal_takes_the_kernels_entry_and_twice_is_unchanged() {
    let mut list = list();
    add(&mut list, wish("192.0.2.0/24")).unwrap();
    let plan = list.remove(&[net("192.0.2.0/24")]).unwrap();
    assert_eq!(plan.did, [(net("192.0.2.0/24"), Did::Removed)]);
    assert_eq!(list.apply(&plan.edits).0, [Step::Remove(net("192.0.2.0/24"))]);
    let plan = list.remove(&[net("192.0.2.0/24")]).unwrap();
    assert_eq!((plan.edits.len(), plan.did), (0, vec![(net("192.0.2.0/24"), Did::Unchanged)]));
}

#[test]
fn the_narrowest_entry_admits_and_a_broader_one_is_found_after_removal() {
    let mut list = list();
    for text in ["192.0.2.0/24", "192.0.0.0/16", "192.0.2.7"] {
        add(&mut list, wish(text)).unwrap();
    }
    let admitting = |list: &Allowlist, text: &str| list.admitting(net(text)).map(|entry| entry.net);
    assert_eq!(admitting(&list, "192.0.2.7"), Some(net("192.0.2.7")));
    assert_eq!(list.inside(&net("192.0.0.0/16")), 2);
    let plan = list.remove(&[net("192.0.2.7"), net("192.0.2.0/24")]).unwrap();
    list.apply(&plan.edits);
    assert_eq!(admitting(&list, "192.0.2.7"), Some(net("192.0.0.0/16")));
    assert_eq!(admitting(&list, "198.51.100.1"), None);
    assert_eq!(admitting(&list, "2001:db8::1"), None);
}

#[test]
fn an_undone_change_leaves_everything_as_it_was() {
    let mut list = list();
    add(&mut list, Wish { tag: Some("a".into()), ..wish("192.0.2.1") }).unwrap();
    let before = list.kept();
    let wishes = [Wish { tag: Some("b".into()), ..wish("192.0.2.1") }, wish("192.0.2.2")];
    let plan = list.add(&wishes, AUTHOR).unwrap();
    let (_, undo) = list.apply(&plan.edits);
    let (steps, _) = list.apply(&undo);
    assert_eq!(list.kept().added, before.added);
    assert_eq!(steps.len(), 2);
    let plan = list.remove(&[net("192.0.2.1")]).unwrap();
    let (_, undo) = list.apply(&plan.edits);
    list.apply(&undo);
    assert_eq!(list.kept().added, before.added);
}

#[test]
fn numbers_stay_with_their_networks_over_restart_and_reload_and_no_two_share_one() {
    let mut list = list();
    add(&mut list, wish("192.0.2.1")).unwrap();
    let ids = |list: &Allowlist| -> Vec<(Net, u32)> {
        list.entries().map(|entry| (entry.net, entry.id.0)).collect()
    };
    let before = ids(&list);
    let again = [declared("::1/128", None, 3), declared("10.0.0.0/8", None, 9)];
    let restarted = Allowlist::new(list.kept(), &again, 0);
    assert_eq!(ids(&restarted), before);
    list.redeclare(&again);
    assert_eq!(ids(&list), before);
    let plan = list.remove(&[net("192.0.2.1")]).unwrap();
    list.apply(&plan.edits);
    add(&mut list, wish("192.0.2.2")).unwrap();
    list.redeclare(&[declared("172.16.0.0/12", None, 4), declared("10.0.0.0/8", None, 9)]);
    add(&mut list, wish("192.0.2.3")).unwrap();
    let mut numbers: Vec<u32> = ids(&list).into_iter().map(|(_, id)| id).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3], "numbers that are free again are used again");
}

#[test]
fn two_kept_entries_of_one_number_get_two() {
    let mut list = list();
    add(&mut list, wish("192.0.2.1")).unwrap();
    let mut kept = list.kept();
    let twin = Entry { net: net("192.0.2.2"), ..kept.added[0].clone() };
    kept.added.push(twin);
    let list = Allowlist::new(kept, &[], 0);
    let ids: Vec<u32> = list.entries().map(|entry| entry.id.0).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_file_replaces_all_added_entries_and_says_what_it_changes() {
    let mut list = list();
    for text in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        add(&mut list, Wish { tag: Some("old".into()), ..wish(text) }).unwrap();
    }
    let stays = list.entry(&net("192.0.2.1")).unwrap().id;
    let wishes = [
        Wish { tag: Some("old".into()), ..wish("192.0.2.1") },
        wish("192.0.2.2"),
        wish("198.51.100.0/24"),
        wish("10.0.0.0/8"),
    ];
    let plan = list.replace(&wishes, AUTHOR).unwrap();
    let wanted =
        [("192.0.2.2", Did::Updated), ("198.51.100.0/24", Did::Added), ("192.0.2.3", Did::Removed)];
    assert_eq!(plan.did, wanted.map(|(text, did)| (net(text), did)));
    list.apply(&plan.edits);
    assert_eq!(list.len(), 5);
    assert_eq!(list.entry(&net("192.0.2.1")).unwrap().id, stays);
    assert_eq!(list.entry(&net("192.0.2.2")).unwrap().tag, None, "a file says everything");
    assert_eq!(list.replace(&wishes, AUTHOR).unwrap(), Plan::default());
    let bad = [wish("192.0.2.9"), Wish { tag: Some("x".into()), ..wish("10.0.0.0/8") }];
    let refusal = Refusal::Declared { net: net("10.0.0.0/8"), line: 12 };
    assert_eq!(list.replace(&bad, AUTHOR), Err((Some(1), refusal)));
}

#[test]
fn an_added_entry_survives_a_declaration_of_its_network_and_comes_back_after_it() {
    let mut list = list();
    add(&mut list, Wish { tag: Some("mine".into()), ..wish("192.0.2.0/24") }).unwrap();
    list.redeclare(&[declared("192.0.2.0/24", Some("theirs"), 4)]);
    let tag = |list: &Allowlist| list.entry(&net("192.0.2.0/24")).and_then(|e| e.tag.clone());
    assert_eq!(tag(&list).as_deref(), Some("theirs"));
    assert_eq!(list.entries().count(), 1);
    list.redeclare(&[]);
    assert_eq!(tag(&list).as_deref(), Some("mine"));
}

#[test]
fn entries_end_when_their_time_comes_and_not_before() {
    let mut list = list();
    add(&mut list, Wish { until_ns: Some(200 * SECOND), ..wish("192.0.2.1") }).unwrap();
    add(&mut list, Wish { until_ns: Some(300 * SECOND), ..wish("192.0.2.2") }).unwrap();
    assert_eq!(list.expire(199 * SECOND), Plan::default());
    let plan = list.expire(200 * SECOND);
    assert_eq!(plan.edits, [Edit::Take(net("192.0.2.1"))]);
    assert_eq!(list.apply(&plan.edits).0, [Step::Remove(net("192.0.2.1"))]);
    assert_eq!(list.expire(200 * SECOND), Plan::default());
    let restarted = Allowlist::new(list.kept(), &[], 300 * SECOND);
    assert_eq!(restarted.entries().count(), 0, "what ended while nobody looked is left out");
}

#[test]
fn the_list_is_full_at_the_kernels_capacity() {
    let kept = Kept {
        added: (0..ENTRIES_MAX)
            .map(|number| Entry {
                net: Net::from(std::net::IpAddr::from((number + 0x0b00_0000).to_be_bytes())),
                id: EntryId(number),
                tag: None,
                note: None,
                connect_rate: None,
                source_rate: None,
                until_ns: None,
                origin: Origin::Added { uid: 0, at: Timestamp::UNIX_EPOCH },
            })
            .collect(),
        ..Kept::default()
    };
    let list = Allowlist::new(kept, &[], 0);
    let wanted = ENTRIES_MAX as usize + 1;
    assert_eq!(list.add(&[wish("192.0.2.1")], AUTHOR), Err(Refusal::Full { wanted }));
    assert!(list.add(&[wish("11.0.0.0")], AUTHOR).is_ok(), "one that is there already");
}

#[test]
fn the_kernel_gets_the_tag_and_a_rate_with_ten_seconds_burst() {
    let rate = config::Rate { count: 600, per: std::time::Duration::from_secs(60) };
    let allow = config::Allow { connect_rate: Some(rate), ..declared("10.0.0.0/8", Some("t"), 1) };
    let list = Allowlist::new(Kept::default(), &[allow], 0);
    let entry = list.entries().next().unwrap().for_kernel();
    assert_eq!(entry.tag, TagName::new("t"));
    assert_eq!(entry.rate, bucket::Rate::new(600, rate.per, 100));
}
