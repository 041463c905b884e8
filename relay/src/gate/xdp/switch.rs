//! The words that stand beside the lists, as memory of this process.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_common::addr::Family;
use relay_common::lookup::lengths::{self, LENGTH_WORDS};
use relay_common::state::{Alone, Mode, State};
use relay_common::table::{SWITCH, Switch, family_index};

use super::kernel_said;
use super::opening::Opening;
use crate::gate::GateError;
use crate::gate::sys::Written;
use crate::gate::words::pair;

const WORDS: usize = size_of::<Switch>() / 8;
const STATE: usize = offset_of!(Switch, state) / 8;
const OBSERVE_UNTIL: usize = offset_of!(Switch, observe_until_ns) / 8;
const SAMPLES_LEFT: usize = offset_of!(Switch, samples_left) / 8;
const DOOR_SAMPLES_LEFT: usize = offset_of!(Switch, door_samples_left) / 8;
const ADMITTED_SAMPLES_LEFT: usize = offset_of!(Switch, admitted_samples_left) / 8;
const SOURCE_SEED: usize = offset_of!(Switch, source_seed) / 8;
const ROWS_KEY: usize = offset_of!(Switch, rows_key) / 8;
const FACTORS: usize = offset_of!(Switch, interface_factor) / 8;
const BAN_LENGTHS: usize = offset_of!(Switch, ban_lengths) / 8;
const PORTS: usize = offset_of!(Switch, ports) / 8;

/// What each tick may tell as samples: frames refused at the first door, at the second, and admitted attempts.
const SAMPLES: [(usize, u64); 3] =
    [(SAMPLES_LEFT, 64), (DOOR_SAMPLES_LEFT, 16), (ADMITTED_SAMPLES_LEFT, 16)];

/// The words.
pub struct Board(Written);

impl Board {
    /// Opens the pinned table.
    pub fn open(opening: Opening<'_>) -> Result<Self, GateError> {
        let mapped = Written::map(opening.raw(&SWITCH)?, WORDS * 8);
        let mapped =
            mapped.map_err(|error| kernel_said(format!("table {}: map", SWITCH.name), error))?;
        Ok(Self(mapped))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.0.words()[at]
    }

    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    fn store(&self, at: usize, value: u64) {
        if self.load(at) != value {
            self.word(at).store(value, Ordering::Release);
        }
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        State::from_word(self.load(STATE))
    }

    /// Changes the state, in one step for every CPU.
    pub fn set_state(&self, change: impl FnOnce(State) -> State) {
        self.store(STATE, change(self.state()).word());
    }

    /// Writes the guarded ports as `choose` mixes the wanted words with those held.
    pub fn guard(&self, wanted: &[u64], choose: fn(u64, u64) -> u64) {
        for (at, wanted) in (PORTS..WORDS).zip(wanted) {
            self.store(at, choose(*wanted, self.load(at)));
        }
    }

    /// Returns the time until which the mode "observe" holds.
    pub fn observe_until_ns(&self) -> u64 {
        self.load(OBSERVE_UNTIL)
    }

    /// Lets everybody through the second door for good.
    pub fn open_doors(&self) {
        self.set_state(|state| state.with_mode(Mode::Open).with_alone(Alone::No));
    }

    /// Sets the time until which the mode "observe" holds.
    pub fn set_observe_until(&self, until_ns: u64) {
        self.store(OBSERVE_UNTIL, until_ns);
    }

    /// Permits the samples of another tick.
    pub fn permit_samples(&self) {
        for (left, samples) in SAMPLES {
            self.store(left, samples);
        }
    }

    /// Permits no more samples: nobody will read them.
    pub fn permit_none(&self) {
        for (left, _) in SAMPLES {
            self.store(left, 0);
        }
    }

    /// Sets what the cells of single sources' rates are mixed with, if nothing is set yet.
    pub fn seed_sources(&self, seed: u64) {
        if self.load(SOURCE_SEED) == 0 {
            self.store(SOURCE_SEED, seed);
        }
    }

    /// Returns which interfaces and ports the rows of counters stand for.
    pub fn rows_key(&self) -> u64 {
        self.load(ROWS_KEY)
    }

    /// Sets that, and how interfaces and ports are spread over rows.
    pub fn set_rows(&self, key: u64, interface_factor: u32, port_factor: u32) {
        self.store(FACTORS, pair(interface_factor, port_factor));
        self.store(ROWS_KEY, key);
    }

    /// Sets which lengths of prefixes are looked up among the bans of a family.
    pub fn set_ban_lengths(&self, family: Family, prefixes: impl Iterator<Item = u8>) {
        let mut wanted = [0; LENGTH_WORDS];
        for prefix in prefixes {
            let (word, bit) = lengths::place(family, prefix);
            wanted[word] |= bit;
        }
        let first = BAN_LENGTHS + family_index(family) * LENGTH_WORDS;
        for (at, wanted) in (first..).zip(wanted) {
            self.store(at, wanted);
        }
    }
}
