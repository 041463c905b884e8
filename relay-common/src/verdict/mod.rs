//! The order of the rules, for the kernel and for tests alike.
//!
//! 1. tags and IP header, fragments and header chains: [`frame::read`];
//! 2. TCP to a guarded port, or undecidable? All else passes at once, without a lookup;
//! 3. not on the allowlist: drop; banned: drop; a connection attempt over the rate of its entry or of its
//!    source: drop;
//! 4. pass, and count.
//!
//! So a flood of strangers pays for one lookup, and other services for none.
//!
//! The second door asks from the third rule on, about a source and a segment that the stack has read.

mod glance;
mod reason;

pub use glance::{See, glance};
pub use reason::{Code, Reason, Verdict};

use crate::addr::{Addr, Family};
use crate::frame::{self, Content, Fault, Frame, Segment};
use crate::state::{Alone, Mode, OwnHost, Scope, State};

/// The tables that a verdict needs: the kernel's maps, or a test's.
pub trait Tables {
    /// Returns whether `port` is guarded. A table that cannot be read guards every port.
    fn guarded(&self, port: u16) -> bool;

    /// Returns the gate's state, which names the list that counts. It is asked once a frame. A table that
    /// cannot be read has the strictest.
    fn state(&self) -> State;

    /// Returns whether the list of `state` holds `source`.
    fn covers(&self, state: State, source: &Addr) -> bool;

    /// Returns whether it takes no more than a glance to know that the list of `state` does not hold `source`.
    fn lacks(&self, state: State, source: &Addr) -> bool;

    /// Returns whether `source` is banned now.
    fn banned(&self, source: &Addr) -> bool;

    /// Takes a connection attempt of `source`, which the list of `state` covers, into account, unless these
    /// tables only explain.
    fn connect(&self, state: State, source: &Addr) -> Connect;

    /// Returns whether the time of the mode "observe" is not over.
    fn observing(&self) -> bool;
}

/// Whether a connection attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// It may.
    WithinRate,
    /// It is over the rate of its entry.
    OverRate,
    /// It is over the rate that its entry gives each source.
    SourceOverRate,
    /// Every entry that holds the source has ended meanwhile.
    Ended,
}

/// What is known of a frame before any list is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The verdict needs no list.
    Settled {
        /// The verdict.
        verdict: Verdict,
        /// The guarded port; 0 for none.
        port: u16,
    },
    /// The lists decide.
    Open(Question),
}

/// The bits that [`Question::pack`] needs beside the words of the source. Those above are not looked at by
/// [`Question::unpack`].
pub const REST_BITS: u32 = 48;

/// What the lists are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who sent it.
    pub source: Addr,
    /// The guarded port; 0 if none was reached.
    pub port: u16,
    /// The state to decide by.
    pub state: State,
    claim: Claim,
}

impl Question {
    /// Returns the question about a segment of `source` that was read by somebody else.
    #[inline(always)]
    pub const fn segment(source: Addr, port: u16, segment: Segment, state: State) -> Self {
        Self { source, port, state, claim: Claim::of(segment) }
    }

    /// Returns why it is dropped if the list lacks its source.
    #[inline(always)]
    pub const fn refusal(&self) -> Reason {
        self.claim.refused
    }

    /// Returns whether it may be a connection attempt.
    #[inline(always)]
    pub const fn may_connect(&self) -> bool {
        self.claim.may_connect()
    }

    /// Returns this in numbers, for a function that takes nothing else: the words of the source, and
    /// everything else but the state, in the lower [`REST_BITS`] bits.
    #[inline(always)]
    pub const fn pack(&self) -> ([u64; 2], u64) {
        let family = self.source.family() as u64;
        let claim = self.claim.refused.index() as u64 | (self.claim.accepted.index() as u64) << 8;
        (self.source.words(), claim | family << 16 | (self.port as u64) << 32)
    }

    /// Returns what [`pack`](Self::pack) packed.
    #[inline(always)]
    pub fn unpack(words: [u64; 2], rest: u64, state: State) -> Self {
        let family = if rest >> 16 & 0xff == Family::V4 as u64 { Family::V4 } else { Family::V6 };
        let reason = |index: u64| Reason::from_index(index as u32 & 0xff);
        let claim = Claim {
            refused: reason(rest).unwrap_or(Reason::UnlistedSyn),
            accepted: reason(rest >> 8).unwrap_or(Reason::Admitted),
        };
        Self { source: Addr::from_words(family, words), port: (rest >> 32) as u16, state, claim }
    }
}

/// Returns what becomes of `frame`.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, T: Tables>(frame: &F, tables: &T) -> Verdict {
    glance::judge(frame, tables)
}

/// Returns what becomes of `frame`, of which a glance does not tell enough.
#[inline(always)]
pub fn judge_read<F: Frame + ?Sized, T: Tables + ?Sized>(frame: &F, tables: &T) -> Verdict {
    match read(frame, tables) {
        Reading::Settled { verdict, .. } => verdict,
        Reading::Open(question) => decide(&question, tables),
    }
}

