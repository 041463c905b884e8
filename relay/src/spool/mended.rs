//! Damaged logs, looked at and mended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::damage::{reopen, scenario};
use super::disk::{Disk, Use};
use super::samples::envelope;
use super::segment::{START, SegmentId};
use super::simulation::SETTINGS;
use super::*;

/// A spool in a folder of its own with four messages; the third has parts of its own.
struct Home {
    folder: tempfile::TempDir,
    messages: BTreeMap<MessageId, Vec<u8>>,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut home = Self { folder, messages: BTreeMap::new() };
        let spool = home.open();
        for body in
            [b"first".to_vec(), b"second".to_vec(), vec![b'3'; 2 * PART + 9], b"last".to_vec()]
        {
            let mut draft = spool.draft(envelope("a")).unwrap();
            draft.append(&body).await;
            home.messages.insert(draft.commit().await.unwrap(), body);
        }
        home
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn open(&self) -> Spool {
        let config = config::Spool { path: self.path(), reserve_bytes: 0, messages: 1000 };
        Spool::open(&config, |event| panic!("{event:?}")).unwrap()
    }

    /// Changes the log's one file.
    fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.path().join("00000001.log");
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    }

    /// Reads every message that is due.
    async fn read_all(&self) -> BTreeMap<MessageId, Vec<u8>> {
        let spool = self.open();
        let mut read = BTreeMap::new();
        for _ in 0..spool.status().unwrap().messages {
            let claim = spool.claim().await;
            let (mut reader, mut body) = (claim.body(), Vec::new());
            while let Some(chunk) = reader.read_chunk().await.unwrap() {
                body.extend(chunk);
            }
            read.insert(claim.id(), body);
        }
        read
    }
}

fn place(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).position(|octets| octets == of).unwrap()
}

/// Every octet of a file is head, sound, dead or damaged.
fn check_sums(report: &Report, path: &Path) {
    for segment in &report.segments {
        let size = std::fs::metadata(path.join(&segment.file)).unwrap().len();
        let Segment { sound_bytes, dead_bytes, damaged_bytes, .. } = segment;
        assert_eq!(u64::from(START) + sound_bytes + dead_bytes + damaged_bytes, size, "{report:?}");
    }
}

#[tokio::test]
async fn a_sound_spool_is_called_so_also_while_it_is_in_use_and_mending_leaves_it() {
    let home = Home::new().await;
    let spool = home.open();
    let report = check(&home.path()).unwrap();
    assert!(report.in_use && report.is_sound(), "{report:?}");
    assert_eq!(mend(&home.path()).unwrap_err(), StoreError::Locked);
    spool.remove(*home.messages.keys().next().unwrap()).await.unwrap();
    drop(spool);
    let report = check(&home.path()).unwrap();
    assert!(!report.in_use && report.is_sound(), "{report:?}");
    assert_eq!(report.messages, 3);
    assert!(report.segments.last().unwrap().dead_bytes > 0, "the tombstone");
    check_sums(&report, &home.path());
    let mended = mend(&home.path()).unwrap();
    assert_eq!((&mended.before, &mended.after), (&report, &report));
    let nowhere = home.folder.path().join("nowhere");
    assert!(matches!(check(&nowhere), Err(StoreError::Failed(_))));
    assert!(matches!(mend(&nowhere), Err(StoreError::Failed(_))));
    assert!(!nowhere.exists(), "nothing is made where nothing is");
}

#[tokio::test]
async fn damage_costs_what_it_hit_and_mending_keeps_everything_else() {
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change, &[usize]); 7] = [
        (
            "an octet of the first body",
            |b| {
                let at = place(b, b"first");
                b[at] ^= 1;
            },
            &[0],
        ),
        (
            "an octet of the second envelope",
            |b| {
                let at = place(b, b"second");
                b[at - 20] ^= 1;
            },
            &[1],
        ),
        (
            "an octet of a part",
            |b| {
                let at = place(b, &[b'3'; 64]);
                b[at + 1000] ^= 1;
            },
            &[2],
        ),
        (
            "two messages",
            |b| {
                for of in [&b"first"[..], b"last"] {
                    let at = place(b, of);
                    b[at] ^= 1;
                }
            },
            &[0, 3],
        ),
        ("the first copy of the head", |b| b[20] ^= 1, &[]),
        ("the second copy of the head", |b| b[512 + 20] ^= 1, &[]),
        (
            "a stretch over a part and its neighbours",
            |b| {
                let at = place(b, &[b'3'; 64]);
                b[at - 56..at + 5000].fill(0);
            },
            &[2],
        ),
    ];
    for (row, change, hit) in rows {
        let home = Home::new().await;
        home.damage(change);
        let lost: Vec<_> =
            hit.iter().map(|place| *home.messages.keys().nth(*place).unwrap()).collect();
        let before = check(&home.path()).unwrap();
        assert_eq!((before.is_sound(), &before.damaged), (false, &lost), "{row}: {before:?}");
        check_sums(&before, &home.path());
        let mended = mend(&home.path()).unwrap();
        assert_eq!(mended.before, before, "{row}: looking changed nothing");
        assert!(mended.after.is_sound(), "{row}: {mended:?}");
        assert_eq!(mended.given_up.iter().map(|gone| gone.id).collect::<Vec<_>>(), lost, "{row}");
        assert_eq!(before.segments[0].heads, if hit.is_empty() { 1 } else { 2 }, "{row}");
        assert!(mended.after.set_aside.contains(&"00000001.damaged".to_owned()), "{row}");
        let mut expected = home.messages.clone();
        expected.retain(|id, _| !lost.contains(id));
        assert!(home.read_all().await == expected, "{row}: what was sound is there");
        assert!(mend(&home.path()).unwrap().given_up.is_empty(), "{row}: twice");
    }
}

