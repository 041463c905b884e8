//! One list in the kernel: its tables, made for it alone, and the way they come to be the ones that count.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use relay_common::state::{SLOTS, Slot};
use relay_common::table::{CELLS, CELLS_IN, COVER, COVER_IN, HEADS, Row, Table};

use super::kernel_said;
use super::opening::Opening;
use super::pins::{Pins, pin_if_missing};
use crate::gate::GateError;
use crate::gate::list::{self, Full, HEAD_WORDS, Image, Roll, Sizes};
use crate::gate::sys::{self, Access, Types, Written};

/// How often a list is tried with more memory or another seed.
const TRIES: usize = 8;

/// The tables that hold the tables of lists.
pub struct Places {
    pins: Pins,
    cover: OwnedFd,
    cells: OwnedFd,
    heads: Written,
    types: Option<Types>,
    /// The freeing of the list before this one.
    freeing: Option<JoinHandle<()>>,
}

/// A list in the kernel.
pub struct Generation {
    slot: Slot,
    cover: (OwnedFd, Written),
    cells: (OwnedFd, Written),
}

impl Places {
    /// Opens the pinned tables.
    pub fn open(pins: &Pins, types: Option<Types>) -> Result<Self, GateError> {
        let opening = Opening { pins, access: Access::ReadWrite };
        let heads = opening.raw(&HEADS)?;
        let heads = Written::map(&heads, SLOTS as usize * HEAD_WORDS * 8);
        Ok(Self {
            pins: pins.clone(),
            cover: opening.raw(&COVER)?,
            cells: opening.raw(&CELLS)?,
            heads: heads
                .map_err(|error| kernel_said(format!("table {}: map", HEADS.name), error))?,
            types,
            freeing: None,
        })
    }

    /// Builds `roll` as generation `number` in `slot`, which no frame is judged by now. When this returns,
    /// naming the slot in the state word is all that is left to do.
    pub fn build(&mut self, roll: &Roll, slot: Slot, number: u32) -> Result<Generation, GateError> {
        // What is freed in the background could be what is put here.
        self.finish_freeing();
        let mut sizes = Sizes::for_roll(roll, seed()?);
        let head: Vec<AtomicU64> = (0..HEAD_WORDS).map(|_| AtomicU64::new(0)).collect();
        for _ in 0..TRIES {
            let generation = self.make(slot, sizes)?;
            match list::fill(&generation.image_under(&head), roll, sizes, number) {
                Ok(()) => {
                    self.put(&generation)?;
                    for (word, value) in self.head(slot).iter().zip(&head) {
                        word.store(value.load(Ordering::Relaxed), Ordering::Release);
                    }
                    return Ok(generation);
                }
                Err(Full) => sizes = sizes.doubled(),
            }
        }
        Err(GateError::Full { table: CELLS.name, capacity: sizes.cell_lines() })
    }

    fn make(&self, slot: Slot, sizes: Sizes) -> Result<Generation, GateError> {
        let make = |shape: Table| {
            let what = || format!("table {}: make one for a list", shape.name);
            let table = sys::make(&shape, self.types.as_ref())
                .map_err(|error| kernel_said(what(), error))?;
            let bytes = shape.capacity as usize * size_of::<Row>();
            let words = Written::map(&table, bytes).map_err(|error| kernel_said(what(), error))?;
            Ok((table, words))
        };
        let cells = CELLS_IN.with_capacity(sizes.cell_lines());
        Ok(Generation { slot, cover: make(COVER_IN)?, cells: make(cells)? })
    }

    /// Puts the tables of a list into its slot. Each of the two calls waits until no CPU uses what was there.
    fn put(&self, generation: &Generation) -> Result<(), GateError> {
        let slot = generation.slot.index();
        for (outer, table, of) in
            [(&self.cover, &generation.cover.0, COVER), (&self.cells, &generation.cells.0, CELLS)]
        {
            self.pins.pin_over(table, &pin_name(&of, generation.slot))?;
            sys::put(outer, &[(slot, table)])
                .map_err(|error| kernel_said(format!("table {}: put a list", of.name), error))?;
        }
        Ok(())
    }

    /// Returns the memory of a list.
    pub fn image<'a>(&'a self, generation: &'a Generation) -> Image<'a> {
        generation.image_under(self.head(generation.slot))
    }

    fn head(&self, slot: Slot) -> &[AtomicU64] {
        let first = slot.index() as usize * HEAD_WORDS;
        &self.heads.words()[first..first + HEAD_WORDS]
    }

    /// Frees a list that no frame is judged by any more, in the background: it waits until no CPU is in the
    /// middle of it, and a large one takes its time.
    pub fn free(&mut self, former: Generation, current: &Generation) {
        self.finish_freeing();
        let copies = || {
            let copy = |fd: &OwnedFd| fd.try_clone();
            Some((copy(&self.cover).ok()?, copy(&self.cells).ok()?, copy(&current.cover.0).ok()?))
        };
        // Without descriptors to spare it is freed when its slot is used again.
        let Some((cover, cells, standing)) = copies() else { return };
        let current = current.slot.index();
        let work = move || {
            // Putting the standing table in its own place changes nothing, and waits as any change does.
            if sys::put(&cover, &[(current, &standing)]).is_ok() {
                let slot = former.slot.index();
                let _ = sys::clear(&cover, slot);
                let _ = sys::clear(&cells, slot);
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

    /// Takes the list in a slot away, which no frame is judged by any more.
    pub fn clear(&mut self, slot: Slot) {
        self.finish_freeing();
        for (outer, of) in [(&self.cover, COVER), (&self.cells, CELLS)] {
            let _ = sys::clear(outer, slot.index());
            self.pins.unpin(&pin_name(&of, slot));
        }
    }

    /// Pins again what is not pinned any more; returns how many tables were.
    pub fn pin_again(&self, generation: &Generation) -> Result<usize, GateError> {
        let mut pinned = 0;
        for (table, of) in [(&generation.cover.0, COVER), (&generation.cells.0, CELLS)] {
            let path = self.pins.path(&pin_name(&of, generation.slot));
            pinned += usize::from(pin_if_missing(table, &path)?);
        }
        Ok(pinned)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.finish_freeing();
    }
}

impl Generation {
    fn image_under<'a>(&'a self, head: &'a [AtomicU64]) -> Image<'a> {
        Image::new(head, self.cover.1.words(), self.cells.1.words())
    }

    /// Returns how much memory it takes, in bytes.
    pub const fn bytes(&self) -> usize {
        size_of_val(self.cover.1.words()) + size_of_val(self.cells.1.words())
    }
}

/// Returns the name of the pin of a list's table.
pub fn pin_name(of: &Table, slot: Slot) -> String {
    format!("{}_{}", of.name, slot.index())
}

/// Returns a number that nobody can know beforehand.
pub fn seed() -> Result<u64, GateError> {
    let mut bytes = [0; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    got.map_err(|error| kernel_said("ask for a random number".to_owned(), error.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}
