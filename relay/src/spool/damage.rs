//! The log with octets cut off or changed, at every place of a small scenario.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Disk;
use super::label::{Label, Stay};
use super::order::Order;
use super::record::{HEADER, Header, Kind};
use super::segment::{Depth, Found, Head, START, Scan, SegmentId};
use super::simulated::{Dice, Simulated};
use super::simulation::{Known, Model, start, stay};
use super::*;

/// What was promised when the log had grown this far.
type Promises = BTreeMap<(SegmentId, u32), BTreeMap<MessageId, Known>>;

/// Fills a log with messages long and short, states and tombstones; closes it in order.
pub(super) fn scenario() -> (Model, Promises) {
    let mut dice = Dice(11);
    let mut model = Model::new(Simulated::new(11));
    let mut promises = Promises::new();
    for (length, settled) in [(0, None), (90, None), (450, Some(1)), (10, None), (300, Some(2))] {
        for step in [None, settled] {
            let order = match step {
                None => model.put(length, &mut dice).unwrap(),
                Some(id) => model.settle(MessageId(id), (id == 2).then_some(Stay::Held)),
            };
            model.run(vec![order]);
            let active = model.committer.active.as_ref().unwrap();
            promises.insert((active.id, active.end), model.promised.clone());
        }
    }
    // All were confirmed: the mark at the end has no list, of which damage would not be named.
    *model.committer.shared.repeats() = Repeats::default();
    model.committer.mark();
    (model, promises)
}

/// What can be read after damage, and whether damage was named.
pub(super) struct Outcome {
    pub sound: BTreeMap<MessageId, Known>,
    pub is_named: bool,
}

pub(super) fn reopen(disk: &Simulated) -> Outcome {
    let (committer, events) = start(disk);
    let mut is_named = !events.lock().unwrap().is_empty();
    let shared = &committer.shared;
    let ids: Vec<_> = shared.index().entries.keys().copied().collect();
    let mut sound = BTreeMap::new();
    for id in ids {
        let entry = shared.index().entries[&id].clone();
        let read = |location: segment::Location| {
            let (file, marker) = shared.index().file(&*shared.disk, location.segment).unwrap();
            segment::read(file.as_ref(), marker, location).map(|(_, payload)| payload)
        };
        let body = || {
            let mut body = Vec::new();
            for part in &entry.parts {
                body.extend(read(*part)?);
            }
            let payload = read(entry.message)?;
            body.extend(&payload[content::decode_message(&payload)?.1..]);
            entry.state.map(read).transpose()?;
            Ok::<_, StoreError>(body)
        };
        match body() {
            Ok(body) if entry.turn != index::Turn::Damaged => {
                sound.insert(id, (body, entry.attempts, stay(entry.turn)));
            }
            Ok(_) | Err(StoreError::Damaged(_)) => is_named = true,
            Err(problem) => panic!("{problem}"),
        }
    }
    Outcome { sound, is_named }
}

#[test]
fn what_was_asked_for_before_the_spool_closes_is_written() {
    let mut model = Model::new(Simulated::new(4));
    let order = model.put(10, &mut Dice(4)).unwrap();
    model.run(vec![order]);
    // One more than the writer takes at a time: the outcome comes last.
    let (orders, commands) = mpsc::channel(2 * order::QUEUE);
    for _ in 0..order::QUEUE {
        orders.try_send(Command::Look).unwrap();
    }
    let (outcome, _waiting) = model.settle(MessageId(1), None);
    orders.try_send(Command::Write(outcome)).unwrap();
    model.committer.shared.is_closing.store(true, Ordering::Release);
    let Model { committer, disk, .. } = model;
    committer.run(commands);
    assert!(reopen(&disk).sound.is_empty(), "it was delivered");
}

