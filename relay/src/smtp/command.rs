//! Commands (RFC 5321, section 4.1), read strictly.
//!
//! A line is read in two steps, so that a verb out of its order is refused before its argument is
//! looked at. Not here: which verb is lawful when (`session::stage`).

use zeroize::Zeroizing;

use super::address::{Address, AddressError, Charset, ReversePath, is_domain, is_literal};
use super::extension::Extensions;
use super::parameter::{MailParameters, RcptParameters};
use super::xclient::Announcement;

/// The first word of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// XCLIENT, which a filter says for its client.
    Xclient,
    /// A verb that we know and do not offer: EXPN, ETRN, TURN, ATRN, SEND, SOML, SAML.
    Off,
    /// BDAT (RFC 3030): its octets follow, and must not be taken for commands.
    Bdat,
    /// A request of another protocol: a browser was made to talk to us.
    Foreign,
    /// Anything else.
    Unknown,
}

/// Every verb by its name. Those of other protocols are what web browsers and proxies send.
const VERBS: &[(&str, Verb)] = &[
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("QUIT", Verb::Quit),
    ("VRFY", Verb::Vrfy),
    ("HELP", Verb::Help),
    ("XCLIENT", Verb::Xclient),
    ("EXPN", Verb::Off),
    ("ETRN", Verb::Off),
    ("TURN", Verb::Off),
    ("ATRN", Verb::Off),
    ("SEND", Verb::Off),
    ("SOML", Verb::Off),
    ("SAML", Verb::Off),
    ("BDAT", Verb::Bdat),
    ("GET", Verb::Foreign),
    ("HEAD", Verb::Foreign),
    ("POST", Verb::Foreign),
    ("PUT", Verb::Foreign),
    ("PATCH", Verb::Foreign),
    ("DELETE", Verb::Foreign),
    ("CONNECT", Verb::Foreign),
    ("OPTIONS", Verb::Foreign),
    ("TRACE", Verb::Foreign),
    ("PRI", Verb::Foreign),
    // A balancer that the configuration does not name: all of its clients would count as one.
    ("PROXY", Verb::Foreign),
];

impl Verb {
    /// Splits a line into its verb and the rest, which begins with a space, or where it is faulty with a
    /// tab, unless it is empty.
    #[must_use]
    pub fn split(line: &[u8]) -> (Self, &[u8]) {
        let length =
            line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (word, rest) = line.split_at(length);
        let verb = VERBS
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
            .map_or(Self::Unknown, |(_, verb)| *verb);
        (verb, rest)
    }
}

/// A command with its argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO and the name the client gives itself: a domain or an address literal.
    Ehlo(String),
    /// HELO and the name the client gives itself.
    Helo(String),
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth {
        /// The mechanism, upper case.
        mechanism: String,
        /// The initial response as written: base64, or `=` for an empty one.
        initial: Option<Zeroizing<String>>,
    },
    /// MAIL.
    Mail {
        /// The sender.
        sender: ReversePath,
        /// What was said besides.
        parameters: MailParameters,
    },
    /// RCPT.
    Rcpt {
        /// The recipient.
        recipient: Recipient,
        /// What was said besides.
        parameters: RcptParameters,
    },
    /// DATA.
    Data,
    /// BDAT.
    Bdat(Chunk),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// XCLIENT.
    Xclient(Announcement),
}

/// What BDAT announces (RFC 3030, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The octets that follow the command's line.
    pub size_bytes: u64,
    /// Whether the message ends with them.
    pub more: More,
}

/// Whether chunks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// They do.
    Follows,
    /// `LAST`: the message ends.
    Last,
}

/// The argument of RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// `<postmaster>` without a domain, in any case (RFC 5321, section 4.1.1.3).
    Postmaster,
    /// A mailbox.
    Mailbox(Address),
}

