//! Every reply of a session, in one place (RFC 5321, section 4.2; RFC 3463).
//!
//! Texts say what is wrong and, where there is one, what to do. None repeats what the client sent.

use crate::mail::header::HeaderFault;
use crate::mail::message::MessageId;
use crate::policy::rate::Exceeded;
use crate::policy::relaying::Refusal;
use crate::smtp::body::BodyFault;
use crate::smtp::command::{ArgumentError, Verb};
use crate::smtp::line::LineError;
use crate::smtp::reply::{Enhanced, Reply};

use super::StoreFailure;
use super::exchange::ExchangeFault;

/// A reply that always reads the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phrase(u16, Enhanced, &'static str);

impl Phrase {
    /// Returns the three-digit code.
    #[cfg(test)]
    pub(super) const fn code(self) -> u16 {
        self.0
    }
}

impl From<Phrase> for Reply {
    fn from(Phrase(code, enhanced, text): Phrase) -> Self {
        Self::new(code, enhanced, text)
    }
}

const fn phrase(code: u16, class: u8, subject: u16, detail: u16, text: &'static str) -> Phrase {
    Phrase(code, Enhanced(class, subject, detail), text)
}

#[rustfmt::skip]
mod phrases {
    use super::{Phrase, phrase};

    pub const OK: Phrase = phrase(250, 2, 0, 0, "OK");
    pub const SENDER_OK: Phrase = phrase(250, 2, 1, 0, "Sender OK");
    pub const RECIPIENT_OK: Phrase = phrase(250, 2, 1, 5, "Recipient OK");
    pub const GOODBYE: Phrase = phrase(221, 2, 0, 0, "Goodbye");
    pub const VERIFY_NOT: Phrase = phrase(252, 2, 0, 0, "Addresses are not verified here; send the message and see");
    pub const HELP: Phrase = phrase(214, 2, 0, 0, "STARTTLS, AUTH, MAIL, RCPT, DATA, BDAT, RSET, NOOP, QUIT; see RFC 5321 and RFC 6409");
    pub const TLS_GO: Phrase = phrase(220, 2, 0, 0, "Begin the TLS handshake");
    pub const TLS_UNAVAILABLE: Phrase = phrase(454, 4, 7, 0, "TLS is not available for a local reason; try again later");
    pub const LOGIN_OK: Phrase = phrase(235, 2, 7, 0, "Authentication succeeded");
    pub const LOGIN_DENIED: Phrase = phrase(535, 5, 7, 8, "Authentication failed");
    pub const LOGIN_LATER: Phrase = phrase(454, 4, 7, 0, "Authentication is not possible now; try again later");
    pub const MECHANISM_UNKNOWN: Phrase = phrase(504, 5, 5, 4, "The mechanism is not offered here");
    pub const EHLO_FOR_BDAT: Phrase = phrase(503, 5, 5, 1, "BDAT needs EHLO");
    pub const EHLO_FOR_AUTH: Phrase = phrase(503, 5, 5, 1, "AUTH needs EHLO");
    pub const HELLO_FIRST: Phrase = phrase(503, 5, 5, 1, "Send EHLO first");
    pub const TLS_FIRST: Phrase = phrase(530, 5, 7, 0, "Send STARTTLS first");
    pub const TLS_ALREADY: Phrase = phrase(503, 5, 5, 1, "TLS is already in use");
    pub const LOGIN_FIRST: Phrase = phrase(530, 5, 7, 0, "Authentication is required");
    pub const LOGIN_ALREADY: Phrase = phrase(503, 5, 5, 1, "Already authenticated");
    pub const MAIL_FIRST: Phrase = phrase(503, 5, 5, 1, "Send MAIL first");
    pub const MAIL_ALREADY: Phrase = phrase(503, 5, 5, 1, "A transaction is already open");
    pub const NO_RECIPIENTS: Phrase = phrase(554, 5, 5, 1, "No valid recipients");
    pub const CHUNKS_BEGAN: Phrase = phrase(503, 5, 5, 1, "The message comes by BDAT; send its last chunk, or RSET");
    pub const BINARY_BY_DATA: Phrase = phrase(503, 5, 5, 1, "A message with BODY=BINARYMIME comes by BDAT");
    pub const HELD_TOO_LONG: Phrase = phrase(501, 5, 5, 4, "The message would be held for longer than the limit");
    pub const TOO_EARLY: Phrase = phrase(554, 5, 5, 0, "Data came before its turn, closing");
    pub const EXTENSION_NOT_OFFERED: Phrase = phrase(555, 5, 5, 4, "Parameters need EHLO");
    pub const MESSAGE_TOO_LARGE: Phrase = phrase(552, 5, 3, 4, "The message is larger than the limit");
    pub const TOO_MANY_RECIPIENTS: Phrase = phrase(452, 4, 5, 3, "Too many recipients; send the message to the others in another transaction");
    pub const STORE_FULL: Phrase = phrase(452, 4, 3, 1, "No room for the message; try again later");
    pub const STORE_SHARE_USED: Phrase = phrase(452, 4, 3, 1, "The messages of this login take its share of the spool; try again later");
    pub const STORE_FAILED: Phrase = phrase(451, 4, 3, 0, "The message could not be stored; try again later");
    pub const AUTHOR_DENIED: Phrase = phrase(550, 5, 7, 1, "From or Sender is not permitted for this login");
    pub const TOO_MANY_ERRORS: Phrase = phrase(421, 4, 7, 0, "Too many errors, closing");
    pub const TOO_MANY_IDLE_COMMANDS: Phrase = phrase(421, 4, 7, 0, "Too many commands without a message, closing");
    pub const TOO_MANY_FAILED_LOGINS: Phrase = phrase(421, 4, 7, 0, "Too many failed logins, closing");
    pub const TOO_MANY_SESSIONS: Phrase = phrase(421, 4, 7, 0, "This login has as many sessions as it may, closing; try again later");
    pub const TIMED_OUT: Phrase = phrase(421, 4, 4, 2, "Timed out, closing");
    pub const TOO_MANY_FROM_THERE: Phrase = phrase(421, 4, 7, 0, "Too many sessions from this address, closing");
    pub const XCLIENT_DENIED: Phrase = phrase(550, 5, 7, 0, "XCLIENT is not permitted for this address");
    pub const SHUTTING_DOWN: Phrase = phrase(421, 4, 3, 2, "Shutting down, closing");
    pub const NOT_ADMITTED: Phrase = phrase(421, 4, 7, 0, "This address is no longer admitted, closing");
    pub const WRONG_PROTOCOL: Phrase = phrase(421, 4, 7, 0, "This server speaks SMTP, closing");
}

