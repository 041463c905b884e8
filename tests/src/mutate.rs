//! Frames that nobody wrote: the written ones, changed by chance from a seed.

/// A small generator of numbers (SplitMix64): the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// Begins at a seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next number.
    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap_or(usize::MAX >> 1) % limit
    }
}

/// Bytes that mean something where a header could stand.
const TELLING: [u8; 16] = [0, 1, 2, 4, 6, 8, 0x10, 0x12, 0x29, 43, 44, 51, 60, 0x45, 0x60, 0xff];

/// The shortest frame that the kernel runs a program over.
pub const SHORTEST: usize = 14;

/// Returns a frame made of `from` (at least 14 bytes) by one to six changes; still at least 14 bytes.
#[must_use]
pub fn mutate(from: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut frame = from.to_vec();
    for _ in 0..=chance.below(6) {
        let at = chance.below(frame.len());
        match chance.below(7) {
            0 => frame[at] = chance.next() as u8,
            1 => frame[at] = TELLING[chance.below(TELLING.len())],
            2 => frame[at] ^= 1 << chance.below(8),
            3 => frame.truncate(at.max(SHORTEST)),
            4 => frame.insert(at, TELLING[chance.below(TELLING.len())]),
            5 if frame.len() > SHORTEST => drop(frame.remove(at)),
            5 => frame.push(0),
            _ => {
                let from = chance.below(other.len());
                let to = from + 1 + chance.below((other.len() - from).min(64));
                drop(frame.splice(at..at, other[from..to].iter().copied()));
            }
        }
        frame.truncate(2_048);
    }
    frame
}