/// Why a command is not carried out; each is one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// The verb is not known: 500 5.5.1.
    #[error("the command is not known")]
    UnknownVerb,
    /// The verb is known and not offered: 502 5.5.1.
    #[error("the command is not offered")]
    Off,
    /// The argument does not follow the grammar: 501 5.5.4.
    #[error("the argument is malformed")]
    Syntax,
    /// The address in a path is malformed: 501 5.1.7 for a sender, 501 5.1.3 for a recipient.
    #[error("the address is malformed")]
    Address,
    /// The address is not US-ASCII, and SMTPUTF8 was not said (RFC 6531, section 3.5): 553 5.6.7.
    #[error("an address in UTF-8 needs SMTPUTF8")]
    Utf8,
    /// The path names hosts to go through (RFC 5321, appendix C), which would make us relay around
    /// the rules for its last domain: 550 5.7.1.
    #[error("source routes are refused")]
    SourceRoute,
    /// A parameter is not known: 555 5.5.4.
    #[error("the parameter is not known")]
    Parameter,
    /// The value of a parameter is bad, or it is given twice: 501 5.5.4.
    #[error("the value of a parameter is bad")]
    Value,
    /// The value of MT-PRIORITY is none (RFC 6710, section 4): 501 5.5.2.
    #[error("a priority is within -9 to 9")]
    Priority,
}

impl Command {
    /// Reads the argument of `verb`: the `rest` that [`Verb::split`] returned. Parameters of
    /// extensions that are not in `extensions` are unknown.
    ///
    /// # Errors
    ///
    /// Says which reply is due.
    pub fn read(verb: Verb, rest: &[u8], extensions: Extensions) -> Result<Self, ArgumentError> {
        // A verb that is not carried out is refused for that, whatever stands behind it.
        let rest =
            if matches!(verb, Verb::Off | Verb::Foreign | Verb::Unknown) { b"" } else { rest };
        let rest = std::str::from_utf8(rest).map_err(|_| ArgumentError::Syntax)?;
        // Space at the end of a line is allowed (RFC 5321, section 4.1.1).
        let rest = rest.trim_end_matches(' ');
        match verb {
            Verb::Ehlo => client_name(rest).map(Self::Ehlo),
            Verb::Helo => client_name(rest).map(Self::Helo),
            Verb::StartTls => bare(rest, Self::StartTls),
            Verb::Auth => auth(rest),
            Verb::Mail => mail(rest, extensions),
            Verb::Rcpt => rcpt(rest, extensions),
            Verb::Data => bare(rest, Self::Data),
            Verb::Bdat => bdat(rest).map(Self::Bdat),
            Verb::Rset => bare(rest, Self::Rset),
            Verb::Quit => bare(rest, Self::Quit),
            Verb::Noop => Ok(Self::Noop),
            Verb::Vrfy if rest.is_empty() => Err(ArgumentError::Syntax),
            Verb::Vrfy => Ok(Self::Vrfy),
            Verb::Help => Ok(Self::Help),
            Verb::Xclient => Announcement::read(rest).map(Self::Xclient),
            Verb::Off => Err(ArgumentError::Off),
            Verb::Foreign | Verb::Unknown => Err(ArgumentError::UnknownVerb),
        }
    }
}

/// Takes a command that has no argument.
fn bare(rest: &str, command: Command) -> Result<Command, ArgumentError> {
    if rest.is_empty() { Ok(command) } else { Err(ArgumentError::Syntax) }
}

/// Reads a domain or an address literal. Underscores are let through: the names that containers
/// give themselves hold them, and the name is only written down (RFC 5321, section 4.1.4).
fn client_name(rest: &str) -> Result<String, ArgumentError> {
    let name = rest.strip_prefix(' ').ok_or(ArgumentError::Syntax)?;
    if is_client_name(name) { Ok(name.to_owned()) } else { Err(ArgumentError::Syntax) }
}

/// Tells whether a client may call itself `name`.
pub(super) fn is_client_name(name: &str) -> bool {
    is_literal(name) || is_domain(&name.replace('_', "x"))
}

