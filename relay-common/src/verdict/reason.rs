//! Verdicts and their reasons.

/// What becomes of a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame goes on to the stack.
    Pass(Reason),
    /// The frame is dropped.
    Drop(Reason),
    /// The frame goes on although it should be dropped, since the gate only observes or is open.
    Spare(Reason),
}

impl Verdict {
    /// Returns why.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason) | Self::Drop(reason) | Self::Spare(reason) => reason,
        }
    }

    /// Returns whether the frame goes on to the stack.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Pass(_) | Self::Spare(_))
    }

    /// Returns the verdict as one number.
    ///
    /// None of them is an XDP action: should somebody attach the program that returns them, the kernel takes
    /// each for an error, which drops.
    #[inline(always)]
    pub const fn code(self) -> u32 {
        match self {
            Self::Pass(reason) => Self::PASSES | reason.index(),
            Self::Drop(reason) => Self::DROPS | reason.index(),
            Self::Spare(reason) => Self::SPARES | reason.index(),
        }
    }

    /// Returns the verdict with this [`code`](Self::code); `None` if there is none.
    #[inline(always)]
    pub fn from_code(code: u32) -> Option<Self> {
        let reason = Reason::from_index(code & 0xff)?;
        match code & !0xff {
            Self::PASSES => Some(Self::Pass(reason)),
            Self::DROPS => Some(Self::Drop(reason)),
            Self::SPARES => Some(Self::Spare(reason)),
            _ => None,
        }
    }

    const PASSES: u32 = 0x100;
    const DROPS: u32 = 0x200;
    const SPARES: u32 = 0x400;
}

/// The code of a verdict, read without making a [`Verdict`] of it again: the kernel would look its reason up
/// in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// Returns whether the frame goes on to the stack.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        self.0 & (Verdict::PASSES | Verdict::SPARES) != 0
    }

    /// Returns whether the frame goes on although it should be dropped.
    #[inline(always)]
    pub const fn is_spared(self) -> bool {
        self.0 & Verdict::SPARES != 0
    }

    /// Returns the number of the reason.
    #[inline(always)]
    pub const fn reason(self) -> u32 {
        self.0 & 0xff
    }
}

/// Why a frame passed or was dropped. The number is the index of its counter and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Reason {
    /// Passed: nothing for a guarded port. It is not counted: other services pay for nothing.
    Unguarded = 0,
    /// Passed: a fragment that is not the first of its packet.
    LaterFragment = 1,
    /// Passed: not a SYN, and the gate was told to look at SYNs only.
    OutOfScope = 2,
    /// Passed: a segment of a listed source that is no connection attempt.
    Listed = 3,
    /// Passed: a connection attempt of a listed source.
    Admitted = 4,
    /// Passed: undecidable, but from a listed source.
    ListedUndecidable = 5,
    /// Dropped: a connection attempt of a source that is not listed.
    UnlistedSyn = 6,
    /// Dropped: another segment of a source that is not listed.
    UnlistedSegment = 7,
    /// Dropped: the first fragment of a segment from a source that is not listed.
    UnlistedFragment = 8,
    /// Dropped: more VLAN tags than are read.
    TagsTooDeep = 9,
    /// Dropped: ends before its port or flags, from a source that is not listed or cannot be read.
    Truncated = 10,
    /// Dropped: a header contradicts itself, from a source that is not listed.
    Malformed = 11,
    /// Dropped: more extension headers than are walked, from a source that is not listed.
    ChainTooLong = 12,
    /// Dropped: a first fragment that hides its port, from a source that is not listed.
    HiddenPort = 13,
    /// Dropped: an IPv4-mapped IPv6 source.
    MappedSource = 14,
    /// Dropped: a listed source that is banned.
    Banned = 15,
    /// Dropped: a connection attempt of a listed source over the rate of its entry.
    OverRate = 16,
    /// Dropped: a connection attempt of a listed source over the rate that its entry gives each source.
    SourceOverRate = 17,
    /// Dropped by the second door, which lets nobody in while the first is missing.
    Shut = 18,
    /// Passed by the second door: it came from this host itself.
    OwnHost = 19,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Unguarded,
        Self::LaterFragment,
        Self::OutOfScope,
        Self::Listed,
        Self::Admitted,
        Self::ListedUndecidable,
        Self::UnlistedSyn,
        Self::UnlistedSegment,
        Self::UnlistedFragment,
        Self::TagsTooDeep,
        Self::Truncated,
        Self::Malformed,
        Self::ChainTooLong,
        Self::HiddenPort,
        Self::MappedSource,
        Self::Banned,
        Self::OverRate,
        Self::SourceOverRate,
        Self::Shut,
        Self::OwnHost,
    ];

    /// Returns the index of the reason's counter.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Returns the reason of this counter; `None` for an index that no reason has.
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(index).ok()?).copied()
    }

    /// Returns the name under which the reason is shown and exported. It never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unguarded => "unguarded",
            Self::LaterFragment => "later_fragment",
            Self::OutOfScope => "out_of_scope",
            Self::Listed => "listed",
            Self::Admitted => "admitted",
            Self::ListedUndecidable => "listed_undecidable",
            Self::UnlistedSyn => "unlisted_syn",
            Self::UnlistedSegment => "unlisted_segment",
            Self::UnlistedFragment => "unlisted_fragment",
            Self::TagsTooDeep => "tags_too_deep",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::ChainTooLong => "chain_too_long",
            Self::HiddenPort => "hidden_port",
            Self::MappedSource => "mapped_source",
            Self::Banned => "banned",
            Self::OverRate => "over_rate",
            Self::SourceOverRate => "source_over_rate",
            Self::Shut => "shut",
            Self::OwnHost => "own_host",
        }
    }

    /// Returns whether frames with this reason are dropped.
    pub const fn drops(self) -> bool {
        match self {
            Self::Unguarded
            | Self::LaterFragment
            | Self::OutOfScope
            | Self::Listed
            | Self::Admitted
            | Self::ListedUndecidable
            | Self::OwnHost => false,
            Self::UnlistedSyn
            | Self::UnlistedSegment
            | Self::UnlistedFragment
            | Self::TagsTooDeep
            | Self::Truncated
            | Self::Malformed
            | Self::ChainTooLong
            | Self::HiddenPort
            | Self::MappedSource
            | Self::Banned
            | Self::OverRate
            | Self::SourceOverRate
            | Self::Shut => true,
        }
    }

    /// Returns whether the gate counts this reason: all but [`Reason::Unguarded`].
    #[inline(always)]
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::Unguarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        for (index, reason) in (0..).zip(Reason::ALL) {
            assert_eq!(reason.index(), index);
            assert_eq!(Reason::from_index(index), Some(reason));
        }
        assert_eq!(Reason::from_index(20), None);
        for verdict in Reason::ALL
            .into_iter()
            .flat_map(|reason| [Verdict::Pass, Verdict::Drop, Verdict::Spare].map(|of| of(reason)))
        {
            assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
            let code = Code(verdict.code());
            assert_eq!(code.passes(), verdict.passes());
            assert_eq!(code.is_spared(), matches!(verdict, Verdict::Spare(_)));
            assert_eq!(code.reason(), verdict.reason().index());
        }
        assert_eq!([0, 1, 2, 6, 0x114, 0x300].map(Verdict::from_code), [None; 6]);
        let mut names = Reason::ALL.map(Reason::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
