//! One list in the kernel: its tables, made for it alone, and the way they come to be the ones that count.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay_common::lookup::WORDS;
use relay_common::lookup::cover::COVER_LINES;
use relay_common::state::{SLOTS, Slot};
use relay_common::table::{CELLS, CELLS_IN, COVER, HEADS, Row, Table};

use super::kernel_said;
use super::opening::Opening;
use super::pins::{Pins, pin_if_missing};
use crate::gate::GateError;
use crate::gate::list::{self, Full, HEAD_WORDS, Image, Roll, Sizes};
use crate::gate::sys::{self, Access, Types, Written};

/// How often a list is tried with more memory or another seed.
const TRIES: usize = 8;

/// The places of lists.
pub struct Places {
    pins: Pins,
    cells: OwnedFd,
    heads: Written,
    cover: Written,
    types: Option<Types>,
    /// The freeing of the list before this one.
    freeing: Option<JoinHandle<()>>,
    /// How long the last list waited until no CPU used what was in its place.
    waited: Duration,
}

/// A list in the kernel.
pub struct Generation {
    slot: Slot,
    cells: OwnedFd,
    cell_words: Written,
}

impl Places {
    /// Opens the pinned tables.
    pub fn open(pins: &Pins, types: Option<Types>) -> Result<Self, GateError> {
        let opening = Opening { pins, access: Access::ReadWrite };
        let mapped = |of: &Table, words: usize| {
            Written::map(opening.raw(of)?, words * 8)
                .map_err(|error| kernel_said(format!("table {}: map", of.name), error))
        };
        Ok(Self {
            pins: pins.clone(),
            cells: opening.raw(&CELLS)?,
            heads: mapped(&HEADS, SLOTS as usize * HEAD_WORDS)?,
            cover: mapped(&COVER, SLOTS as usize * COVER_WORDS)?,
            types,
            freeing: None,
            waited: Duration::ZERO,
        })
    }

    /// Builds `roll` as generation `number` in `slot`, which no frame is judged by now. When this returns,
    /// naming the slot in the state word is all that is left to do.
    pub fn build(&mut self, roll: &Roll, slot: Slot, number: u32) -> Result<Generation, GateError> {
        // What is freed in the background could be what is put here.
        let begin = Instant::now();
        self.finish_freeing();
        self.waited = begin.elapsed();
        let mut sizes = Sizes::for_roll(roll, seed()?);
        for _ in 0..TRIES {
            let generation = self.make(slot, sizes)?;
            // A CPU may still be in the middle of the list that was here last. Putting a table in its place
            // waits until none is; only then may its bitmaps be written.
            let begin = Instant::now();
            self.put(&generation)?;
            self.waited += begin.elapsed();
            for word in self.words_of(slot).1 {
                word.store(0, Ordering::Relaxed);
            }
            match list::fill(&self.image(&generation), roll, sizes, number) {
                Ok(()) => return Ok(generation),
                Err(Full) => sizes = sizes.doubled(),
            }
        }
        Err(GateError::Full { table: CELLS.name, capacity: sizes.cell_lines() })
    }

    /// Returns how long the last list waited until no CPU used what was in its place.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    fn make(&self, slot: Slot, sizes: Sizes) -> Result<Generation, GateError> {
        let shape = CELLS_IN.with_capacity(sizes.cell_lines());
        let what = || format!("table {}: make one for a list", shape.name);
        let cells = sys::make(&shape, self.types.as_ref());
        let cells = cells.map_err(|error| kernel_said(what(), error))?;
        let bytes = shape.capacity as usize * size_of::<Row>();
        let cell_words = Written::map(&cells, bytes).map_err(|error| kernel_said(what(), error))?;
        Ok(Generation { slot, cells, cell_words })
    }

    fn put(&self, generation: &Generation) -> Result<(), GateError> {
        self.pins.pin_over(&generation.cells, &pin_name(generation.slot))?;
        sys::put(&self.cells, &[(generation.slot.index(), &generation.cells)])
            .map_err(|error| kernel_said(format!("table {}: put a list", CELLS.name), error))
    }

    /// Returns the memory of a list.
    pub fn image<'a>(&'a self, generation: &'a Generation) -> Image<'a> {
        let (head, cover) = self.words_of(generation.slot);
        Image::new(head, cover, generation.cell_words.words())
    }

    /// Returns the head and the bitmaps of a slot.
    fn words_of(&self, slot: Slot) -> (&[AtomicU64], &[AtomicU64]) {
        let slot = slot.index() as usize;
        let (head, cover) = (slot * HEAD_WORDS, slot * COVER_WORDS);
        let head = &self.heads.words()[head..head + HEAD_WORDS];
        (head, &self.cover.words()[cover..cover + COVER_WORDS])
    }

    /// Frees the cells of a list that no frame is judged by any more, in the background: it waits until no CPU
    /// is in the middle of them, and many take their time.
    pub fn free(&mut self, former: Generation, current: &Generation) {
        self.finish_freeing();
        let copies = || Some((self.cells.try_clone().ok()?, current.cells.try_clone().ok()?));
        // Without descriptors to spare they are freed when their slot is used again.
        let Some((cells, standing)) = copies() else { return };
        let current = current.slot.index();
        let work = move || {
            // Putting the standing table in its own place changes nothing, and waits as any change does.
            if sys::put(&cells, &[(current, &standing)]).is_ok() {
                let _ = sys::clear(&cells, former.slot.index());
            }
            drop(former);
        };
        self.freeing = std::thread::Builder::new().name("free".into()).spawn(work).ok();
    }

    fn finish_freeing(&mut self) {
        if let Some(freeing) = self.freeing.take() {
            let _ = freeing.join();
        }
    }

    /// Takes the cells in a slot away, which no frame is judged by any more.
    pub fn clear(&mut self, slot: Slot) {
        self.finish_freeing();
        let _ = sys::clear(&self.cells, slot.index());
        self.pins.unpin(&pin_name(slot));
    }

    /// Pins again what is not pinned any more; returns how many tables were.
    pub fn pin_again(&self, generation: &Generation) -> Result<usize, GateError> {
        let path = self.pins.path(&pin_name(generation.slot));
        Ok(usize::from(pin_if_missing(&generation.cells, &path)?))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.finish_freeing();
    }
}

impl Generation {
    /// Returns how much memory it takes, in bytes.
    pub const fn bytes(&self) -> usize {
        COVER_WORDS * 8 + size_of_val(self.cell_words.words())
    }
}

/// The words of the bitmaps of one slot.
pub const COVER_WORDS: usize = COVER_LINES as usize * WORDS;

/// Returns the name of the pin of a list's cells.
pub fn pin_name(slot: Slot) -> String {
    format!("{}_{}", CELLS.name, slot.index())
}

/// Returns a number that nobody can know beforehand.
pub fn seed() -> Result<u64, GateError> {
    let mut bytes = [0; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    got.map_err(|error| kernel_said("ask for a random number".to_owned(), error.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}
