//! The tables as the judge sees them.

use core::cell::Cell;
use core::marker::PhantomData;

use relay_common::addr::Addr;
use relay_common::bucket::{Bucket, Rate};
use relay_common::lookup::{covers, lacks, lengths};
use relay_common::state::{Alone, Slot, State};
use relay_common::table::{
    BanKey, COUNTED_CHUNKS, Entry, EntryId, Switch, family_index, source_cells,
};
use relay_common::verdict::{Connect, Tables};

use crate::clock;
use crate::list::{List, address, row};
use crate::tables::{BANS, COUNTED, RATES, SOURCE_RATES, SWITCH, Word, field, word};

/// How often a bucket that other CPUs keep changing is tried again. Then the attempt counts as over the
/// rate: so many attempts at once are.
const TRIES: usize = 8;

/// The maps. `R` says what becomes of a connection attempt.
pub struct Maps<R> {
    record: PhantomData<R>,
    /// Where the switch is, once it was asked for.
    switch: Cell<Option<*mut Switch>>,
}

impl<R> Maps<R> {
    /// Returns the maps.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { record: PhantomData, switch: Cell::new(None) }
    }

    /// Returns the switch.
    #[inline(always)]
    pub fn switch(&self) -> Option<*mut Switch> {
        if self.switch.get().is_none() {
            self.switch.set(SWITCH.get_ptr_mut(0));
        }
        self.switch.get()
    }
}

/// What becomes of a connection attempt.
pub trait Record {
    /// Returns whether it is within the rates.
    fn connect(state: State, source: &Addr) -> Connect;
}

/// A connection attempt of a listed source.
pub struct Attempt<'a> {
    source: &'a Addr,
    id: EntryId,
    row: *mut Entry,
    now_ns: u64,
}

/// The first door: attempts are taken from the buckets and counted.
pub enum Recording {}

/// Nothing leaves a trace.
pub enum Explaining {}

/// The second door: it records only while the first does not stand.
pub enum Seconding {}

impl Record for Recording {
    #[inline(always)]
    fn connect(state: State, source: &Addr) -> Connect {
        // The search is no part of that function: together they would take too much of the stack.
        let now_ns = clock::now_ns();
        let Some(id) = List::of(state.slot()).entry(source, now_ns) else { return Connect::Ended };
        let [high, low] = source.words();
        let mut key = key(id, source);
        if state.has_shadow() && shadow_lacks(high, low, source.family() as u32) != 0 {
            key |= WOULD_DROP;
        }
        match connect(high, low, key, now_ns) {
            WITHIN_RATE => Connect::WithinRate,
            OVER_RATE => Connect::OverRate,
            SOURCE_OVER_RATE => Connect::SourceOverRate,
            _ => Connect::Ended,
        }
    }
}

impl Record for Explaining {
    #[inline(always)]
    fn connect(state: State, source: &Addr) -> Connect {
        Attempt::of(state, source).map_or(Connect::Ended, |attempt| attempt.weigh())
    }
}

impl Record for Seconding {
    #[inline(always)]
    fn connect(state: State, source: &Addr) -> Connect {
        match state.alone() {
            Alone::No => Connect::WithinRate,
            Alone::Judges | Alone::Shuts => Recording::connect(state, source),
        }
    }
}

/// What [`connect`] returns; anything else is [`Connect::Ended`].
const WITHIN_RATE: u32 = 1;
const OVER_RATE: u32 = 2;
const SOURCE_OVER_RATE: u32 = 3;

/// Takes a connection attempt from the buckets of its entry and its source, and counts it. `key` is the number
/// of its entry and its family, and [`WOULD_DROP`] if the list in shadow would refuse it. A global function, as those of [`crate::list`] are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn connect(high: u64, low: u64, key: u32, now_ns: u64) -> u32 {
    let (id, source) = of_key(key, high, low);
    let Some(row) = row(id) else { return 0 };
    if key & WOULD_DROP != 0 {
        word!(row, would_drop).count_with_others();
    }
    let attempt = Attempt { source: &source, id, row, now_ns };
    let connect = attempt.take();
    attempt.count(connect);
    match connect {
        Connect::WithinRate => WITHIN_RATE,
        Connect::OverRate => OVER_RATE,
        Connect::SourceOverRate => SOURCE_OVER_RATE,
        Connect::Ended => 0,
    }
}

