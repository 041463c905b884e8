//! Reads the log when the spool is opened: what was promised is found, what is half is nothing,
//! what is damaged is named and passed over.
//!
//! A torn end is normal after a crash. Damage is told from it by what was confirmed: every record
//! and every head says up to where the log had been flushed when it was written.
//!
//! What is read may lie in the page cache only: the process before may have been killed between a
//! write and its flush. It is flushed before anything is built on it, since the segment that a
//! copy was made from goes as soon as the copy is known.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::event::Event;
use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::ahead::{Ahead, Segment};
use crate::spool::batch::Promise;
use crate::spool::disk::Disk;
use crate::spool::found::{Care, Fault, Recovered, Sums};
use crate::spool::harm::Harm;
use crate::spool::index::{Entry, Index, Standing, Tally, Turn};
use crate::spool::label::{Label, Stay};
use crate::spool::recall::Recall;
use crate::spool::record::{Header, Kind};
use crate::spool::segment::{Found, HEADS, Head, Location, START, SegmentId};

/// The most damaged stretches that are named one by one.
const NAMED: usize = 64;

/// Reads all segments of `disk`.
///
/// # Errors
///
/// [`StoreError::Newer`]; [`StoreError::Failed`] if the disk cannot be read at all.
pub fn recover(disk: &dyn Disk, segment_bytes: u32, care: Care) -> Result<Recovered, StoreError> {
    let names = disk.list().map_err(StoreError::reading)?;
    let numbers = names.iter().filter_map(|name| SegmentId::of_any(name));
    let next_segment = SegmentId(numbers.max().map_or(0, |highest| highest.0) + 1);
    let mut segments: Vec<_> = names.iter().filter_map(|name| SegmentId::of_file(name)).collect();
    segments.sort_unstable();
    let mut replay = Replay::new(segment_bytes);
    let mut found = Vec::with_capacity(segments.len());
    for number in segments {
        found.extend(replay.open(disk, number)?);
    }
    let confirmed: HashMap<_, _> =
        found.iter().map(|segment| (segment.head.before, segment.head.confirmed_before)).collect();
    for segment in &mut found {
        segment.confirm(confirmed.get(&segment.head.number).copied());
    }
    std::thread::scope(|scope| {
        let mut ahead = Ahead::of(&found, care, scope).map_err(StoreError::reading)?;
        found.into_iter().try_for_each(|segment| replay.take_segment(segment, &mut ahead))
    })?;
    Ok(replay.finish(disk, next_segment))
}

/// The state of one message, apart from its content: records of one message may come in any
/// order, since copies move to the end of the log.
#[derive(Clone, Copy)]
struct State {
    location: Location,
    pending: u32,
    attempts: u32,
    due_at: i64,
    stay: Stay,
}

/// A stretch that failed its check.
struct Damage {
    offset: u32,
    length: u32,
    problem: &'static str,
    header: Option<Header>,
}

struct Replay {
    index: Index,
    messages: BTreeMap<MessageId, Entry>,
    states: HashMap<MessageId, State>,
    /// Where the last state record of a message lies that failed its check.
    lost_states: HashMap<MessageId, (SegmentId, u32)>,
    parts: HashMap<MessageId, BTreeMap<u32, Location>>,
    /// The lowest segment with any record of a message, stale copies included, of those of which the record
    /// with the envelope was not seen yet: its tombstone must outlive them all.
    firsts: HashMap<MessageId, SegmentId>,
    /// Up to where each segment is known to have been flushed.
    confirmed: HashMap<SegmentId, u32>,
    recall: Recall,
    last_id: u64,
    before: (SegmentId, u32),
    events: Vec<Event>,
    faults: Vec<Fault>,
    unnamed: usize,
    sums: BTreeMap<SegmentId, Sums>,
}

impl Replay {
    fn new(segment_bytes: u32) -> Self {
        Self {
            index: Index::new(segment_bytes),
            messages: BTreeMap::new(),
            states: HashMap::new(),
            lost_states: HashMap::new(),
            parts: HashMap::new(),
            firsts: HashMap::new(),
            confirmed: HashMap::new(),
            recall: Recall::default(),
            last_id: 0,
            before: (SegmentId(0), 0),
            events: Vec::new(),
            faults: Vec::new(),
            unnamed: 0,
            sums: BTreeMap::new(),
        }
    }