/// Reads `SP mechanism [SP initial-response]` (RFC 4954, section 4; RFC 4422, section 3.1).
fn auth(rest: &str) -> Result<Command, ArgumentError> {
    let rest = rest.strip_prefix(' ').ok_or(ArgumentError::Syntax)?;
    let (mechanism, initial) = match rest.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial)),
        None => (rest, None),
    };
    let named = (1..=20).contains(&mechanism.len())
        && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !named || initial.is_some_and(|initial| initial.is_empty() || initial.contains(' ')) {
        return Err(ArgumentError::Syntax);
    }
    let initial = initial.map(|initial| Zeroizing::new(initial.to_owned()));
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// Reads ` FROM:<path>` and parameters (RFC 5321, section 4.1.1.2).
fn mail(rest: &str, extensions: Extensions) -> Result<Command, ArgumentError> {
    let (path, written) = path(after_keyword(rest, " FROM:")?)?;
    let sender =
        if path.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(path)?) };
    let parameters = match written {
        Some(written) => MailParameters::read(written, extensions)?,
        None => MailParameters::default(),
    };
    let international = sender.mailbox().is_some_and(|from| from.charset() == Charset::Utf8);
    if international && parameters.utf8.is_none() {
        return Err(ArgumentError::Utf8);
    }
    Ok(Command::Mail { sender, parameters })
}

/// Reads ` TO:<path>` and parameters (RFC 5321, section 4.1.1.3). Whether a recipient may be in
/// UTF-8 was said at MAIL.
fn rcpt(rest: &str, extensions: Extensions) -> Result<Command, ArgumentError> {
    let (path, written) = path(after_keyword(rest, " TO:")?)?;
    let recipient = if path.eq_ignore_ascii_case("postmaster") {
        Recipient::Postmaster
    } else {
        Recipient::Mailbox(mailbox(path)?)
    };
    let parameters = match written {
        Some(written) => RcptParameters::read(written, extensions)?,
        None => RcptParameters::default(),
    };
    Ok(Command::Rcpt { recipient, parameters })
}

/// Reads ` SP chunk-size [SP LAST]` (RFC 3030, section 2).
fn bdat(rest: &str) -> Result<Chunk, ArgumentError> {
    let rest = rest.strip_prefix(' ').ok_or(ArgumentError::Syntax)?;
    let (count, more) = match rest.split_once(' ') {
        None => (rest, More::Follows),
        Some((count, last)) if last.eq_ignore_ascii_case("LAST") => (count, More::Last),
        Some(_) => return Err(ArgumentError::Syntax),
    };
    if !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ArgumentError::Syntax);
    }
    let size_bytes = count.parse().map_err(|_| ArgumentError::Syntax)?;
    Ok(Chunk { size_bytes, more })
}

/// Takes a keyword in any case off the front. No space may follow the colon (RFC 5321,
/// section 3.3).
fn after_keyword<'a>(rest: &'a str, keyword: &str) -> Result<&'a str, ArgumentError> {
    match (rest.get(..keyword.len()), rest.get(keyword.len()..)) {
        (Some(head), Some(tail)) if head.eq_ignore_ascii_case(keyword) => Ok(tail),
        _ => Err(ArgumentError::Syntax),
    }
}

/// Splits `<path>[ SP parameters]`. A `>` in a quoted local part does not end the path.
fn path(text: &str) -> Result<(&str, Option<&str>), ArgumentError> {
    let inner = text.strip_prefix('<').ok_or(ArgumentError::Syntax)?;
    let mut quoted = false;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'>' && !quoted;
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        ends
    });
    let end = end.ok_or(ArgumentError::Syntax)?;
    match &inner[end + 1..] {
        "" => Ok((&inner[..end], None)),
        after => after
            .strip_prefix(' ')
            .map(|parameters| (&inner[..end], Some(parameters)))
            .ok_or(ArgumentError::Syntax),
    }
}

fn mailbox(path: &str) -> Result<Address, ArgumentError> {
    if path.starts_with('@') {
        return Err(ArgumentError::SourceRoute);
    }
    Address::read(path, Charset::Utf8).map_err(|error| match error {
        AddressError::NotAscii => ArgumentError::Utf8,
        AddressError::NoAt | AddressError::Local | AddressError::Domain | AddressError::TooLong => {
            ArgumentError::Address
        }
    })
}

#[cfg(test)]
mod tests;
