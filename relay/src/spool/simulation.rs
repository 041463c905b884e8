//! The log on a disk that fails, from seeds: what was promised is there after any crash, what was
//! settled does not come back, and nothing is half.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::label::{Label, Stay};
use super::order::{Order, Parts, What};
use super::samples::envelope;
use super::share::Owner;
use super::simulated::{Dice, Simulated, Weather};
use super::*;
use crate::mail::fingerprint::Fingerprint;

/// Small segments, so that a short run makes, empties and removes many.
pub(super) const SETTINGS: Settings = Settings {
    reserve_bytes: 0,
    messages: 10_000,
    segment_bytes: 6000,
    part_bytes: 200,
    clock: Timestamp::now,
};

/// The most messages that are unconfirmed at a time.
const UNCONFIRMED: usize = 12;

type Answered<T> = oneshot::Receiver<Result<T, StoreError>>;

/// What is known of a message: its body, how many attempts were settled, and what it waits for.
pub(super) type Known = (Vec<u8>, u32, Stay);

/// A spool without a thread, and what its users know of it.
pub(super) struct Model {
    pub disk: Simulated,
    pub committer: Committer,
    events: Arc<Mutex<Vec<Event>>>,
    /// Promised: these must be there.
    pub promised: BTreeMap<MessageId, Known>,
    /// Not known to be there or gone: the answer was an error, or never came.
    open: BTreeMap<MessageId, Known>,
    /// Gone for good.
    gone: BTreeSet<MessageId>,
    /// Promised at some time, and nobody knows whether their clients were told.
    unconfirmed: BTreeSet<MessageId>,
    /// Never promised: if they come again they are new.
    refused: BTreeSet<MessageId>,
    next: u64,
}

impl Model {
    pub fn new(disk: Simulated) -> Self {
        let (committer, events) = start(&disk);
        let (promised, open) = (BTreeMap::new(), BTreeMap::new());
        let (gone, unconfirmed, refused) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { disk, committer, events, promised, open, gone, unconfirmed, refused, next: 1 }
    }

    /// Appends a message of `length` octets, its first part apart if it is long.
    pub fn put(&mut self, length: usize, dice: &mut Dice) -> Option<(Order, Waiting)> {
        let id = MessageId(self.next);
        self.next += 1;
        let body: Vec<u8> = (0..length).map(|_| dice.roll(256) as u8).collect();
        let mut parts = Parts::new(Arc::clone(&self.committer.shared));
        let split = if length > SETTINGS.part_bytes { SETTINGS.part_bytes } else { 0 };
        if split > 0 {
            let (answer, mut answered) = oneshot::channel();
            let what = What::Part { number: 0, answer };
            self.commit(vec![Order::new(id, what, body[..split].to_vec())]);
            parts.push(answered.try_recv().unwrap().ok()?);
        }
        let mut payload = content::encode_envelope(&envelope("a")).unwrap();
        payload.extend_from_slice(&body[split..]);
        let (answer, answered) = oneshot::channel();
        let (size_bytes, accepted_at) = (length as u64, Timestamp::UNIX_EPOCH);
        let label = Label { owner: Owner::of(Some("app")), ..Label::default() };
        let (due_at, fingerprint) = (accepted_at, Some(print(id)));
        content::sign(&mut payload, print(id));
        self.refused.insert(id);
        let what =
            What::Message { parts, size_bytes, accepted_at, due_at, label, fingerprint, answer };
        Some((
            Order::new(id, what, payload),
            Waiting { id, becomes: Some((body, 0, Stay::Waiting)), answered },
        ))
    }

    /// Settles an attempt of a promised message: it stays for this, or is gone.
    pub fn settle(&mut self, id: MessageId, stays: Option<Stay>) -> (Order, Waiting) {
        let (body, attempts, stay) = self.promised.remove(&id).unwrap();
        let (answer, answered) = oneshot::channel();
        let attempts = attempts + 1;
        let due_at = Timestamp::UNIX_EPOCH;
        let what = match stays {
            Some(stay) => What::State { pending: 1, attempts, due_at, stay, answer },
            None => What::Tombstone { answer },
        };
        // Whatever the answer will be: until then either may be.
        self.open.insert(id, (body.clone(), attempts, stays.unwrap_or(stay)));
        // A tombstone says nothing but that.
        let payload = if stays.is_some() { vec![b'x'; 40] } else { Vec::new() };
        let becomes = stays.map(|stay| (body, attempts, stay));
        (Order::new(id, what, payload), Waiting { id, becomes, answered })
    }

    pub fn commit(&mut self, orders: Vec<Order>) {
        self.committer.commit(VecDeque::from(orders));
    }

