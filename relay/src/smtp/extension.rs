//! Extensions whose promise somebody else has to keep: what a client is told with 250 must hold
//! over the next hop too, so each is offered only where the sending side keeps it.
//!
//! Not here: extensions that this server keeps alone (PIPELINING, SIZE, 8BITMIME, CHUNKING,
//! ENHANCEDSTATUSCODES, LIMITS, STARTTLS, AUTH), which are always offered.

/// An extension that is kept together with the sending side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Addresses and headers in UTF-8 (RFC 6531).
    SmtpUtf8,
    /// Bodies without lines (RFC 3030, section 3).
    BinaryMime,
    /// Reports of delivery as the sender wants them (RFC 3461).
    Dsn,
    /// TLS on every hop (RFC 8689).
    RequireTls,
    /// Messages that are held until a time (RFC 4865).
    FutureRelease,
    /// Messages that must arrive in a time (RFC 2852).
    DeliverBy,
    /// Priorities (RFC 6710).
    MtPriority,
}

/// A set of extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions(u8);

impl Extensions {
    /// No extension.
    pub const NONE: Self = Self(0);
    /// Every extension.
    pub const ALL: Self = Self::NONE
        .with(Extension::SmtpUtf8)
        .with(Extension::BinaryMime)
        .with(Extension::Dsn)
        .with(Extension::RequireTls)
        .with(Extension::FutureRelease)
        .with(Extension::DeliverBy)
        .with(Extension::MtPriority);

    /// Returns the set with `extension` in it.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | extension.bit())
    }

    /// Tells whether `extension` is in the set.
    #[must_use]
    pub const fn has(self, extension: Extension) -> bool {
        self.0 & extension.bit() != 0
    }
}

impl Extension {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let set = Extensions::NONE.with(Extension::Dsn).with(Extension::MtPriority);
        assert!(set.has(Extension::Dsn) && set.has(Extension::MtPriority));
        assert!(!set.has(Extension::SmtpUtf8) && !Extensions::NONE.has(Extension::Dsn));
        assert!(
            Extensions::ALL.has(Extension::SmtpUtf8) && Extensions::ALL.has(Extension::MtPriority)
        );
    }
}
