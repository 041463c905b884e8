//! The gate's state in one word: which list counts, how strictly, and what the doors do.
//!
//! The program reads it once a frame, and what it says changes at one moment: which networks of both families
//! are listed, mode and scope. The terms of an entry are in its row, and change there. Zero is the strictest
//! state: it enforces a list that is not there.

/// The lists that the tables have room for: two that take turns, and one in shadow.
pub const SLOTS: u32 = 3;

/// Where a list lies: one of [`SLOTS`] places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// The slot of a candidate list, which judges nobody.
    pub const SHADOW: Self = Self(2);
    /// The two slots of lists that count.
    pub const LIVE: [Self; 2] = [Self(0), Self(1)];

    /// Returns its number, less than [`SLOTS`].
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0
    }

    /// Returns the other live slot.
    pub const fn other(self) -> Self {
        Self(1 - (self.0 & 1))
    }
}

/// Which segments to a guarded port are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one: a stranger's port scan of any kind meets silence.
    EverySegment,
    /// Only what may be a SYN: the host answers a stranger's other segments with RST.
    SynOnly,
}

/// What becomes of what should be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is dropped.
    Enforce,
    /// It passes and is counted, until a time that stands beside the word.
    Observe,
    /// It passes: the gate was detached on purpose, and the second door must not stay shut.
    Open,
}

/// What the second door does about the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The first door stands on every interface: the second counts no attempts and takes from no rate.
    No,
    /// It does not: the second does both.
    Judges,
    /// It does not, and the second lets nobody in.
    Shuts,
}

/// The word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct State(u64);

impl State {
    const SLOT: u64 = 1;
    const SHADOW: u64 = 1 << 1;
    const SYN_ONLY: u64 = 1 << 2;
    const OBSERVE: u64 = 1 << 3;
    const OPEN: u64 = 1 << 4;
    const ALONE: u64 = 1 << 5;
    const SHUT: u64 = 1 << 6;
    const MANY: u64 = 1 << 7;
    const OWN_HOST: u64 = 1 << 8;
    const NUMBER_SHIFT: u32 = 32;

    /// Returns the state that this word means.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Returns the word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    const fn with(self, bits: u64, is_set: bool) -> Self {
        Self(if is_set { self.0 | bits } else { self.0 & !bits })
    }

    /// Returns this state with the list in `slot`, as generation `number`.
    pub const fn with_list(self, slot: Slot, number: u32) -> Self {
        let rest = self.with(Self::SLOT, slot.0 & 1 == 1).0 & (u32::MAX as u64);
        Self(rest | (number as u64) << Self::NUMBER_SHIFT)
    }

    /// Returns this state with or without a candidate list in [`Slot::SHADOW`].
    pub const fn with_shadow(self, shadow: Shadow) -> Self {
        self.with(Self::SHADOW, matches!(shadow, Shadow::Stands))
    }

    /// Returns this state with this scope.
    pub const fn with_scope(self, scope: Scope) -> Self {
        self.with(Self::SYN_ONLY, matches!(scope, Scope::SynOnly))
    }

    /// Returns this state with this mode.
    pub const fn with_mode(self, mode: Mode) -> Self {
        self.with(Self::OBSERVE, matches!(mode, Mode::Observe))
            .with(Self::OPEN, matches!(mode, Mode::Open))
    }

    /// Returns this state with the second door so.
    pub const fn with_alone(self, alone: Alone) -> Self {
        self.with(Self::ALONE, !matches!(alone, Alone::No))
            .with(Self::SHUT, matches!(alone, Alone::Shuts))
    }

    /// Returns this state with one guarded interface, which needs no row looked up, or several.
    pub const fn with_interfaces(self, interfaces: Interfaces) -> Self {
        self.with(Self::MANY, matches!(interfaces, Interfaces::Many))
    }

    /// Returns this state with connections of the host to itself admitted or not.
    pub const fn with_own_host(self, own_host: OwnHost) -> Self {
        self.with(Self::OWN_HOST, matches!(own_host, OwnHost::Admitted))
    }

    /// Returns whether every segment is looked at, and dropped if it should be.
    #[inline(always)]
    pub const fn is_strictest(self) -> bool {
        self.0 & (Self::SYN_ONLY | Self::OBSERVE | Self::OPEN) == 0
    }

    /// Returns where the list lies that counts.
    #[inline(always)]
    pub const fn slot(self) -> Slot {
        Slot((self.0 & Self::SLOT) as u32)
    }

    /// Returns the number of that list's generation: it grows with every list that is built.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        (self.0 >> Self::NUMBER_SHIFT) as u32
    }

    /// Returns whether a candidate list stands in shadow.
    #[inline(always)]
    pub const fn has_shadow(self) -> bool {
        self.0 & Self::SHADOW != 0
    }

    /// Returns which segments are looked at.
    #[inline(always)]
    pub const fn scope(self) -> Scope {
        if self.0 & Self::SYN_ONLY == 0 { Scope::EverySegment } else { Scope::SynOnly }
    }

    /// Returns what becomes of what should be dropped. A word that says two things is the stricter.
    #[inline(always)]
    pub const fn mode(self) -> Mode {
        match self.0 & (Self::OBSERVE | Self::OPEN) {
            Self::OBSERVE => Mode::Observe,
            Self::OPEN => Mode::Open,
            _ => Mode::Enforce,
        }
    }

    /// Returns what the second door does about the first.
    #[inline(always)]
    pub const fn alone(self) -> Alone {
        match self.0 & (Self::ALONE | Self::SHUT) {
            0 => Alone::No,
            Self::ALONE => Alone::Judges,
            _ => Alone::Shuts,
        }
    }

    /// Returns what becomes of connections of the host to itself.
    #[inline(always)]
    pub const fn own_host(self) -> OwnHost {
        if self.0 & Self::OWN_HOST == 0 { OwnHost::Judged } else { OwnHost::Admitted }
    }

    /// Returns whether the row of an interface must be looked up.
    #[inline(always)]
    pub const fn interfaces(self) -> Interfaces {
        if self.0 & Self::MANY == 0 { Interfaces::One } else { Interfaces::Many }
    }
}