/// Returns 1 if the list in shadow does not hold an address. It counts nothing, so that it needs little of the
/// stack. A global function, as those of [`crate::list`] are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shadow_lacks(high: u64, low: u64, family: u32) -> u32 {
    (!covers(&List::of(Slot::SHADOW), &address(family, high, low))).into()
}

impl<'a> Attempt<'a> {
    /// Returns the attempt of `source`, of the longest entry that holds it.
    #[inline(always)]
    fn of(state: State, source: &'a Addr) -> Option<Self> {
        let now_ns = clock::now_ns();
        let id = List::of(state.slot()).entry(source, now_ns)?;
        Some(Self { source, id, row: row(id)?, now_ns })
    }

    /// Takes the attempt from the buckets of its source and its entry, in this order: who is over his own rate
    /// takes nothing from the others of his entry.
    #[inline(always)]
    fn take(&self) -> Connect {
        let place = field!(self.row, source_rate);
        if place != 0 {
            let [high, low] = self.source.words();
            let key = key(self.id, self.source);
            if take_of_source(high, low, key, place.into(), self.now_ns) == 0 {
                return Connect::SourceOverRate;
            }
        }
        match rate(field!(self.row, rate)) {
            Some(rate) if !take(word!(self.row, full_at_ns), &rate, self.now_ns) => {
                Connect::OverRate
            }
            Some(_) | None => Connect::WithinRate,
        }
    }

    /// Returns what [`take`](Self::take) would.
    #[inline(always)]
    fn weigh(&self) -> Connect {
        if let Some(rate) = rate(field!(self.row, source_rate))
            && let Some([one, other]) = source_words(self.id, self.source)
        {
            let seen = one.read().min(other.read());
            if Bucket::from_ns(seen).take_shared(&rate, self.now_ns).is_none() {
                return Connect::SourceOverRate;
            }
        }
        if let Some(rate) = rate(field!(self.row, rate)) {
            let bucket = Bucket::from_ns(field!(self.row, full_at_ns));
            if bucket.take(&rate, self.now_ns).is_none() {
                return Connect::OverRate;
            }
        }
        Connect::WithinRate
    }

    #[inline(always)]
    fn count(&self, connect: Connect) {
        let (chunk, at) = self.id.place();
        if chunk < COUNTED_CHUNKS {
            // This CPU's own. If the entry's number goes to another one meanwhile, that has one more.
            let Some(count) = COUNTED.get_value_ptr_mut(chunk, &at) else { return };
            match connect {
                Connect::WithinRate => drop(word!(count, passed).count()),
                _ => drop(word!(count, over_rate).count()),
            }
            word!(count, last_ns).write(self.now_ns);
        } else {
            match connect {
                Connect::WithinRate => word!(self.row, count.passed).count_with_others(),
                _ => word!(self.row, count.over_rate).count_with_others(),
            }
            word!(self.row, count.last_ns).write(self.now_ns);
        }
    }
}

/// The bits of an entry's number in a key that tells the family, too.
const FAMILY_SHIFT: u32 = 24;
/// The mark in such a key of an attempt that the list in shadow would refuse.
const WOULD_DROP: u32 = 1 << 31;

/// Returns the number of an entry and the family of a source in one word, for functions with few arguments.
#[inline(always)]
const fn key(id: EntryId, source: &Addr) -> u32 {
    id.0 | (source.family() as u32) << FAMILY_SHIFT
}

/// Returns the entry and the source that [`key`] and the source's words tell.
#[inline(always)]
fn of_key(key: u32, high: u64, low: u64) -> (EntryId, Addr) {
    (EntryId(key & ((1 << FAMILY_SHIFT) - 1)), address(key >> FAMILY_SHIFT & 0x7f, high, low))
}

/// Takes an attempt from the two cells of a source: the smaller one decides, and none is ever moved back.
/// `key` is the number of its entry and its family, `place` that of its rate. Returns 1 if it is within the
/// rate. A global function, as those of [`crate::list`] are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_of_source(high: u64, low: u64, key: u32, place: u32, now_ns: u64) -> u32 {
    let (id, source) = of_key(key, high, low);
    let Some(rate) = rate(place as u16) else { return 1 };
    let Some([one, other]) = source_words(id, &source) else { return 0 };
    for _ in 0..TRIES {
        let seen = [one.read(), other.read()];
        let least = Bucket::from_ns(seen[0].min(seen[1]));
        let Some(left) = least.take_shared(&rate, now_ns) else { return 0 };
        let left = left.full_at_ns();
        let raised = |word: Word, seen: u64| seen >= left || word.exchange(seen, left);
        // If the second fails the first stays raised: an attempt too many is counted then.
        if raised(one, seen[0]) && raised(other, seen[1]) {
            return 1;
        }
    }
    0
}