    /// Commits a batch and takes its answers down.
    pub fn run(&mut self, batch: Vec<(Order, Waiting)>) {
        let (orders, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.commit(orders);
        for Waiting { id, becomes, mut answered } in waiting {
            let was_promised = self.open.remove(&id);
            match (answered.try_recv().expect("every order is answered"), becomes) {
                (Ok(()), Some(known)) => {
                    self.promised.insert(id, known);
                    if self.refused.remove(&id) {
                        self.tell(id);
                    }
                }
                (Ok(()), None) => drop(self.gone.insert(id)),
                (Err(_), becomes) => {
                    let known = was_promised.or(becomes).expect("a message has a body");
                    self.open.insert(id, known);
                }
            }
        }
    }

    /// Tells a client that its message is ours; one in three confirms it, and so does the one that
    /// waited the longest if many did not: their list must be short beside a segment.
    fn tell(&mut self, id: MessageId) {
        if id.0.is_multiple_of(3) {
            self.committer.shared.repeats().forget(id);
        } else {
            self.unconfirmed.insert(id);
        }
        if self.unconfirmed.len() > UNCONFIRMED
            && let Some(oldest) = self.unconfirmed.pop_first()
        {
            self.committer.shared.repeats().forget(oldest);
        }
    }

    /// Checks that what was not confirmed is known if it comes again, and what was refused is not.
    fn check_repeats(&mut self) {
        let repeats = self.committer.shared.repeats();
        let first = |id: MessageId| repeats.first(print(id), Timestamp::UNIX_EPOCH);
        for id in &self.unconfirmed {
            assert_eq!(first(*id), Some(*id), "{id} comes again");
        }
        self.refused.retain(|id| !self.promised.contains_key(id));
        for id in &self.refused {
            assert_eq!(first(*id), None, "{id} was refused");
        }
    }

    /// Checks that what is there is what may be there; then all that was open is known.
    pub fn check(&mut self) {
        let found: BTreeMap<_, _> = read_all(&self.committer.shared);
        for (id, known) in &self.promised {
            assert_eq!(found.get(id), Some(known), "{id} was promised");
        }
        for (id, (body, attempts, stay)) in found {
            assert!(!self.gone.contains(&id), "{id} came back");
            if !self.promised.contains_key(&id) {
                let (known, most, _) = self.open.get(&id).expect("somebody wrote it");
                assert!(body == *known, "{id} is half");
                assert!(attempts <= *most, "{id}");
                self.promised.insert(id, (body, attempts, stay));
            }
        }
        for (id, _) in std::mem::take(&mut self.open) {
            if !self.promised.contains_key(&id) {
                self.gone.insert(id);
            }
        }
    }

    /// Takes the power away and starts anew; no damage may be claimed, since none was done.
    pub fn crash(&mut self) {
        self.disk = self.disk.restart();
        self.start_over();
    }

    /// Kills the process in the middle of what it does. The next one finds what is in the page
    /// cache, acts on it, and then the power fails.
    fn kill_and_crash(&mut self) {
        self.disk.kill();
        self.start_over();
        self.do_chores();
        self.crash();
    }

    fn start_over(&mut self) {
        let (committer, events) = start(&self.disk);
        self.committer = committer;
        self.events = events;
        self.check();
        self.check_repeats();
        let is_damage = |event: &&Event| matches!(event, Event::SpoolDamaged { .. });
        assert_eq!(self.events.lock().unwrap().iter().find(is_damage), None);
    }

    /// Lets the writer do what it does while nobody waits, on a disk that works. What was refused
    /// and what was to end is buried then: it must not come back.
    pub fn do_chores(&mut self) {
        self.commit(Vec::new());
        let mut left = 10_000;
        while self.committer.has_chores() {
            self.commit(Vec::new());
            left -= 1;
            assert!(left > 0, "the chores never end");
        }
        assert!(self.committer.burials.is_empty());
        let index = self.committer.shared.index();
        self.gone.extend(
            self.open.extract_if(.., |id, _| !index.entries.contains_key(id)).map(|(id, _)| id),
        );
    }
}

fn print(id: MessageId) -> Fingerprint {
    let mut octets = [0; 32];
    octets[..8].copy_from_slice(&id.0.to_le_bytes());
    Fingerprint(octets)
}

pub(super) struct Waiting {
    id: MessageId,
    becomes: Option<Known>,
    answered: Answered<()>,
}

pub(super) fn start(disk: &Simulated) -> (Committer, Arc<Mutex<Vec<Event>>>) {
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = Arc::clone(&events);
    let report = move |event| sink.lock().unwrap().push(event);
    (recovered(Arc::new(disk.clone()), SETTINGS, report).unwrap(), events)
}

/// Reads every message that can be read, body and attempts.
pub(super) fn read_all(shared: &Shared) -> BTreeMap<MessageId, Known> {
    let mut index = shared.index();
    let entries = index.entries.clone();
    let mut read = |location: segment::Location| {
        let (file, marker) = index.file(shared.disk.as_ref(), location.segment).unwrap();
        segment::read(file.as_ref(), marker, location).map(|(_, payload)| payload)
    };
    let mut found = BTreeMap::new();
    for (id, entry) in entries.iter().filter(|(_, entry)| entry.turn != index::Turn::Damaged) {
        let mut body = Vec::new();
        for part in &entry.parts {
            body.extend(read(*part).unwrap());
        }
        let payload = read(entry.message).unwrap();
        body.extend(&payload[content::decode_message(&payload).unwrap().1..]);
        assert_eq!(body.len() as u64, entry.size_bytes);
        found.insert(*id, (body, entry.attempts, stay(entry.turn)));
    }
    found
}

/// Returns what a message with this turn waits for.
pub(super) fn stay(turn: index::Turn) -> Stay {
    match turn {
        index::Turn::Held(_) => Stay::Held,
        index::Turn::Captured => Stay::Captured,
        index::Turn::Due(_)
        | index::Turn::Claimed(_)
        | index::Turn::Spoiled(_)
        | index::Turn::Damaged => Stay::Waiting,
    }
}

/// Runs one seed: batches of everything, trouble now and then, several losses of power.
fn run(seed: u64, troubles: &[Weather]) -> usize {
    let mut dice = Dice(seed);
    let mut model = Model::new(Simulated::new(seed));
    let mut promises = 0;
    for _ in 0..4 {
        let weather = troubles[dice.roll(troubles.len() as u64) as usize];
        model.disk.set_weather(weather);
        let power_fails = dice.roll(2) == 0;
        if power_fails {
            model.disk.fail_power_in(dice.roll(120));
        }
        for _ in 0..dice.roll(30) {
            let mut batch = Vec::new();
            for _ in 0..=dice.roll(6) {
                let ids: Vec<_> = model.promised.keys().copied().collect();
                let pick = dice.roll(ids.len() as u64 + 1) as usize;
                match (dice.roll(5), ids.get(pick)) {
                    (0..=1, Some(id)) => batch.push(model.settle(*id, None)),
                    (2, Some(id)) => {
                        let stay = [Stay::Waiting, Stay::Held, Stay::Captured];
                        let stay = stay[dice.roll(3) as usize];
                        batch.push(model.settle(*id, Some(stay)));
                    }
                    (_, _) => {
                        let length = dice.roll(600) as usize;
                        batch.extend(model.put(length, &mut dice));
                    }
                }
            }
            model.run(batch);
            promises += model.promised.len();
        }
        if !power_fails {
            // A pause in which everything works again, as long as the power is on.
            model.disk.set_weather(Weather::Fair);
            model.do_chores();
        }
        if power_fails && weather == Weather::Fair && dice.roll(2) == 0 {
            model.kill_and_crash();
        } else {
            model.crash();
        }
    }
    promises
}

fn run_all(name: &str, troubles: &[Weather]) {
    let (first, count) = seeds(name);
    let mut promises = 0;
    for seed in first..first + count {
        let result = std::panic::catch_unwind(|| run(seed, troubles));
        promises += result.unwrap_or_else(|_| panic!("{name}: SPOOL_SEED={seed} fails"));
    }
    assert!(promises > 0, "the runs promised nothing");
}

/// Returns the seeds to run: fixed ones, or `SPOOL_SEED` and as many as `SPOOL_RUNS` says.
fn seeds(name: &str) -> (u64, u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, count) = (number("SPOOL_SEED"), number("SPOOL_RUNS"));
    let seeds = (first.unwrap_or(1), count.unwrap_or(if first.is_some() { 1 } else { 300 }));
    println!("{name}: {} seeds from {}", seeds.1, seeds.0);
    seeds
}

#[test]
fn promises_survive_losses_of_power() {
    run_all("power", &[Weather::Fair]);
}

#[test]
fn promises_survive_writes_and_flushes_that_fail() {
    run_all("failing", &[Weather::Fair, Weather::Failing(4), Weather::Failing(40)]);
}

#[test]
fn promises_survive_a_full_disk() {
    run_all("full", &[Weather::Fair, Weather::Full(9000), Weather::Full(30_000)]);
}

#[test]
fn space_is_given_back_although_one_old_message_stays() {
    let mut dice = Dice(7);
    let mut model = Model::new(Simulated::new(7));
    let old = model.put(100, &mut dice).unwrap();
    model.run(vec![old]);
    for _ in 0..200 {
        let new = model.put(500, &mut dice).unwrap();
        let id = new.1.id;
        model.run(vec![new]);
        let end = model.settle(id, None);
        model.run(vec![end]);
    }
    model.do_chores();
    let segments = model.disk.list().unwrap().len();
    assert!(segments <= 3, "{segments} segments for one message");
    model.crash();
    assert_eq!(model.promised.len(), 1);
}