    /// Opens a segment; none if there is nothing in it.
    fn open(&mut self, disk: &dyn Disk, number: SegmentId) -> Result<Option<Segment>, StoreError> {
        let name = number.file_name();
        let file = disk.open(&name).map_err(StoreError::reading)?;
        let size = file.size().map_err(StoreError::reading)?;
        let mut bytes = vec![0; size.min(START.into()) as usize];
        file.read_at(&mut bytes, 0).map_err(StoreError::reading)?;
        if let Some(head) = Head::decode(&bytes, number)? {
            self.last_id = self.last_id.max(head.next_id.saturating_sub(1));
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            // What is no longer than its head may have been torn with it, and nothing was promised in it.
            let heads = if size > START { head.copies(&bytes) } else { HEADS };
            return Ok(Some(Segment { heads, ..Segment::new(head, file, size) }));
        }
        if size > START.into() {
            let problem = "no copy of its head passes the check: it can only be set aside whole";
            self.damage(Harm::Head(number), name.clone(), problem.to_owned(), None);
            disk.rename(&name, &number.damaged_name()).map_err(StoreError::reading)?;
        } else {
            // The head is flushed before the first record: nothing was ever promised here.
            disk.remove(&name).map_err(StoreError::reading)?;
        }
        Ok(None)
    }

    /// Takes in all records of a segment.
    fn take_segment(&mut self, segment: Segment, ahead: &mut Ahead) -> Result<(), StoreError> {
        let Segment { head, heads, file: _, size, confirmed, flushed } = segment;
        let mut confirmed = confirmed.unwrap_or(0);
        let mut tally = Tally::new(head.marker, Standing::Sealed, START);
        let mut sums = Sums { heads, ..Sums::default() };
        let (mut damages, mut buried) = (Vec::new(), HashSet::new());
        if head.repeats_bytes == 0 {
            self.recall.begin(None);
        }
        self.index.segments.insert(head.number, Tally::new(head.marker, Standing::Sealed, START));
        while let Some(found) = ahead.next()? {
            match found {
                Found::Record(location, header) => {
                    confirmed = confirmed.max(header.confirmed);
                    tally.size_bytes = location.offset + location.length;
                    sums.records += u64::from(location.length);
                    if let Kind::Tombstone { first, last } = header.kind {
                        tally.bury(first, last);
                        buried.insert(header.id);
                    }
                    self.take_record(location, &header);
                }
                Found::Damage { offset, length, problem, header } => {
                    damages.push(Damage { offset, length, problem, header });
                }
            }
        }
        let torn = damages.iter().map(|damage| damage.offset).find(|offset| *offset >= confirmed);
        let sound = if flushed.is_ok() { torn.unwrap_or(tally.size_bytes) } else { confirmed };
        self.before = (head.number, sound.min(size));
        self.confirmed.insert(head.number, confirmed);
        damages.retain(|damage| damage.offset < confirmed);
        if size < confirmed && damages.is_empty() {
            let (offset, length) = (size, confirmed - size);
            damages.push(Damage { offset, length, problem: "cut off", header: None });
        }
        if let Err(problem) = flushed {
            tally.standing = Standing::Failed;
            let problem = format!("{}: {problem}; copying it on", head.number.file_name());
            self.events.push(Event::Trouble { room: "spool", problem });
        }
        if !damages.is_empty() || heads < HEADS {
            tally.standing = Standing::Damaged;
        }
        if heads < HEADS {
            let problem = "one of the two copies of its head fails the check".to_owned();
            self.damage(Harm::HeadCopy, head.number.file_name(), problem, None);
        }
        for damage in damages {
            sums.damaged += u64::from(damage.length);
            sums.lost += self.take_damage(head.number, damage, &buried);
        }
        self.sums.insert(head.number, sums);
        self.index.segments.insert(head.number, tally);
        Ok(())
    }

    fn take_record(&mut self, location: Location, header: &Header) {
        let id = header.id;
        self.last_id = self.last_id.max(id.0);
        match header.kind {
            Kind::Part { number } => {
                self.note_first(id, location.segment);
                self.parts.entry(id).or_default().insert(number, location);
            }
            Kind::Message { .. } => {
                let mut entry = entry(location, header);
                self.recall.message(id, location, entry.accepted_at);
                match self.messages.entry(id) {
                    Occupied(mut old) => old.get_mut().message = location,
                    Vacant(place) => {
                        entry.first = self.firsts.remove(&id).unwrap_or(location.segment);
                        place.insert(entry);
                    }
                }
            }
            Kind::State { pending, attempts, due_at, stay } => {
                self.note_first(id, location.segment);
                self.states.insert(id, State { location, pending, attempts, due_at, stay });
            }
            Kind::Tombstone { .. } => {
                self.recall.bury(id, promise(header));
                self.messages.remove(&id);
                self.states.remove(&id);
                self.parts.remove(&id);
                self.firsts.remove(&id);
            }
            Kind::Mark => self.recall.begin((header.length > 0).then_some(location)),
        }
    }

    /// Notes that a record of a message lies in `segment`: segments come in order.
    fn note_first(&mut self, id: MessageId, segment: SegmentId) {
        if !self.messages.contains_key(&id) {
            self.firsts.entry(id).or_insert(segment);
        }
    }

