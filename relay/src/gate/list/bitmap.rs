//! The bitmaps of a list: exact for IPv4 down to /24, a hint for IPv6.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use relay_common::addr::{Family, Net};
use relay_common::lookup::cover::{
    EXACT_BITS, Place, SHORT_BELOW, coarse, fine, short, spread_of, whole_word,
};

use super::{Image, Roll};

/// The /24s of IPv4.
const BLOCKS: u32 = 1 << 24;
/// The /24s of one word of `fine`, and of one bit of `coarse`.
const WORD_BLOCKS: u32 = 64;
const COARSE_BLOCKS: u32 = 16;

/// Sets the bits of a whole roll in memory that holds zeros.
pub(super) fn fill(image: &Image<'_>, roll: &Roll) {
    let mut sweep = Sweep::new(roll.outermost(Family::V4));
    for word in (0..BLOCKS).step_by(WORD_BLOCKS as usize) {
        let bits = sweep.word(word);
        if bits.any != 0 {
            write_fine(image, word, bits, u64::MAX);
            write_coarse(image, word..=word + WORD_BLOCKS - 1);
        }
    }
    for net in roll.outermost(Family::V6) {
        hint(image, &net);
    }
}

/// Sets the bits of a network that no other entry holds.
pub(super) fn widen(image: &Image<'_>, roll: &Roll, net: &Net) {
    match net.family() {
        Family::V4 => write_blocks(image, roll, net),
        Family::V6 => hint(image, net),
    }
}

/// Clears the bits of a network that no entry holds any more, but for those of entries inside it.
pub(super) fn narrow(image: &Image<'_>, roll: &Roll, net: &Net) {
    match net.family() {
        Family::V4 => write_blocks(image, roll, net),
        // Another entry may have the same hash: what is cleared would have to be counted. A bit too many
        // costs a probe, until the list is built anew.
        Family::V6 => roll.outermost_inside(net).for_each(|inner| hint(image, &inner)),
    }
}

/// Sets the bits by which an IPv6 network is found.
fn hint(image: &Image<'_>, net: &Net) {
    let [high, _] = net.addr().words();
    let first_32 = (high >> 32) as u32;
    if net.prefix() >= SHORT_BELOW {
        set(image, spread_of(first_32));
        return;
    }
    let first = first_32 >> 16;
    let count = 1u32 << (16 - net.prefix().min(16));
    (first..first + count).for_each(|number| set(image, short(number)));
}

fn set(image: &Image<'_>, place: Place) {
    let word = image.cover_word(place.line, place.word);
    let held = word.load(Ordering::Relaxed);
    if held >> place.bit & 1 == 0 {
        word.store(held | 1 << place.bit, Ordering::Release);
    }
}

/// Returns the /24s that a network reaches into.
fn blocks(net: &Net) -> RangeInclusive<u32> {
    let [high, _] = net.addr().words();
    let first = (high >> 40) as u32;
    let count = 1u32 << (EXACT_BITS - net.prefix().min(EXACT_BITS));
    first..=first + (count - 1)
}

/// Brings the bits of every /24 that `net` reaches into to what the roll says. No entry around `net` but
/// that of `net` itself may hold them.
fn write_blocks(image: &Image<'_>, roll: &Roll, net: &Net) {
    let blocks = blocks(net);
    // A longer network shares its block with others.
    let around = widened(net);
    let own = roll.id(&around).map(|_| around);
    let inside = own.is_none().then(|| roll.outermost_inside(&around));
    let mut sweep = Sweep::new(own.into_iter().chain(inside.into_iter().flatten()));
    let first_word = blocks.start() / WORD_BLOCKS * WORD_BLOCKS;
    for word in (first_word..=*blocks.end()).step_by(WORD_BLOCKS as usize) {
        let bits = sweep.word(word);
        write_fine(image, word, bits, mask(word, &blocks));
    }
    write_coarse(image, blocks);
}