#[test]
fn a_log_cut_off_anywhere_holds_what_was_flushed_before_and_nothing_half() {
    let (model, promises) = scenario();
    let last = model.committer.active.as_ref().unwrap().id;
    let whole = model.disk.seen(&last.file_name());
    assert_eq!(last, SegmentId(1), "the scenario fits into one segment");
    let every: BTreeMap<_, _> = promises.values().flatten().collect();
    for cut in 0..=whole.len() {
        let disk = model.disk.copy();
        disk.overwrite(&last.file_name(), &whole[..cut]);
        let found = reopen(&disk).sound;
        let flushed = promises.range(..=(last, cut as u32)).next_back();
        let expected = flushed.map(|(_, promised)| promised.clone()).unwrap_or_default();
        for (id, known) in &expected {
            let (body, attempts, _) = &found[id];
            assert!(*body == known.0 && *attempts >= known.1, "{id} cut at {cut}");
        }
        for (id, (body, ..)) in &found {
            assert!(promises.values().any(|p| p.get(id).is_some_and(|k| k.0 == *body)), "{id}");
        }
        let surplus: BTreeSet<_> = found.keys().filter(|id| !expected.contains_key(id)).collect();
        assert!(surplus.len() <= 1, "only the message under way may be there: {surplus:?}");
    }
    assert!(every.len() >= 5);
}

#[test]
fn every_octet_that_changes_is_named_or_does_no_harm() {
    let (model, _) = scenario();
    let name = SegmentId(1).file_name();
    let whole = model.disk.seen(&name);
    let mut named = 0;
    for place in 0..whole.len() {
        let disk = model.disk.copy();
        let mut bytes = whole.clone();
        bytes[place] ^= 0x41;
        disk.overwrite(&name, &bytes);
        let after = reopen(&disk);
        assert!(after.is_named || after.sound == model.promised, "octet {place}");
        named += usize::from(after.is_named);
        for (id, (body, ..)) in &after.sound {
            if let Some(known) = model.promised.get(id) {
                assert!(*body == known.0, "{id} is read wrong, octet {place}");
            }
        }
        let lost = model.promised.keys().filter(|id| !after.sound.contains_key(id)).count();
        assert!(lost <= 1, "one octet costs one message, not {lost}");
    }
    assert!(named > whole.len() - START as usize - 2 * HEADER, "{named} of {}", whole.len());
}

#[test]
fn a_message_whose_last_state_is_damaged_is_set_aside_and_not_sent_again() {
    for (row, is_last) in [("the last state", true), ("a state before it", false)] {
        let mut model = Model::new(Simulated::new(6));
        let order = model.put(10, &mut Dice(6)).unwrap();
        model.run(vec![order]);
        for stay in [Stay::Waiting, Stay::Held] {
            let order = model.settle(MessageId(1), Some(stay));
            model.run(vec![order]);
        }
        model.committer.mark();
        let name = SegmentId(1).file_name();
        let mut bytes = model.disk.seen(&name);
        let mut states = bytes.windows(40).map(|octets| octets == [b'x'; 40]);
        let place = if is_last { states.rposition(|is| is) } else { states.position(|is| is) };
        bytes[place.unwrap()] ^= 1;
        model.disk.overwrite(&name, &bytes);
        let after = reopen(&model.disk);
        assert!(after.is_named, "{row}");
        let expected = if is_last { BTreeMap::new() } else { model.promised.clone() };
        assert!(after.sound == expected, "{row}");
        let disk: Arc<dyn Disk> = Arc::new(model.disk.clone());
        let mended = mend::mend_on(&disk, simulation::SETTINGS).unwrap();
        assert_eq!(mended.given_up.len(), usize::from(is_last), "{row}: {mended:?}");
        assert_eq!(mended.after.messages, usize::from(!is_last), "{row}");
    }
}

