//! What an answer means for the recipients it is about.

use crate::mail::outcome::Relayed;
use crate::mail::report::Diagnostic;
use crate::smtp::address::Address;
use crate::smtp::answer::{Answer, Class};
use crate::smtp::reply::Enhanced;

/// What a next hop was asked when it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing yet: the greeting.
    Banner,
    /// EHLO.
    Hello,
    /// STARTTLS.
    Starttls,
    /// AUTH or a step of it.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// Whether it takes the message: the final dot.
    Dot,
    /// The same where the message went by BDAT: the last chunk.
    Chunk,
}

impl Asked {
    /// Returns the words for people: what was asked.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Banner => "the connection",
            Self::Hello => "EHLO",
            Self::Starttls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Dot => "the final dot",
            Self::Chunk => "the last chunk",
        }
    }

    /// Returns the class of the answer that lets us go on.
    const fn wanted(self) -> Class {
        match self {
            Self::Data => Class::Continue,
            Self::Banner
            | Self::Hello
            | Self::Starttls
            | Self::Auth
            | Self::Mail
            | Self::Rcpt
            | Self::Dot
            | Self::Chunk => Class::Done,
        }
    }

    /// Tells whether the answer is about the connection rather than about one message.
    const fn is_about_connection(self) -> bool {
        match self {
            Self::Banner | Self::Hello | Self::Starttls | Self::Auth => true,
            Self::Mail | Self::Rcpt | Self::Data | Self::Dot | Self::Chunk => false,
        }
    }
}

/// Whether the next hop knows us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoggedIn {
    /// We have not logged in, or not yet.
    #[default]
    No,
    /// AUTH succeeded on this connection.
    Yes,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What was asked is granted.
    Granted,
    /// Not now: the recipients wait.
    NotNow,
    /// Never: the recipients are given up.
    Never,
    /// This host cannot help; another host of the route may. The connection is over.
    NotHere,
    /// Our login is wrong, or no longer enough: nobody's mail gets through until somebody acts.
    /// The connection is over.
    LoginRefused,
}

/// Returns what `answer` means after `asked`.
///
/// 421 closes the connection wherever it comes (RFC 5321, section 3.8). 552 after RCPT is read as
/// 452 (RFC 5321, section 4.5.3.1.10). A greeting of 554 or 521 (RFC 7504) rules out the host,
/// not the mail: a smarthost that shuts its door is a matter for the operator, so the mail waits.
/// A host that offers CHUNKING and does not know BDAT has something in front of it that hides the
/// command: another host may do better, and our connection ends before the octets of the message
/// are taken for commands.
///
/// 530, 534, 535 and 538 concern the login (RFC 4954, section 6). After MAIL they are about all mail
/// of a connection that is logged in; one that is not has met a host that is not for it. After RCPT
/// and later they are about that recipient or message: one word about it must not stop the mail of
/// everybody.
#[must_use]
pub fn meaning(asked: Asked, answer: &Answer, logged_in: LoggedIn) -> Meaning {
    let class = answer.class();
    match (asked, answer.code()) {
        (_, 421) | (Asked::Chunk, 500 | 502) => Meaning::NotHere,
        (Asked::Auth, 500..) => Meaning::LoginRefused,
        (Asked::Mail, 530 | 534 | 535 | 538) => match logged_in {
            LoggedIn::Yes => Meaning::LoginRefused,
            LoggedIn::No => Meaning::NotHere,
        },
        (Asked::Rcpt, 552) => Meaning::NotNow,
        (asked, _) if class == asked.wanted() => Meaning::Granted,
        (asked, 400..) if asked.is_about_connection() => Meaning::NotHere,
        (_, 400..=499) => Meaning::NotNow,
        (_, 500..) => Meaning::Never,
        // 2yz where 3yz was due, or the reverse: we no longer know what it answers.
        _ => Meaning::NotHere,
    }
}

/// What is to become of a recipient as far as one connection can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The next hop took responsibility.
    Delivered,
    /// To be tried again on the normal schedule.
    Deferred,
    /// Not tried: its turn comes later, unless it is over before.
    Postponed,
    /// Given up.
    Failed,
    /// Untouched: another host of the route may be asked at once, else deferred.
    Elsewhere,
    /// Kept however old it is, until the operator has repaired the login.
    Held,
    /// Not sent: kept, since a policy or the route says so.
    Captured,
}

/// A recipient, its ruling, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whom it is about.
    pub recipient: Address,
    /// What is to become of it.
    pub ruling: Ruling,
    /// The enhanced code that goes into a report; none: derived from the ruling.
    pub status: Option<Enhanced>,
    /// The words that decided it.
    pub why: Diagnostic,
    /// What a next hop that took the message does about DSN; of no meaning for other rulings.
    pub relayed: Relayed,
}