/// Returns the network, or the /24 around it.
fn widened(net: &Net) -> Net {
    let prefix = net.prefix().min(EXACT_BITS);
    crate::gate::cidr::ancestry(*net)
        .find(|around| around.prefix() == prefix)
        .expect("invariant: a network has every shorter one around it")
}

/// Returns the bits of the word that begins at block `first` which stand for `blocks`.
fn mask(first: u32, blocks: &RangeInclusive<u32>) -> u64 {
    let low = blocks.start().saturating_sub(first);
    let high = (blocks.end() - first).min(WORD_BLOCKS - 1);
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// Writes the bits of a word's blocks. What is no longer whole is narrowed before what is no longer there is
/// cleared, and that before anything is added: whatever a reader sees between, an address that is listed now
/// and before is found, by the bits or by its cell, and one that is not is found by neither.
fn write_fine(image: &Image<'_>, first: u32, bits: Bits, mask: u64) {
    let Place { line, word, .. } = fine(first);
    let (any, whole) = (image.cover_word(line, word), image.cover_word(line, whole_word(word)));
    let (any_held, whole_held) = (any.load(Ordering::Relaxed), whole.load(Ordering::Relaxed));
    let any_wanted = (any_held & !mask) | (bits.any & mask);
    let whole_wanted = (whole_held & !mask) | (bits.whole & mask);
    for (word, held, value) in [
        (whole, whole_held, whole_held & whole_wanted),
        (any, any_held, any_held & any_wanted),
        (whole, whole_held & whole_wanted, whole_wanted),
        (any, any_held & any_wanted, any_wanted),
    ] {
        if held != value {
            word.store(value, Ordering::Release);
        }
    }
}

/// Brings the coarse bits of these blocks to what their fine bits say.
fn write_coarse(image: &Image<'_>, blocks: RangeInclusive<u32>) {
    for number in blocks.start() / COARSE_BLOCKS..=blocks.end() / COARSE_BLOCKS {
        let Place { line, word, bit } = fine(number * COARSE_BLOCKS);
        let any = image.cover_word(line, word).load(Ordering::Relaxed) >> bit & 0xffff;
        let place = coarse(number);
        let coarse_word = image.cover_word(place.line, place.word);
        let held = coarse_word.load(Ordering::Relaxed);
        let wanted = if any == 0 { held & !(1 << place.bit) } else { held | 1 << place.bit };
        if held != wanted {
            coarse_word.store(wanted, Ordering::Release);
        }
    }
}

/// The bits of the 64 blocks of one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bits {
    any: u64,
    whole: u64,
}

/// Goes over the blocks in order, beside the networks that reach into them.
struct Sweep<I: Iterator<Item = Net>> {
    nets: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Net>> Sweep<I> {
    /// Begins with networks that do not overlap, in order.
    fn new(nets: I) -> Self {
        Self { nets: nets.peekable() }
    }

    /// Returns the bits of the blocks from `first` on; each call's are behind those of the last.
    fn word(&mut self, first: u32) -> Bits {
        let last = first + (WORD_BLOCKS - 1);
        let mut bits = Bits::default();
        // The addresses that longer networks hold of the block at hand.
        let mut partial = (0u32, 0u32);
        while let Some(net) = self.nets.peek() {
            let blocks = blocks(net);
            if *blocks.start() > last {
                break;
            }
            if *blocks.end() >= first {
                let reach = mask(first, &blocks);
                bits.any |= reach;
                if net.prefix() <= EXACT_BITS {
                    bits.whole |= reach;
                } else {
                    let block = *blocks.start();
                    let held = if partial.0 == block { partial.1 } else { 0 };
                    let held = held + (1 << (32 - net.prefix()));
                    partial = (block, held);
                    if held == 256 {
                        bits.whole |= reach;
                    }
                }
            }
            if *blocks.end() > last {
                break;
            }
            self.nets.next();
        }
        bits
    }
}
