use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn store(folder: &Path) -> Store {
    Store::new(folder.join("allow.jsonl"), "allowlist", 1)
}

#[test]
fn what_was_saved_is_read_back_and_nothing_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    assert_eq!(store.load::<String>().unwrap(), None);
    for records in [vec![], vec!["one".to_owned()], vec!["a\nb".into(), "\"".into()]] {
        store.save(&records).unwrap();
        assert_eq!(store.load::<String>().unwrap(), Some(records));
    }
    let mode = fs::metadata(&store.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, MODE);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the file and its log alone");
}

#[test]
fn a_file_cut_at_any_byte_is_damaged_and_never_a_shorter_list() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    store.save(["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]).unwrap();
    let whole = fs::read(&store.path).unwrap();
    for length in 0..whole.len() {
        fs::write(&store.path, &whole[..length]).unwrap();
        let error = store.load::<String>().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "cut at {length}: {error}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    store.save(["10.0.0.0/8", "192.0.2.0/24"]).unwrap();
    let whole = fs::read(&store.path).unwrap();
    for place in 0..whole.len() {
        let mut text = whole.clone();
        text[place] ^= 1;
        fs::write(&store.path, &text).unwrap();
        assert!(store.load::<String>().is_err(), "byte {place}");
    }
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    store.save(["old"]).unwrap();
    let (text, _, _) = store.render(["new", "newer"]);
    for length in 0..=text.len() {
        fs::write(store.path.with_extension("new"), &text[..length]).unwrap();
        assert_eq!(store.load::<String>().unwrap(), Some(vec!["old".to_owned()]));
    }
    store.save(["newest"]).unwrap();
    assert_eq!(store.load::<String>().unwrap(), Some(vec!["newest".to_owned()]));
}

#[test]
fn a_damaged_file_is_set_aside_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    fs::write(&store.path, "half a li").unwrap();
    let why = store.load::<String>().unwrap_err();
    let aside = store.set_aside(&why, 1_000).unwrap();
    assert_eq!(fs::read_to_string(aside).unwrap(), "half a li");
    assert_eq!(store.load::<String>().unwrap(), None);
}

#[test]
fn a_file_of_a_later_version_or_another_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    Store::new(store.path.clone(), "allowlist", 2).save(["x"]).unwrap();
    assert!(matches!(store.load::<String>(), Err(StoreError::Version { found: 2, .. })));
    Store::new(store.path.clone(), "bans", 1).save(["x"]).unwrap();
    let error = store.load::<String>().unwrap_err().to_string();
    assert!(error.contains("it holds \"bans\", not allowlist"), "{error}");
}

fn owned(records: &[&str]) -> Vec<String> {
    records.iter().map(|record| (*record).to_owned()).collect()
}

#[test]
fn what_was_appended_is_read_behind_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    assert!(store.append(&["early"]).is_err(), "a log belongs to a file");
    store.save(["a"]).unwrap();
    store.append(&["b", "c"]).unwrap();
    store.append(&["d"]).unwrap();
    assert_eq!(store.load::<String>().unwrap(), Some(owned(&["a", "b", "c", "d"])));
    store.save(["e"]).unwrap();
    assert_eq!(store.load::<String>().unwrap(), Some(owned(&["e"])));
    store.append(&["f"]).unwrap();
    assert_eq!(store.load::<String>().unwrap(), Some(owned(&["e", "f"])));
    store.remove().unwrap();
    assert_eq!(store.load::<String>().unwrap(), None);
}

#[test]
fn a_log_cut_at_any_byte_has_lost_no_line_that_was_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    store.save(["a"]).unwrap();
    store.append(&["b"]).unwrap();
    let first = fs::read(store.log_path()).unwrap().len();
    store.append(&["c"]).unwrap();
    let whole = fs::read(store.log_path()).unwrap();
    for length in 0..=whole.len() {
        fs::write(store.log_path(), &whole[..length]).unwrap();
        let wanted: &[&str] = match length {
            _ if length == whole.len() => &["a", "b", "c"],
            _ if length >= first => &["a", "b"],
            _ => &["a"],
        };
        assert_eq!(store.load::<String>().unwrap(), Some(owned(wanted)), "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_or_a_missing_line_of_a_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    store.save(["a"]).unwrap();
    for record in ["b", "c", "d"] {
        store.append(&[record]).unwrap();
    }
    let whole = fs::read_to_string(store.log_path()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without_second = [lines[0], lines[2], lines[3], ""].join("\n");
    fs::write(store.log_path(), without_second).unwrap();
    let error = store.load::<String>().unwrap_err().to_string();
    assert!(error.contains("its log: the checksum of line 2"), "{error}");
    // The end of the last line is left out: without it the line does not count.
    for place in 0..whole.len() - 1 {
        let mut text = whole.clone().into_bytes();
        text[place] ^= 1;
        fs::write(store.log_path(), &text).unwrap();
        let read = store.load::<String>();
        assert!(
            read.is_err() || read.unwrap() != Some(owned(&["a", "b", "c", "d"])),
            "byte {place}"
        );
    }
}

#[test]
fn a_log_of_an_earlier_file_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    store.save(["a"]).unwrap();
    store.append(&["b"]).unwrap();
    let earlier = fs::read(store.log_path()).unwrap();
    store.save(["c"]).unwrap();
    // As if the process had ended between the rename and the new log.
    fs::write(store.log_path(), earlier).unwrap();
    assert_eq!(store.load::<String>().unwrap(), Some(owned(&["c"])));
}

#[test]
fn a_log_says_when_it_has_grown_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    assert!(store.is_long(), "nothing was saved yet");
    store.save(["a"]).unwrap();
    store.append(&vec!["b"; 1_000]).unwrap();
    assert!(!store.is_long());
    store.append(&["c"]).unwrap();
    assert!(store.is_long());
}
