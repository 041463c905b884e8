//! The history as its users see it, on a real folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::files::NotWritten;
use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: u64 = 1 << 20;

fn config(folder: &tempfile::TempDir, keep: Duration, size_bytes: u64) -> config::History {
    config::History { path: folder.path().join("history"), keep, size_bytes }
}

fn open(config: &config::History) -> History {
    History::open(config, |event| panic!("{event:?}")).unwrap()
}

fn id_of(time: Timestamp) -> MessageId {
    MessageId(u64::try_from(time.as_microsecond()).unwrap())
}

fn read(uid: u32) -> Fact {
    Fact::Read { uid }
}

async fn facts(history: &History, id: MessageId) -> Vec<Fact> {
    let (mut facts, mut from) = (Vec::new(), None);
    loop {
        let found = history.search(id, from).await.unwrap().unwrap();
        facts.extend(found.lines.into_iter().map(|line| line.fact));
        match found.next {
            Some(next) => from = Some(next),
            None => return facts,
        }
    }
}

#[tokio::test]
async fn what_was_entered_about_a_message_is_found_in_its_order_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 14 * DAY, 64 * MIB);
    let history = open(&config);
    let (one, other) = (id_of(Timestamp::now()), MessageId(7));
    history.enter(one, read(1));
    history.enter(other, read(2));
    history.enter(one, read(3));
    assert_eq!(facts(&history, one).await, [read(1), read(3)]);
    drop(history);
    let history = open(&config);
    history.enter(one, read(4));
    assert_eq!(facts(&history, one).await, [read(1), read(3), read(4)], "after a restart");
    let folder_mode = fs::metadata(&config.path).unwrap().permissions().mode();
    assert_eq!(folder_mode & 0o777, 0o700);
    for file in fs::read_dir(&config.path).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_line_that_a_later_version_wrote_is_counted_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 14 * DAY, 64 * MIB);
    let (history, id) = (open(&config), id_of(Timestamp::now()));
    history.enter(id, read(1));
    assert_eq!(history.search(id, None).await.unwrap().unwrap().unread, 0);
    drop(history);
    let file = fs::read_dir(&config.path).unwrap().next().unwrap().unwrap().path();
    let later =
        format!("{{\"id\":\"{id}\",\"at\":\"2026-01-01T00:00:00Z\",\"fact\":\"taught\"}}\n");
    let text = fs::read_to_string(&file).unwrap() + &later;
    fs::write(&file, &text).unwrap();
    let history = open(&config);
    let found = history.search(id, None).await.unwrap().unwrap();
    assert_eq!((found.lines.len(), found.unread), (1, 1));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn no_days_keep_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, Duration::ZERO, 64 * MIB);
    let history = open(&config);
    history.enter(MessageId(1), read(1));
    assert!(!history.is_wanted());
    assert!(history.search(MessageId(1), None).await.is_none());
    assert!(!config.path.exists());
}

#[test]
fn a_search_takes_slices_and_finds_every_line_once() {
    let folder = tempfile::tempdir().unwrap();
    let id = MessageId(1 << 50);
    let made = Timestamp::from_microsecond(1 << 50).unwrap();
    // Enough for two slices, in two files; what others wrote between is passed over.
    let mut expected = Vec::new();
    for (number, day) in [made, made.saturating_add(DAY).unwrap()].into_iter().enumerate() {
        let mut text = String::new();
        for line in 0..40_u32 {
            let uid = line + 100 * number as u32;
            let fact = read(uid);
            expected.push(fact.clone());
            text.push_str(&serde_json::to_string(&Line { id: Some(id), at: day, fact }).unwrap());
            text.push('\n');
            text.push_str(&"x".repeat(1 << 20));
            text.push('\n');
        }
        fs::write(folder.path().join(day::Day::of(day).file_name()), text).unwrap();
    }
    fs::write(folder.path().join("2030-01-01.jsonl"), "{\"id\":\"").unwrap();
    let (mut found, mut from, mut slices) = (Vec::new(), None, 0);
    loop {
        let slice = search(folder.path(), id, from).unwrap();
        found.extend(slice.lines.into_iter().map(|line| line.fact));
        slices += 1;
        from = slice.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
    assert_eq!(slices, 2);
}

fn lengths(config: &config::History) -> Vec<(String, u64)> {
    let mut found: Vec<_> = fs::read_dir(&config.path)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()))
        .collect();
    found.sort();
    found
}

#[test]
fn days_have_files_of_their_own_and_leave_by_age_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 2 * DAY, 100);
    let at = |day: u32| -> Timestamp { format!("2100-01-{day:02}T12:00:00Z").parse().unwrap() };
    let mut files = Files::open(config.clone()).unwrap();
    let today = day::Day::of(Timestamp::now()).file_name();
    let line = [b"x".repeat(39), b"\n".to_vec()].concat();
    files.append(&line, at(1)).unwrap();
    assert!(!config.path.join(today).exists(), "more than two days are between");
    files.append(&line, at(2)).unwrap();
    let names = |config| lengths(config).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&config), ["2100-01-01.jsonl", "2100-01-02.jsonl"]);
    // 120 octets are too many: the oldest day goes.
    files.append(&line, at(3)).unwrap();
    assert_eq!(names(&config), ["2100-01-02.jsonl", "2100-01-03.jsonl"]);
    // A day takes no more than half of all.
    let full = files.append(&line, at(3)).unwrap_err();
    assert!(matches!(full, NotWritten::NoRoom), "{full}");
    files.append(&line, at(5)).unwrap();
    assert_eq!(names(&config), ["2100-01-03.jsonl", "2100-01-05.jsonl"]);
}

#[test]
fn a_line_that_a_crash_cut_off_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 2 * DAY, 1000);
    let at: Timestamp = "2100-01-01T12:00:00Z".parse().unwrap();
    Files::open(config.clone()).unwrap().append(b"{\"id\":\"cut", at).unwrap();
    Files::open(config.clone()).unwrap().append(b"whole\n", at).unwrap();
    let text = fs::read_to_string(config.path.join("2100-01-01.jsonl")).unwrap();
    assert_eq!(text, "{\"id\":\"cut\nwhole\n");
}