/// Reads `frame` as far as no list is needed: rules one and two.
#[inline(always)]
pub fn read<F: Frame + ?Sized, T: Tables + ?Sized>(frame: &F, tables: &T) -> Reading {
    let pass = |reason, port| Reading::Settled { verdict: Verdict::Pass(reason), port };
    let (network, port, claim, state) = match frame::read(frame) {
        Content::Other => return pass(Reason::Unguarded, 0),
        Content::LaterFragment => return pass(Reason::LaterFragment, 0),
        Content::Tcp { network, port, segment } => {
            if !tables.guarded(port) {
                return pass(Reason::Unguarded, 0);
            }
            let state = tables.state();
            if matches!(segment, Segment::Other) && matches!(state.scope(), Scope::SynOnly) {
                return pass(Reason::OutOfScope, port);
            }
            (Some(network), port, Claim::of(segment), state)
        }
        Content::Undecidable { network, fault } => {
            (network, 0, Claim::unknown(fault), tables.state())
        }
    };
    if let Some(source) = network.and_then(|network| network.source(frame)) {
        return Reading::Open(Question { source, port, state, claim });
    }
    Reading::Settled { verdict: spare(Verdict::Drop(claim.refused), state, tables), port }
}

/// Returns what would become of a SYN from `source` to a guarded port.
pub fn judge_connect<T: Tables + ?Sized>(source: &Addr, tables: &T) -> Verdict {
    decide(&Question::segment(*source, 0, Segment::Syn, tables.state()), tables)
}

/// From where a segment came to the second door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this host itself.
    OwnHost,
    /// From another.
    Network,
}

/// Returns what becomes of a segment at the second door: a socket's filter, behind everything that the stack
/// undoes.
#[inline(always)]
pub fn judge_segment<T: Tables + ?Sized>(
    question: &Question,
    origin: Origin,
    tables: &T,
) -> Verdict {
    let state = question.state;
    if matches!((origin, state.own_host()), (Origin::OwnHost, OwnHost::Admitted)) {
        return Verdict::Pass(Reason::OwnHost);
    }
    match state.alone() {
        Alone::Shuts => spare(Verdict::Drop(Reason::Shut), state, tables),
        Alone::No | Alone::Judges => decide(question, tables),
    }
}

/// Asks the lists: rules three and four.
#[inline(always)]
pub fn decide<T: Tables + ?Sized>(question: &Question, tables: &T) -> Verdict {
    spare(weigh(question, tables), question.state, tables)
}

/// Lets pass what should be dropped, in the modes that do so.
#[inline(always)]
fn spare<T: Tables + ?Sized>(verdict: Verdict, state: State, tables: &T) -> Verdict {
    match (verdict, state.mode()) {
        (Verdict::Drop(reason), Mode::Observe) if tables.observing() => Verdict::Spare(reason),
        (Verdict::Drop(reason), Mode::Open) => Verdict::Spare(reason),
        (verdict, _) => verdict,
    }
}

#[inline(always)]
fn weigh<T: Tables + ?Sized>(question: &Question, tables: &T) -> Verdict {
    let Question { source, state, claim, .. } = question;
    if source.is_mapped() {
        return Verdict::Drop(Reason::MappedSource);
    }
    if !tables.covers(*state, source) {
        return Verdict::Drop(claim.refused);
    }
    if tables.banned(source) {
        return Verdict::Drop(Reason::Banned);
    }
    if !claim.may_connect() {
        return Verdict::Pass(claim.accepted);
    }
    match tables.connect(*state, source) {
        Connect::WithinRate => Verdict::Pass(claim.accepted),
        Connect::OverRate => Verdict::Drop(Reason::OverRate),
        Connect::SourceOverRate => Verdict::Drop(Reason::SourceOverRate),
        Connect::Ended => Verdict::Drop(claim.refused),
    }
}

/// What a frame asks for, as the reasons of its two possible answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    const fn may_connect(self) -> bool {
        !matches!(self.accepted, Reason::Listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_survives_the_numbers_it_is_packed_in() {
        let state = State::default();
        let sources = [Addr::v4([192, 0, 2, 7]), Addr::v6_on_the_wire([0xfe; 16])];
        let faults = [
            Fault::TagsTooDeep,
            Fault::Truncated,
            Fault::Malformed,
            Fault::ChainTooLong,
            Fault::Hidden,
        ];
        let segments = [Segment::Syn, Segment::Other, Segment::Fragment, Segment::Short];
        let claims = segments.map(Claim::of).into_iter().chain(faults.map(Claim::unknown));
        for claim in claims {
            for source in sources {
                for port in [0, 2525, u16::MAX] {
                    let question = Question { source, port, state, claim };
                    let (words, rest) = question.pack();
                    assert_eq!(Question::unpack(words, rest, state), question);
                }
            }
        }
    }
}