    /// Names a damaged stretch. A message whose content failed its check is kept, set aside: returns
    /// the octets of its record. So is one whose state did, unless a later one is found: it would be sent
    /// again to those who have it, though it may be held.
    fn take_damage(
        &mut self,
        segment: SegmentId,
        damage: Damage,
        buried: &HashSet<MessageId>,
    ) -> u64 {
        let Damage { offset, length, problem, header } = damage;
        let mut problem = format!("{length} octets at {offset}: {problem}");
        let (mut lost_bytes, mut message) = (0, None);
        if let Some(header) = header.filter(|header| !buried.contains(&header.id)) {
            message = Some(header.id);
            problem = format!("{problem} (message {})", header.id);
            self.last_id = self.last_id.max(header.id.0);
            if matches!(header.kind, Kind::Message { .. }) {
                let location = Location { segment, offset, length };
                if let Vacant(place) = self.messages.entry(header.id) {
                    let first = self.firsts.remove(&header.id).unwrap_or(segment);
                    let turn = Turn::Damaged;
                    place.insert(Entry { first, turn, ..entry(location, &header) });
                    lost_bytes = u64::from(length);
                }
            }
            if matches!(header.kind, Kind::State { .. }) {
                self.lost_states.insert(header.id, (segment, offset));
            }
        }
        self.damage(Harm::Stretch, segment.file_name(), problem, message);
        lost_bytes
    }

    fn damage(&mut self, harm: Harm, place: String, problem: String, message: Option<MessageId>) {
        if self.faults.len() < NAMED {
            self.events.push(harm.event(place.clone(), problem.clone()));
            self.faults.push(Fault { place, problem, message });
        } else {
            self.unnamed += 1;
        }
    }

    fn is_confirmed(&self, location: Location) -> bool {
        self.confirmed.get(&location.segment).is_some_and(|end| location.offset < *end)
    }

    /// Puts the records of each message together and counts what counts.
    fn finish(mut self, disk: &dyn Disk, next_segment: SegmentId) -> Recovered {
        // In their order, so that the tree is built whole, not grown.
        let mut entries = Vec::with_capacity(self.messages.len());
        for (id, mut entry) in std::mem::take(&mut self.messages) {
            let parts = self.parts.remove(&id).unwrap_or_default();
            let is_complete = parts.keys().copied().eq(0..entry.pending);
            if !is_complete && !self.is_confirmed(entry.message) {
                // The flush that it waited for did not happen: it was never promised.
                continue;
            }
            entry.parts = parts.into_values().collect();
            entry.pending = 0;
            let (mut turn, state) = (entry.turn, self.states.remove(&id));
            let known = state.map(|state| (state.location.segment, state.location.offset));
            let is_behind = self.lost_states.get(&id).is_some_and(|lost| known < Some(*lost));
            if let Some(state) = state {
                (entry.pending, entry.attempts) = (state.pending, state.attempts);
                entry.state = Some(state.location);
                turn = Turn::after(state.stay, time(state.due_at));
            }
            if entry.turn != Turn::Damaged {
                entry.turn = if is_complete && !is_behind { turn } else { Turn::Damaged };
                if !is_complete {
                    let problem = "parts of the body are missing".to_owned();
                    self.damage(Harm::Message, id.to_string(), problem, Some(id));
                }
            }
            for location in entry.locations() {
                self.index.keep(location);
            }
            entries.push((id, entry));
        }
        self.index.fill(entries);
        let segments: Vec<_> = self.index.segments.keys().copied().collect();
        for segment in segments {
            self.index.weigh(segment);
        }
        if self.unnamed > 0 {
            let problem = format!("{} more damaged stretches", self.unnamed);
            self.events.push(Harm::Stretch.event("the log".to_owned(), problem));
        }
        let repeats = self.recall.finish(&mut self.index, disk);
        let Self { index, last_id, before, events, faults, unnamed, sums, .. } = self;
        Recovered { index, repeats, next_segment, before, last_id, events, faults, unnamed, sums }
    }
}

/// Reads from the length of a tombstone's payload whether its message was ever promised.
const fn promise(header: &Header) -> Promise {
    if header.length == 0 { Promise::Made } else { Promise::Refused }
}

/// Makes the entry of a message; `pending` holds the number of its parts until all are found.
fn entry(message: Location, header: &Header) -> Entry {
    let (parts, size_bytes, accepted_at, delay_s, label) = match header.kind {
        Kind::Message { parts, size_bytes, accepted_at, delay_s, label } => {
            (parts, size_bytes, accepted_at, delay_s, label)
        }
        Kind::Part { .. } | Kind::State { .. } | Kind::Tombstone { .. } | Kind::Mark => {
            (0, 0, 0, 0, Label::default())
        }
    };
    Entry {
        message,
        parts: Box::default(),
        state: None,
        first: message.segment,
        pending: parts.into(),
        attempts: 0,
        size_bytes,
        label,
        accepted_at: time(accepted_at),
        turn: Turn::Due(time(accepted_at.saturating_add(i64::from(delay_s) * 1_000_000))),
    }
}

/// Reads a time of the log; one that no calendar has is long past.
fn time(microsecond: i64) -> Timestamp {
    Timestamp::from_microsecond(microsecond).unwrap_or(Timestamp::UNIX_EPOCH)
}