#[tokio::test]
async fn what_is_left_of_a_message_is_kept_in_a_file() {
    let home = Home::new().await;
    home.damage(|bytes| {
        let at = place(bytes, &[b'3'; 64]);
        bytes[at] ^= 1;
    });
    let gone = mend(&home.path()).unwrap().given_up.remove(0);
    let left = std::fs::read(home.path().join(&gone.file)).unwrap();
    assert_eq!(gone.file, format!("{}.damaged", gone.id));
    place(&left, b"a@example.com");
    assert!((PART..2 * PART).contains(&left.len()), "one part of two: {}", left.len());
}

#[tokio::test]
async fn a_file_whose_head_is_lost_is_set_aside_whole() {
    let home = Home::new().await;
    home.damage(|bytes| bytes[..START as usize].fill(0));
    let report = check(&home.path()).unwrap();
    assert_eq!((report.is_sound(), report.faults.len(), report.messages), (false, 1, 0));
    assert!(home.path().join("00000001.log").exists(), "looking changes nothing");
    let mended = mend(&home.path()).unwrap();
    assert_eq!(mended.after.set_aside, ["00000001.damaged"]);
    assert!(mended.after.is_sound());
}

#[test]
fn whatever_octet_changes_mending_loses_no_sound_message() {
    let (model, _) = scenario();
    let name = SegmentId(1).file_name();
    let whole = model.disk.seen(&name);
    let mut given_up = 0;
    for place in (0..whole.len()).step_by(5) {
        let disk = model.disk.copy();
        let mut bytes = whole.clone();
        bytes[place] ^= 0x41;
        disk.overwrite(&name, &bytes);
        let sound = reopen(&disk.copy()).sound;
        let mended = mend::mend_on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), SETTINGS).unwrap();
        assert!(mended.after.is_sound(), "octet {place}: {mended:?}");
        given_up += mended.given_up.len();
        let after = reopen(&disk);
        assert!(!after.is_named, "octet {place} was mended");
        assert!(after.sound == sound, "octet {place}");
    }
    assert!(given_up > 100, "{given_up}");
}

#[test]
fn a_rescue_that_was_broken_off_is_made_anew_and_whole() {
    let (model, _) = scenario();
    let log = SegmentId(1).file_name();
    let mut bytes = model.disk.seen(&log);
    let at = place(&bytes, &model.promised[&MessageId(3)].0[..64]);
    bytes[at] ^= 1;
    model.disk.overwrite(&log, &bytes);
    let mend_on = |disk: &simulated::Simulated| {
        mend::mend_on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), SETTINGS)
    };
    let whole = model.disk.copy();
    let file = mend_on(&whole).unwrap().given_up.remove(0).file;
    let (expected, mut broken_off) = (whole.seen(&file), 0);
    for operations in 0..200 {
        let disk = model.disk.copy();
        disk.fail_power_in(operations);
        broken_off += usize::from(mend_on(&disk).is_err());
        let disk = disk.restart();
        assert!(mend_on(&disk).unwrap().after.is_sound(), "{operations}");
        assert!(disk.seen(&file) == expected, "after {operations} operations");
    }
    assert!((5..200).contains(&broken_off), "{broken_off}");
}

#[test]
fn a_log_that_is_being_written_is_no_damaged_one() {
    let (mut model, _) = scenario();
    let mut dice = simulated::Dice(5);
    for _ in 0..20 {
        let order = model.put(300, &mut dice).unwrap();
        model.run(vec![order]);
        // The last write may be seen in part.
        let active = model.committer.active.as_ref().unwrap();
        let (name, confirmed) = (active.id.file_name(), active.confirmed as usize);
        let disk = model.disk.copy();
        let mut bytes = model.disk.seen(&name);
        bytes.truncate(confirmed);
        bytes.extend_from_slice(&[0; 90]);
        disk.overwrite(&name, &bytes);
        let report = check::check_on(Arc::new(disk), Use::Other).unwrap();
        assert_eq!((report.is_sound(), report.messages), (true, model.promised.len()));
    }
}
