//! The order of the rules, for the kernel and for tests alike.
//!
//! 1. tags and IP header, fragments and header chains: [`frame::read`];
//! 2. TCP to a guarded port, or undecidable? All else passes at once, without a lookup;
//! 3. not on the allowlist: drop; banned: drop; a connection attempt over its entry's rate: drop;
//! 4. pass, and count.
//!
//! So a flood of strangers pays for one lookup, and other services for none.

use crate::addr::Addr;
use crate::frame::{self, Content, Fault, Frame, Segment};
use crate::table::{EntryId, Scope, Settings};

/// What becomes of a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame goes on to the stack.
    Pass(Reason),
    /// The frame is dropped.
    Drop(Reason),
}

impl Verdict {
    /// Returns why.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason) | Self::Drop(reason) => reason,
        }
    }

    /// Returns whether the frame goes on to the stack.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Pass(_))
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
        }
    }

    /// Returns the verdict with this [`code`](Self::code); `None` if there is none.
    pub fn from_code(code: u32) -> Option<Self> {
        let reason = Reason::from_index(code & 0xff)?;
        match code & !0xff {
            Self::PASSES => Some(Self::Pass(reason)),
            Self::DROPS => Some(Self::Drop(reason)),
            _ => None,
        }
    }

    const PASSES: u32 = 0x100;
    const DROPS: u32 = 0x200;
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
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 17] = [
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
            | Self::ListedUndecidable => false,
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
            | Self::OverRate => true,
        }
    }

    /// Returns whether the gate counts this reason: all but [`Reason::Unguarded`].
    #[inline(always)]
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::Unguarded)
    }
}

/// The tables that a verdict needs: the kernel's maps, or a test's.
pub trait Tables {
    /// Returns whether `port` is guarded. A table that cannot be read guards every port.
    fn guarded(&self, port: u16) -> bool;

    /// Returns the settings. A table that cannot be read has the strictest.
    fn settings(&self) -> Settings;

    /// Returns the entry of the longest network that holds `source`.
    fn listed(&self, source: &Addr) -> Option<EntryId>;

    /// Returns the time until which `source` is banned, in nanoseconds of the boot clock, also if it is
    /// over.
    fn banned_until_ns(&self, source: &Addr) -> Option<u64>;

    /// Returns the boot clock's time in nanoseconds.
    ///
    /// It is a question and no argument because the answer costs 30 ns: only a source that has a ban, or
    /// an entry with a counter to stamp, needs it.
    fn now_ns(&self) -> u64;

    /// Takes a connection attempt of `entry` into account, unless these tables only explain.
    fn connect(&self, entry: EntryId) -> Connect;
}

/// Whether a connection attempt is within the rate of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// It is, or the entry has no rate.
    WithinRate,
    /// It is not.
    OverRate,
}

/// Returns what becomes of `frame`.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, T: Tables + ?Sized>(frame: &F, tables: &T) -> Verdict {
    let (network, claim) = match frame::read(frame) {
        Content::Other => return Verdict::Pass(Reason::Unguarded),
        Content::LaterFragment => return Verdict::Pass(Reason::LaterFragment),
        Content::Tcp { network, port, segment } => {
            if !tables.guarded(port) {
                return Verdict::Pass(Reason::Unguarded);
            }
            if matches!(segment, Segment::Other)
                && matches!(tables.settings().scope(), Scope::SynOnly)
            {
                return Verdict::Pass(Reason::OutOfScope);
            }
            (network, Claim::of(segment))
        }
        Content::Undecidable { network: Some(network), fault } => (network, Claim::unknown(fault)),
        Content::Undecidable { network: None, fault } => {
            return Verdict::Drop(Claim::unknown(fault).refused);
        }
    };
    match network.source(frame) {
        Some(source) => judge_claim(&source, claim, tables),
        None => Verdict::Drop(claim.refused),
    }
}

/// Returns what would become of a SYN from `source` to a guarded port.
pub fn judge_connect<T: Tables + ?Sized>(source: &Addr, tables: &T) -> Verdict {
    judge_claim(source, Claim::of(Segment::Syn), tables)
}

/// What a frame asks for, as the reasons of its three possible answers.
struct Claim {
    /// Why it is dropped if its source is not listed.
    refused: Reason,
    /// Why it passes if its source is listed.
    accepted: Reason,
}

impl Claim {
    #[inline(always)]
    const fn of(segment: Segment) -> Self {
        match segment {
            Segment::Syn => Self { refused: Reason::UnlistedSyn, accepted: Reason::Admitted },
            Segment::Other => Self { refused: Reason::UnlistedSegment, accepted: Reason::Listed },
            Segment::Fragment => {
                Self { refused: Reason::UnlistedFragment, accepted: Reason::Admitted }
            }
            Segment::Short => Self::unknown(Fault::Truncated),
        }
    }

    #[inline(always)]
    const fn unknown(fault: Fault) -> Self {
        let refused = match fault {
            Fault::TagsTooDeep => Reason::TagsTooDeep,
            Fault::Truncated => Reason::Truncated,
            Fault::Malformed => Reason::Malformed,
            Fault::ChainTooLong => Reason::ChainTooLong,
            Fault::Hidden => Reason::HiddenPort,
        };
        Self { refused, accepted: Reason::ListedUndecidable }
    }

    /// Returns whether it may be a connection attempt. What cannot be read may be one, so that nobody
    /// gets around his rate by writing unreadable frames.
    #[inline(always)]
    const fn may_connect(&self) -> bool {
        !matches!(self.accepted, Reason::Listed)
    }
}

#[inline(always)]
fn judge_claim<T: Tables + ?Sized>(source: &Addr, claim: Claim, tables: &T) -> Verdict {
    if source.is_mapped() {
        return Verdict::Drop(Reason::MappedSource);
    }
    let Some(entry) = tables.listed(source) else {
        return Verdict::Drop(claim.refused);
    };
    if let Some(until_ns) = tables.banned_until_ns(source)
        && tables.now_ns() < until_ns
    {
        return Verdict::Drop(Reason::Banned);
    }
    if !claim.may_connect() {
        return Verdict::Pass(claim.accepted);
    }
    match tables.connect(entry) {
        Connect::WithinRate => Verdict::Pass(claim.accepted),
        Connect::OverRate => Verdict::Drop(Reason::OverRate),
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
        assert_eq!(Reason::from_index(17), None);
        for verdict in Reason::ALL
            .into_iter()
            .flat_map(|reason| [Verdict::Pass(reason), Verdict::Drop(reason)])
        {
            assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
        }
        assert_eq!([0, 1, 2, 6, 0x111, 0x300].map(Verdict::from_code), [None; 6]);
        let mut names = Reason::ALL.map(Reason::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
