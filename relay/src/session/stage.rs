//! Which verb is lawful where (RFC 5321, section 4.1.4; RFC 3207, section 4; RFC 4954, section 4).

use super::replies::{self, Phrase};
use crate::smtp::command::Verb;

/// How far a session has come. Before [`Stage::Secured`] nothing about mail is lawful, and before
/// [`Stage::Ready`] no mail is: TLS and a login are required, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// In the clear; the client has not named itself.
    Clear,
    /// In the clear, after EHLO or HELO.
    ClearGreeted,
    /// Under TLS; whatever was said before is forgotten.
    Secured,
    /// Under TLS, after EHLO or HELO.
    Greeted,
    /// Authenticated; no transaction.
    Ready,
    /// MAIL was accepted.
    Sender,
    /// At least one recipient was accepted.
    Recipients,
    /// A chunk of the message was received, and more are to come.
    Chunks,
}

impl Stage {
    /// Tells whether `verb` is lawful in this stage; what follows is for the command to say.
    ///
    /// # Errors
    ///
    /// `530 5.7.0` where TLS or a login is missing, `503 5.5.1` for a verb out of order, `554 5.5.1`
    /// for DATA or BDAT after recipients that were all refused.
    #[expect(clippy::match_same_arms, reason = "a table in the order of the stages")]
    pub(super) const fn admit(self, verb: Verb) -> Result<(), Phrase> {
        use Stage::{Chunks, Clear, ClearGreeted, Greeted, Ready, Recipients, Secured, Sender};
        match (self, verb) {
            (_, Verb::Ehlo | Verb::Helo | Verb::Noop | Verb::Rset | Verb::Quit) => Ok(()),

            (ClearGreeted, Verb::StartTls) => Ok(()),
            (Clear, Verb::StartTls) => Err(replies::HELLO_FIRST),
            (Clear | ClearGreeted, _) => Err(replies::TLS_FIRST),
            (_, Verb::StartTls) => Err(replies::TLS_ALREADY),

            (_, Verb::Vrfy | Verb::Help | Verb::Off | Verb::Foreign | Verb::Unknown) => Ok(()),

            (
                Secured,
                Verb::Auth | Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::Xclient,
            ) => Err(replies::HELLO_FIRST),
            (Greeted, Verb::Auth | Verb::Xclient) => Ok(()),
            (Greeted, Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat) => {
                Err(replies::LOGIN_FIRST)
            }
            (Ready | Sender | Recipients | Chunks, Verb::Auth | Verb::Xclient) => {
                Err(replies::LOGIN_ALREADY)
            }
            (Ready, Verb::Mail) => Ok(()),
            (Sender | Recipients | Chunks, Verb::Mail) => Err(replies::MAIL_ALREADY),
            (Ready, Verb::Rcpt | Verb::Data | Verb::Bdat) => Err(replies::MAIL_FIRST),
            (Sender | Recipients, Verb::Rcpt) => Ok(()),
            (Sender, Verb::Data | Verb::Bdat) => Err(replies::NO_RECIPIENTS),
            (Recipients, Verb::Data | Verb::Bdat) => Ok(()),
            (Chunks, Verb::Bdat) => Ok(()),
            // RFC 3030, section 2: a message comes by one of the two, and its envelope is closed.
            (Chunks, Verb::Rcpt | Verb::Data) => Err(replies::CHUNKS_BEGAN),
        }
    }

    /// Returns the stage after an accepted EHLO or HELO, which also ends a transaction (RFC 5321,
    /// section 4.1.4).
    #[must_use]
    pub(super) const fn greeted(self) -> Self {
        match self {
            Self::Clear | Self::ClearGreeted => Self::ClearGreeted,
            Self::Secured | Self::Greeted => Self::Greeted,
            Self::Ready | Self::Sender | Self::Recipients | Self::Chunks => Self::Ready,
        }
    }

    /// Returns the stage after the end of a transaction, by whatever way.
    #[must_use]
    pub(super) const fn without_transaction(self) -> Self {
        match self {
            Self::Ready | Self::Sender | Self::Recipients | Self::Chunks => Self::Ready,
            Self::Clear | Self::ClearGreeted | Self::Secured | Self::Greeted => self,
        }
    }

    /// Returns whether the connection is under TLS.
    #[must_use]
    pub(super) const fn is_secured(self) -> bool {
        match self {
            Self::Clear | Self::ClearGreeted => false,
            Self::Secured
            | Self::Greeted
            | Self::Ready
            | Self::Sender
            | Self::Recipients
            | Self::Chunks => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row a verb, one column a stage; 0 stands for lawful.
    #[test]
    fn the_order_of_commands_is_this_table() {
        use Stage::{Chunks, Clear, ClearGreeted, Greeted, Ready, Recipients, Secured, Sender};
        const STAGES: [Stage; 8] =
            [Clear, ClearGreeted, Secured, Greeted, Ready, Sender, Recipients, Chunks];
        #[rustfmt::skip]
        let rows: [(Verb, [u16; 8]); 17] = [
            //               Clear  +EHLO  TLS  +EHLO  +AUTH  +MAIL  +RCPT  +BDAT
            (Verb::Ehlo,     [  0,     0,    0,    0,     0,     0,     0,     0]),
            (Verb::Helo,     [  0,     0,    0,    0,     0,     0,     0,     0]),
            (Verb::Noop,     [  0,     0,    0,    0,     0,     0,     0,     0]),
            (Verb::Rset,     [  0,     0,    0,    0,     0,     0,     0,     0]),
            (Verb::Quit,     [  0,     0,    0,    0,     0,     0,     0,     0]),
            (Verb::StartTls, [503,     0,  503,  503,   503,   503,   503,   503]),
            (Verb::Auth,     [530,   530,  503,    0,   503,   503,   503,   503]),
            (Verb::Mail,     [530,   530,  503,  530,     0,   503,   503,   503]),
            (Verb::Rcpt,     [530,   530,  503,  530,   503,     0,     0,   503]),
            (Verb::Data,     [530,   530,  503,  530,   503,   554,     0,   503]),
            (Verb::Bdat,     [530,   530,  503,  530,   503,   554,     0,     0]),
            (Verb::Vrfy,     [530,   530,    0,    0,     0,     0,     0,     0]),
            (Verb::Help,     [530,   530,    0,    0,     0,     0,     0,     0]),
            (Verb::Xclient,  [530,   530,  503,    0,   503,   503,   503,   503]),
            (Verb::Off,      [530,   530,    0,    0,     0,     0,     0,     0]),
            (Verb::Foreign,  [530,   530,    0,    0,     0,     0,     0,     0]),
            (Verb::Unknown,  [530,   530,    0,    0,     0,     0,     0,     0]),
        ];
        for (verb, codes) in rows {
            for (stage, code) in STAGES.iter().zip(codes) {
                let found = stage.admit(verb).map_or_else(Phrase::code, |()| 0);
                assert_eq!(found, code, "{verb:?} in {stage:?}");
            }
        }
    }
}
