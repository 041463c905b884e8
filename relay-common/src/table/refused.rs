//! What is remembered of sources: sums of refused frames, samples of them, and rates of single sources.

use super::EntryId;
use crate::addr::Addr;

/// Frames that one CPU refused, by their sources: a count-min sketch for each length of networks in [`LEVEL_PREFIXES`].
///
/// Each of a level's two rows counts a source's network in one cell that others may share, so the smaller
/// of the two is never too small. It is too large by more than e/1024 of all that was counted with a
/// probability of less than e⁻² (Cormode and Muthukrishnan 2005, theorem 1). What is counted is a sample, see
/// [`is_sketched`]: a source of n frames is estimated with a standard error of about √(16 n).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sketch {
    /// Refused frames.
    pub total: u64,
    /// What the hash is mixed with.
    pub seed: u64,
    /// The counters of each level and row; they wrap.
    pub cells: [[[u32; SKETCH_CELLS]; SKETCH_ROWS]; LEVELS],
}

/// A sketch of nothing.
pub static NO_SKETCH: Sketch =
    Sketch { total: 0, seed: 0, cells: [[[0; SKETCH_CELLS]; SKETCH_ROWS]; LEVELS] };

/// Of so many refused frames of a CPU one is counted by its source, in the mean: a flood does not pay for it
/// each time.
pub const SKETCHED: u64 = 16;

/// Returns whether the `nth` refused frame is counted by its source. Nobody who does not know the seed can tell
/// which are, and so give them a source of his choice.
#[inline(always)]
pub const fn is_sketched(nth: u64, seed: u64) -> bool {
    let mut mixed = (nth ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 60 == 0
}

/// The cells of a row.
pub const SKETCH_CELLS: usize = 1_024;
/// The rows of a level.
pub const SKETCH_ROWS: usize = 2;
/// The levels.
pub const LEVELS: usize = 3;
/// The lengths of networks that sources are summed up by, in bits.
pub const LEVEL_PREFIXES: [[u8; LEVELS]; 2] = [[32, 24, 16], [64, 56, 48]];

/// Returns the cell of a network in each of the two rows of its level.
#[inline(always)]
pub const fn sketch_cells(network: &Addr, prefix: u8, seed: u64) -> [usize; SKETCH_ROWS] {
    let mixed = crate::lookup::cell::spread(network, prefix, seed) as usize;
    [mixed % SKETCH_CELLS, mixed / SKETCH_CELLS % SKETCH_CELLS]
}

/// A frame that was refused, or an admitted connection attempt, told as a sample: the reason tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sample {
    /// When, in nanoseconds of the boot clock.
    pub at_ns: u64,
    /// The source, see [`Addr::octets`].
    pub source: [u8; 16],
    /// The interface that it came in by, as the kernel numbers it.
    pub interface: u32,
    /// The generation that judged it.
    pub generation: u32,
    /// The guarded port; 0 where none was reached.
    pub port: u16,
    /// The VLAN that the network card or the stack took off, for the second door; 0 for none.
    pub vlan: u16,
    /// The number of the [`Reason`](crate::verdict::Reason).
    pub reason: u8,
    /// 4 or 6.
    pub family: u8,
    /// What saw it: 1 the first door, 2 the second.
    pub door: u8,
    /// How many bytes of `head` count.
    pub head_bytes: u8,
    /// The first bytes of the frame; for the second door of the IP packet.
    pub head: [u8; SAMPLE_HEAD],
}

/// The bytes of a sample's head.
pub const SAMPLE_HEAD: usize = 64;
/// [`Sample::door`] of the first door.
pub const FIRST_DOOR: u8 = 1;
/// [`Sample::door`] of the second.
pub const SECOND_DOOR: u8 = 2;
/// The bytes of the buffer that samples lie in until they are read.
pub const SAMPLES_BYTES: u32 = 1 << 18;

/// The connect rates of single sources, which all of them share: the smaller of a source's two cells counts
/// (as in a count-min sketch), so a source that shares cells may be told earlier that it makes too many
/// attempts, never later. Nothing in it can be pushed out.
pub const SOURCE_CELLS: u32 = 1 << 16;

/// Returns the cells of a source of an entry in the two halves of `source_rates`.
#[inline(always)]
pub const fn source_cells(entry: EntryId, source: &Addr, seed: u64) -> [u32; 2] {
    let [high, low] = source.words();
    let family = source.family();
    let own = Addr::from_words(family, [high, low ^ (entry.0 as u64).wrapping_mul(0x9e37_79b9)]);
    let mixed = crate::lookup::cell::spread(&own, 0, seed);
    [mixed % SOURCE_CELLS, SOURCE_CELLS + mixed / SOURCE_CELLS]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_sixteen_is_sketched_without_a_rhythm_and_differently_for_every_seed() {
        let of = |seed| (0..160_000).filter(|nth| is_sketched(*nth, seed)).collect::<Vec<u64>>();
        let [one, other] = [of(0x1234_5678_9abc_def0), of(0x0fed_cba9_8765_4321)];
        for sketched in [&one, &other] {
            assert!((9_500..10_500).contains(&sketched.len()), "{}", sketched.len());
            for rest in 0..16 {
                let share = sketched.iter().filter(|nth| *nth % 16 == rest).count();
                assert!((450..800).contains(&share), "{share} of rest {rest}");
            }
        }
        let both = one.iter().filter(|nth| other.binary_search(nth).is_ok()).count();
        assert!((400..900).contains(&both), "{both}");
    }

    #[test]
    fn cells_stay_within_their_tables() {
        for number in (0..=u32::MAX).step_by(65_537) {
            let source = Addr::v4(number.to_be_bytes());
            let [one, other] = source_cells(EntryId(7), &source, 1);
            assert!(one < SOURCE_CELLS && (SOURCE_CELLS..2 * SOURCE_CELLS).contains(&other));
            assert!(sketch_cells(&source, 32, 1).iter().all(|cell| *cell < SKETCH_CELLS));
        }
    }

    #[test]
    fn the_same_source_of_two_entries_has_different_cells() {
        let source = Addr::v4([192, 0, 2, 1]);
        assert_ne!(source_cells(EntryId(1), &source, 1), source_cells(EntryId(2), &source, 1));
        assert_ne!(source_cells(EntryId(1), &source, 1), source_cells(EntryId(1), &source, 2));
    }
}
