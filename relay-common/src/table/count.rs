//! The counters, by interface, port and reason.

use super::{INTERFACES_MAX, PORTS_MAX};
use crate::verdict::Reason;

/// What one CPU counted on one interface for one port, by [`Reason`]: one field each, in the order of their
/// numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "each is a reason's; they are fields so that bpftool names them")]
pub struct Counts {
    pub unguarded: u64,
    pub later_fragment: u64,
    pub out_of_scope: u64,
    pub listed: u64,
    pub admitted: u64,
    pub listed_undecidable: u64,
    pub unlisted_syn: u64,
    pub unlisted_segment: u64,
    pub unlisted_fragment: u64,
    pub tags_too_deep: u64,
    pub truncated: u64,
    pub malformed: u64,
    pub chain_too_long: u64,
    pub hidden_port: u64,
    pub mapped_source: u64,
    pub banned: u64,
    pub over_rate: u64,
    pub source_over_rate: u64,
    pub shut: u64,
    pub own_host: u64,
    /// Frames of any reason that passed although they should have been dropped.
    pub spared: u64,
    pub rest: [u64; 11],
}

impl Counts {
    /// Returns the counters in the order of the reasons' numbers.
    pub const fn by_reason(&self) -> [u64; Reason::ALL.len()] {
        [
            self.unguarded,
            self.later_fragment,
            self.out_of_scope,
            self.listed,
            self.admitted,
            self.listed_undecidable,
            self.unlisted_syn,
            self.unlisted_segment,
            self.unlisted_fragment,
            self.tags_too_deep,
            self.truncated,
            self.malformed,
            self.chain_too_long,
            self.hidden_port,
            self.mapped_source,
            self.banned,
            self.over_rate,
            self.source_over_rate,
            self.shut,
            self.own_host,
        ]
    }

    /// Returns the sums of two.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            unguarded: self.unguarded + other.unguarded,
            later_fragment: self.later_fragment + other.later_fragment,
            out_of_scope: self.out_of_scope + other.out_of_scope,
            listed: self.listed + other.listed,
            admitted: self.admitted + other.admitted,
            listed_undecidable: self.listed_undecidable + other.listed_undecidable,
            unlisted_syn: self.unlisted_syn + other.unlisted_syn,
            unlisted_segment: self.unlisted_segment + other.unlisted_segment,
            unlisted_fragment: self.unlisted_fragment + other.unlisted_fragment,
            tags_too_deep: self.tags_too_deep + other.tags_too_deep,
            truncated: self.truncated + other.truncated,
            malformed: self.malformed + other.malformed,
            chain_too_long: self.chain_too_long + other.chain_too_long,
            hidden_port: self.hidden_port + other.hidden_port,
            mapped_source: self.mapped_source + other.mapped_source,
            banned: self.banned + other.banned,
            over_rate: self.over_rate + other.over_rate,
            source_over_rate: self.source_over_rate + other.source_over_rate,
            shut: self.shut + other.shut,
            own_host: self.own_host + other.own_host,
            spared: self.spared + other.spared,
            rest: [0; 11],
        }
    }

    /// The place of [`spared`](Self::spared) among the words of this.
    pub const SPARED: u32 = Reason::ALL.len() as u32;
}

/// The rows of counters of one interface: one for frames without a port, one for each guarded port.
pub const PORT_ROWS: u32 = PORTS_MAX as u32 + 2;
/// The row of the second door, in place of an interface's.
pub const DOOR_ROW: u32 = INTERFACES_MAX as u32;
/// All rows of counters.
pub const COUNT_ROWS: u32 = (DOOR_ROW + 1) * PORT_ROWS;
/// The cells that interfaces are spread over.
pub const INTERFACE_CELLS: u32 = 256;

/// Returns the cell of an interface's number.
#[inline(always)]
pub const fn interface_cell(index: u32, factor: u32) -> u32 {
    index.wrapping_mul(factor) >> 24
}

/// Returns the row of a guarded port among those of an interface, from 1.
#[inline(always)]
pub const fn port_row(port: u16, factor: u32) -> u32 {
    1 + ((port as u32).wrapping_mul(factor) >> 28)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn every_reason_has_its_field() {
        let counts = Counts { unguarded: 1, own_host: 2, spared: 3, ..Counts::default() };
        let seen = counts.by_reason();
        assert_eq!((seen[0], seen[Reason::OwnHost as usize]), (1, 2));
        assert_eq!(seen.iter().sum::<u64>(), 3);
        assert_eq!(offset_of!(Counts, spared), Counts::SPARED as usize * 8);
        assert_eq!(offset_of!(Counts, own_host), Reason::OwnHost as usize * 8);
        assert_eq!(offset_of!(Counts, banned), Reason::Banned as usize * 8);
        assert_eq!(offset_of!(Counts, unlisted_syn), Reason::UnlistedSyn as usize * 8);
    }

    #[test]
    fn cells_and_rows_stay_within_their_tables() {
        for number in (0..=u32::MAX).step_by(65_537) {
            assert!(interface_cell(number, 0x9e37_79b1) < INTERFACE_CELLS);
            assert!(port_row(number as u16, 0x9e37_79b1) < PORT_ROWS);
        }
    }
}
