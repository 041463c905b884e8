//! What is so, is not, or cannot be told.

/// Whether one of the values is wanted, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    OneOf,
    NoneOf,
}

/// What a test makes of a packet; of several the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    Yes,
    Perhaps,
    No,
}

impl Sense {
    pub(super) const fn of(self, truth: Truth) -> Truth {
        match (self, truth) {
            (Self::OneOf, truth) => truth,
            (Self::NoneOf, Truth::Yes) => Truth::No,
            (Self::NoneOf, Truth::No) => Truth::Yes,
            (Self::NoneOf, Truth::Perhaps) => Truth::Perhaps,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::OneOf => Self::NoneOf,
            Self::NoneOf => Self::OneOf,
        }
    }
}

impl Truth {
    /// Returns what is so of one of several, whichever it is; of none it is not.
    pub(super) fn of_all(several: impl Iterator<Item = bool>) -> Self {
        several.map(Self::from).reduce(Self::whichever).unwrap_or(Self::No)
    }

    /// Returns what is so of one of two, whichever it is.
    pub(super) fn whichever(self, other: Self) -> Self {
        if self == other { self } else { Self::Perhaps }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }
}