pub(super) use phrases::*;

pub(super) fn greeting(hostname: &str) -> Reply {
    Reply::plain(220, &format!("{hostname} ESMTP Sallyport"))
}

/// A refusing greeting carries no enhanced code (RFC 2034, section 4).
pub(super) fn refusing_greeting(hostname: &str) -> Reply {
    Reply::plain(554, &format!("{hostname} data came before the greeting, closing"))
}

/// The greeting while shutting down.
pub(super) fn leaving_greeting(hostname: &str) -> Reply {
    Reply::plain(421, &format!("{hostname} shutting down, closing"))
}

pub(super) fn go_ahead() -> Reply {
    Reply::plain(354, "Send the message; end it with CRLF . CRLF")
}

pub(super) fn challenge(base64: &str) -> Reply {
    Reply::plain(334, base64)
}

/// The answer to a chunk that is not the last (RFC 3030, section 2).
pub(super) fn chunk(size_bytes: u64) -> Reply {
    Reply::new(250, Enhanced(2, 0, 0), &format!("{size_bytes} octets received"))
}

/// The answer to a BDAT whose octets cannot be told from commands.
pub(super) fn chunk_lost(error: ArgumentError) -> Reply {
    Reply::new(
        501,
        Enhanced(5, 5, 4),
        &format!("{}; where the chunk ends is unknown, closing", sentence(&error)),
    )
}