#[inline(always)]
fn source_words(id: EntryId, source: &Addr) -> Option<[Word; 2]> {
    let seed = field!(SWITCH.get_ptr(0)?, source_seed);
    let [one, other] = source_cells(id, source, seed);
    let one = SOURCE_RATES.get_ptr_mut(one)?;
    let other = SOURCE_RATES.get_ptr_mut(other)?;
    Some([Word(one), Word(other)])
}

/// Returns the rate in this place of the table; none for place 0.
#[inline(always)]
fn rate(place: u16) -> Option<Rate> {
    if place == 0 {
        return None;
    }
    RATES.get(u32::from(place)).copied()
}

/// Takes a token from a bucket; returns whether there was one.
#[inline(always)]
fn take(bucket: Word, rate: &Rate, now_ns: u64) -> bool {
    for _ in 0..TRIES {
        let seen = bucket.read();
        let Some(left) = Bucket::from_ns(seen).take(rate, now_ns) else { return false };
        if bucket.exchange(seen, left.full_at_ns()) {
            return true;
        }
    }
    false
}

impl<R: Record> Tables for Maps<R> {
    #[inline(always)]
    fn guarded(&self, port: u16) -> bool {
        let Some(switch) = self.switch() else { return true };
        field!(switch, ports[usize::from(port / 64)]) >> (port % 64) & 1 == 1
    }

    #[inline(always)]
    fn state(&self) -> State {
        self.switch().map_or(State::default(), |switch| State::from_word(field!(switch, state)))
    }

    #[inline(always)]
    fn covers(&self, state: State, source: &Addr) -> bool {
        covers(&List::of(state.slot()), source)
    }

    #[inline(always)]
    fn lacks(&self, state: State, source: &Addr) -> bool {
        lacks(&List::of(state.slot()), source)
    }

    #[inline(always)]
    fn banned(&self, source: &Addr) -> bool {
        // Most hosts have no bans, or of one family: they pay for a look at a word each.
        let Some(switch) = SWITCH.get_ptr(0) else { return false };
        let at = family_index(source.family());
        let any = (0..lengths::LENGTH_WORDS)
            .fold(0, |any, word| any | field!(switch, ban_lengths[at][word]));
        let [high, low] = source.words();
        let banned = |word| banned(high, low, source.family() as u32 | word << 8) != 0;
        any != 0 && (0..lengths::LENGTH_WORDS as u32).any(banned)
    }

    #[inline(always)]
    fn connect(&self, state: State, source: &Addr) -> Connect {
        R::connect(state, source)
    }

    #[inline(always)]
    fn observing(&self) -> bool {
        let until_ns = SWITCH.get_ptr(0).map_or(0, |switch| field!(switch, observe_until_ns));
        clock::now_ns() < until_ns
    }
}

/// Returns 1 if a ban of a length of one word holds an address now. `key` is the family and the word. A global
/// function, as those of [`crate::list`] are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn banned(high: u64, low: u64, key: u32) -> u32 {
    let source = address(key & 0xff, high, low);
    let Some(switch) = SWITCH.get_ptr(0) else { return 0 };
    let word = (key >> 8 & 0xff) as usize;
    if word >= lengths::LENGTH_WORDS {
        return 0;
    }
    let mut left = field!(switch, ban_lengths[family_index(source.family())][word]);
    for _ in 0..u64::BITS {
        if left == 0 {
            break;
        }
        let prefix = lengths::first(source.family(), word, left);
        left &= left - 1;
        if is_banned(high, low, source.family() as u32 | u32::from(prefix) << 8) != 0 {
            return 1;
        }
    }
    0
}

/// Returns 1 if the first bits of an address are banned now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_banned(high: u64, low: u64, key: u32) -> u32 {
    let source = address(key & 0xff, high, low);
    let ban = BANS.get_ptr(BanKey::of(&source, (key >> 8) as u8));
    ban.is_some_and(|ban| clock::now_ns() < field!(ban, until_ns)).into()
}