/// What the second door does with connections of the host to itself, which no XDP program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnHost {
    /// They are judged like all others.
    Judged,
    /// They are admitted.
    Admitted,
}

/// Whether a candidate list stands in shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// There is none.
    None,
    /// It stands.
    Stands,
}

/// How many interfaces are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// One: its row is the first.
    One,
    /// Several.
    Many,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_the_strictest() {
        let state = State::default();
        assert_eq!(
            (state.scope(), state.mode(), state.alone(), state.own_host(), state.number()),
            (Scope::EverySegment, Mode::Enforce, Alone::No, OwnHost::Judged, 0)
        );
    }

    #[test]
    fn each_part_changes_alone() {
        let mut state = State::default();
        for slot in [Slot::LIVE[1], Slot::LIVE[0], Slot::LIVE[1]] {
            state = state.with_list(slot, 0xffff_fffe);
            assert_eq!((state.slot(), state.number()), (slot, 0xffff_fffe));
        }
        for mode in [Mode::Observe, Mode::Open, Mode::Enforce, Mode::Observe] {
            state = state.with_mode(mode);
            assert_eq!(state.mode(), mode);
        }
        for alone in [Alone::Judges, Alone::Shuts, Alone::No, Alone::Shuts] {
            state = state.with_alone(alone);
            assert_eq!(state.alone(), alone);
        }
        state = state.with_scope(Scope::SynOnly).with_shadow(Shadow::Stands);
        state = state.with_interfaces(Interfaces::Many).with_own_host(OwnHost::Admitted);
        assert_eq!(
            (state.slot(), state.number(), state.mode(), state.alone()),
            (Slot::LIVE[1], 0xffff_fffe, Mode::Observe, Alone::Shuts)
        );
        assert_eq!(
            (state.scope(), state.has_shadow(), state.interfaces(), state.own_host()),
            (Scope::SynOnly, true, Interfaces::Many, OwnHost::Admitted)
        );
        assert_eq!(state.with_mode(Mode::Observe).with(State::OPEN, true).mode(), Mode::Enforce);
    }

    #[test]
    fn the_live_slots_take_turns() {
        assert_eq!(Slot::LIVE.map(Slot::other), [Slot::LIVE[1], Slot::LIVE[0]]);
        assert!(Slot::LIVE.iter().chain([&Slot::SHADOW]).all(|slot| slot.index() < SLOTS));
    }
}