pub(super) fn stored(id: MessageId) -> Reply {
    Reply::new(250, Enhanced(2, 0, 0), &format!("OK, queued as {id}"))
}

pub(super) fn store(failure: StoreFailure) -> Reply {
    match failure {
        StoreFailure::Full => STORE_FULL.into(),
        StoreFailure::Failed => STORE_FAILED.into(),
    }
}

pub(super) fn line(error: LineError) -> Reply {
    Reply::new(500, Enhanced(5, 5, 2), &sentence(&error))
}

pub(super) fn argument(verb: Verb, error: ArgumentError) -> Reply {
    let (code, enhanced) = match error {
        ArgumentError::UnknownVerb => (500, Enhanced(5, 5, 1)),
        ArgumentError::Off => (502, Enhanced(5, 5, 1)),
        ArgumentError::Address if verb == Verb::Mail => (501, Enhanced(5, 1, 7)),
        ArgumentError::Address => (501, Enhanced(5, 1, 3)),
        ArgumentError::Syntax | ArgumentError::Value => (501, Enhanced(5, 5, 4)),
        ArgumentError::Parameter => (555, Enhanced(5, 5, 4)),
        ArgumentError::SourceRoute => (550, Enhanced(5, 7, 1)),
        ArgumentError::Utf8 => (553, Enhanced(5, 6, 7)),
        ArgumentError::Priority => (501, Enhanced(5, 5, 2)),
    };
    Reply::new(code, enhanced, &sentence(&error))
}

/// The answer to MAIL or RCPT.
pub(super) fn refusal(refusal: Refusal) -> Reply {
    let code = match refusal {
        Refusal::Sender => 553,
        Refusal::Recipient | Refusal::NoRoute => 550,
    };
    Reply::new(code, Enhanced(5, 7, 1), &sentence(&refusal))
}

/// The answer to RCPT when nothing is left for now.
pub(super) fn exceeded(exceeded: Exceeded) -> Reply {
    let text = format!("{}; try again later", sentence(&exceeded));
    Reply::new(450, Enhanced(4, 7, 1), &text)
}

pub(super) fn exchange(fault: ExchangeFault) -> Reply {
    let (code, enhanced) = match fault {
        ExchangeFault::Unknown => return MECHANISM_UNKNOWN.into(),
        ExchangeFault::Base64 | ExchangeFault::Malformed => (501, Enhanced(5, 5, 2)),
        ExchangeFault::Cancelled => (501, Enhanced(5, 7, 0)),
        ExchangeFault::Binding => (535, Enhanced(5, 7, 8)),
        ExchangeFault::TooLong => (500, Enhanced(5, 5, 6)),
    };
    Reply::new(code, enhanced, &sentence(&fault))
}

pub(super) fn body(fault: BodyFault) -> Reply {
    Reply::new(554, Enhanced(5, 6, 0), &sentence(&fault))
}

pub(super) fn header(fault: HeaderFault) -> Reply {
    let (code, enhanced) = match fault {
        HeaderFault::TooLarge => (552, Enhanced(5, 3, 4)),
        HeaderFault::TooManyFields => (554, Enhanced(5, 6, 0)),
        HeaderFault::Loop => (554, Enhanced(5, 4, 6)),
        HeaderFault::Malformed | HeaderFault::From | HeaderFault::Sender => {
            (550, Enhanced(5, 6, 0))
        }
    };
    Reply::new(code, enhanced, &sentence(&fault))
}

/// Returns the text of an error with a capital letter.
fn sentence(error: &impl std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_what_is_wrong_and_not_what_was_sent() {
        let reply = argument(Verb::Mail, ArgumentError::Address);
        assert_eq!(reply.to_wire(), "501 5.1.7 The address is malformed\r\n");
        let reply = challenge("");
        assert_eq!(reply.to_wire(), "334 \r\n", "the space is part of it (RFC 4954, section 4)");
    }
}