impl Judged {
    /// Returns the ruling that `answer` is for `recipient` if it means `meaning`.
    #[must_use]
    pub fn by_answer(recipient: Address, meaning: Meaning, answer: &Answer) -> Self {
        let ruling = match meaning {
            Meaning::Granted => Ruling::Delivered,
            Meaning::NotNow => Ruling::Deferred,
            Meaning::Never => Ruling::Failed,
            Meaning::NotHere => Ruling::Elsewhere,
            Meaning::LoginRefused => Ruling::Held,
        };
        let why = Diagnostic::Smtp(answer.summary());
        let relayed = Relayed::WithoutDsn;
        Self { recipient, ruling, status: answer.enhanced(), why, relayed }
    }

    /// Returns the ruling with what the hop does about DSN.
    #[must_use]
    pub fn with(self, relayed: Relayed) -> Self {
        Self { relayed, ..self }
    }

    /// Returns a ruling of our own.
    #[must_use]
    pub fn by_us(recipient: Address, ruling: Ruling, status: Enhanced, words: &str) -> Self {
        let (why, relayed) = (Diagnostic::Own(words.to_owned()), Relayed::WithoutDsn);
        Self { recipient, ruling, status: Some(status), why, relayed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::answer::AnswerReader;

    #[test]
    fn every_misbehaviour_has_its_meaning() {
        use Asked::{Auth, Banner, Chunk, Data, Dot, Hello, Mail, Rcpt, Starttls};
        use Meaning::{Granted, LoginRefused, Never, NotHere, NotNow};
        let rows: &[(&str, Asked, u16, Meaning)] = &[
            ("a greeting", Banner, 220, Granted),
            ("a host that takes no mail", Banner, 521, NotHere),
            ("a greeting of refusal", Banner, 554, NotHere),
            ("a busy greeting", Banner, 450, NotHere),
            ("a greeting that asks for more", Banner, 354, NotHere),
            ("EHLO unknown", Hello, 502, NotHere),
            ("TLS not available", Starttls, 454, NotHere),
            ("TLS never available", Starttls, 502, NotHere),
            ("a wrong password", Auth, 535, LoginRefused),
            ("a mechanism too weak", Auth, 534, LoginRefused),
            ("a mechanism unknown", Auth, 504, LoginRefused),
            ("the user database is away", Auth, 454, NotHere),
            ("a password that must be set again first", Auth, 432, NotHere),
            ("a mechanism that wants encryption", Auth, 538, LoginRefused),
            ("a login for one recipient", Rcpt, 530, Never),
            ("a login wrong for one recipient", Rcpt, 535, Never),
            ("a login at DATA", Data, 530, Never),
            ("a login at the dot", Dot, 535, Never),
            ("a sender unknown", Mail, 550, Never),
            ("a sender not now", Mail, 451, NotNow),
            ("too many recipients, as some write it", Rcpt, 552, NotNow),
            ("a message too large", Mail, 552, Never),
            ("a message too large at its end", Dot, 552, Never),
            ("a user unknown", Rcpt, 550, Never),
            ("a mailbox busy", Rcpt, 450, NotNow),
            ("a user not local", Rcpt, 251, Granted),
            ("a recipient answered with 354", Rcpt, 354, NotHere),
            ("go on", Data, 354, Granted),
            ("DATA answered with 250", Data, 250, NotHere),
            ("the dot answered with 354", Dot, 354, NotHere),
            ("throttled", Dot, 454, NotNow),
            ("a chunk taken", Chunk, 250, Granted),
            ("a chunk refused", Chunk, 554, Never),
            ("a chunk not now", Chunk, 452, NotNow),
            ("BDAT hidden by what stands in front", Chunk, 500, NotHere),
            ("BDAT not implemented", Chunk, 502, NotHere),
            ("a chunk out of order", Chunk, 503, Never),
            ("a chunk answered with 354", Chunk, 354, NotHere),
            ("closing at a chunk", Chunk, 421, NotHere),
            ("a login at a chunk", Chunk, 530, Never),
            ("closing at MAIL", Mail, 421, NotHere),
            ("closing at RCPT", Rcpt, 421, NotHere),
            ("closing at DATA", Data, 421, NotHere),
            ("closing at the dot", Dot, 421, NotHere),
        ];
        for (name, asked, code, expected) in rows {
            let octets = format!("{code} text\r\n");
            let answer = AnswerReader::default().read(&mut octets.as_bytes()).unwrap().unwrap();
            for logged_in in [LoggedIn::No, LoggedIn::Yes] {
                assert_eq!(meaning(*asked, &answer, logged_in), *expected, "{name}, {logged_in:?}");
            }
        }
    }

    #[test]
    fn a_login_asked_for_at_mail_is_refused_only_where_there_is_one() {
        for code in [530, 534, 535, 538] {
            let octets = format!("{code} text\r\n");
            let answer = AnswerReader::default().read(&mut octets.as_bytes()).unwrap().unwrap();
            let means = |logged_in| meaning(Asked::Mail, &answer, logged_in);
            assert_eq!(means(LoggedIn::No), Meaning::NotHere, "{code}");
            assert_eq!(means(LoggedIn::Yes), Meaning::LoginRefused, "{code}");
        }
    }
}