#[test]
fn a_record_inside_a_body_is_not_found_when_the_header_before_it_is_damaged() {
    let mut model = Model::new(Simulated::new(3));
    let forged = Header {
        id: MessageId(666),
        kind: Kind::Message {
            parts: 0,
            size_bytes: 0,
            accepted_at: 0,
            delay_s: 0,
            label: Label::default(),
        },
        length: 0,
        payload_crc: 0,
        confirmed: 0,
    };
    let (mut order, waiting) = model.put(0, &mut Dice(1)).unwrap();
    order.payload.extend(forged.encode(*b"guessing"));
    order = Order::new(order.id, order.what, order.payload);
    model.commit(vec![order]);
    drop(waiting);
    let name = SegmentId(1).file_name();
    let mut bytes = model.disk.seen(&name);
    bytes[START as usize + 20] ^= 1;
    let head = Head::decode(&bytes, SegmentId(1)).unwrap().unwrap();
    let end = bytes.len() as u32;
    model.disk.overwrite(&name, &bytes);
    let mut scan = Scan::new(model.disk.open(&name).unwrap(), SegmentId(1), head.marker, end);
    let found = scan.next(Depth::Payloads).unwrap().unwrap();
    let Found::Damage { offset, length, .. } = found else { panic!("{found:?}") };
    assert_eq!((offset, offset + length), (START, end));
    assert_eq!(scan.next(Depth::Payloads).unwrap(), None);
}

#[test]
fn reading_goes_on_behind_a_damaged_header() {
    let (model, _) = scenario();
    let name = SegmentId(1).file_name();
    let mut bytes = model.disk.seen(&name);
    bytes[START as usize + 8] ^= 0x55;
    model.disk.overwrite(&name, &bytes);
    let after = reopen(&model.disk);
    assert!(after.is_named);
    let found: Vec<_> = after.sound.keys().copied().collect();
    let others: Vec<_> = model.promised.keys().copied().filter(|id| *id != MessageId(1)).collect();
    assert_eq!(found, others);
}

#[test]
fn a_page_that_the_disk_cannot_read_costs_what_lies_in_it() {
    let mut model = Model::new(Simulated::new(5));
    for _ in 0..8 {
        let order = model.put(3000, &mut Dice(5)).unwrap();
        model.run(vec![order]);
    }
    let active = model.committer.active.as_ref().unwrap();
    let (name, end) = (active.id.file_name(), u64::from(active.end));
    for page in 1..end / 4096 {
        let disk = model.disk.copy();
        let bad = page * 4096..(page + 1) * 4096;
        disk.wear_out(&name, bad.clone());
        let after = reopen(&disk);
        assert!(after.is_named, "page {page}");
        let index = model.committer.shared.index();
        let whole = index.entries.iter().filter(|(_, entry)| {
            let lies = |location: segment::Location| {
                let begin = u64::from(location.offset);
                begin >= bad.end || begin + u64::from(location.length) <= bad.start
            };
            entry.locations().all(lies)
        });
        let whole: Vec<_> = whole.map(|(id, _)| *id).collect();
        assert!(whole.len() >= 5, "page {page}: {whole:?}");
        assert_eq!(after.sound.into_keys().collect::<Vec<_>>(), whole, "page {page}");
    }
}

#[test]
fn a_spool_of_a_newer_program_is_left_alone() {
    let disk = Simulated::new(1);
    let (number, before) = (SegmentId(1), SegmentId(0));
    let head =
        Head { number, marker: [7; 8], next_id: 1, before, confirmed_before: 0, repeats_bytes: 0 };
    let mut bytes = head.encode().to_vec();
    for copy in [0, 512] {
        bytes[copy + 8] = 9;
        let crc = crc32c::crc32c(&bytes[copy..copy + 60]);
        bytes[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
    }
    drop(disk.create(&number.file_name()).unwrap());
    disk.overwrite(&number.file_name(), &bytes);
    let settings = simulation::SETTINGS;
    let refused = recovered(Arc::new(disk.clone()), settings, |_| {}).unwrap_err();
    let file = number.file_name();
    assert_eq!(refused, StoreError::Newer { file, found: 9 });
    assert!(
        refused
            .to_string()
            .starts_with("00000001.log: written in format 9, this program reads up to 2")
    );
    assert_eq!(disk.seen(&number.file_name()), bytes);
}
