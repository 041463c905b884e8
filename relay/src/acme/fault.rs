//! Why there is no certificate, and what to do about it.

use std::io;
use std::net::SocketAddr;

use instant_acme::{Error, Problem};

use crate::smtp::answer::printable;

/// The most of what an authority says that is repeated, octets.
const WORDS_MAX: usize = 600;
/// The most of a name that is repeated, octets: the longest that DNS has (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
/// What the types of problems begin with (RFC 8555, section 6.7).
const TYPES: &str = "urn:ietf:params:acme:error:";

/// What to do about problems, by their type (RFC 8555, section 6.7).
const REMEDIES: [(&str, &str); 17] = [
    ("dns", "let the A or AAAA records of the name lead to this host"),
    (
        "connection",
        "let port 80 of the name lead to this host: open it in the firewall, and take away A or AAAA records of \
         other hosts",
    ),
    (
        "unauthorized",
        "another host or program answers on port 80 of the name: let all its A and AAAA records lead to this host",
    ),
    (
        "incorrectResponse",
        "another host or program answers on port 80 of the name: let all its A and AAAA records lead to this host",
    ),
    (
        "caa",
        "the CAA records of the domain leave this authority out: add it to them, or order from one that they name",
    ),
    (
        "rateLimited",
        "the authority takes no more for now: trying again earlier only makes it longer",
    ),
    ("userActionRequired", "its terms have changed: read them where it says, and agree there"),
    (
        "accountDoesNotExist",
        "the authority has forgotten the account: move its file away (tls.acme.account), then `sallyport tls \
         obtain --agree-terms`",
    ),
    (
        "externalAccountRequired",
        "it wants accounts that are bound to those of its customers, which we cannot: order from another directory",
    ),
    ("invalidContact", "correct tls.acme.contact, or take it away"),
    ("unsupportedContact", "correct tls.acme.contact, or take it away"),
    ("rejectedIdentifier", "it signs for no such name: correct hostname or tls.acme.names"),
    ("unsupportedIdentifier", "it signs for no such name: correct hostname or tls.acme.names"),
    ("badCSR", "it may not take this kind of key: `sallyport tls obtain --new-key` makes another"),
    (
        "badPublicKey",
        "it may not take this kind of key: `sallyport tls obtain --new-key` makes another",
    ),
    ("tls", "let port 80 of the name lead to this host, without a way to https in front of it"),
    ("serverInternal", "the fault is the authority's: try again later"),
];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// Something of ours cannot be used.
    #[error("{0}")]
    Setup(String),
    /// The key cannot be used for a request.
    #[error("the key cannot be used: {0}; --new-key makes one that can")]
    Key(String),
    /// The account's record is no such thing.
    #[error(
        "this is no account of ours: move the file away, then `sallyport tls obtain --agree-terms`"
    )]
    NoAccount,
    /// The account is another authority's.
    #[error(
        "the account is one at {theirs}, and tls.acme.directory is {ours}: move its file away, or name another by \
         tls.acme.account; then `sallyport tls obtain --agree-terms`"
    )]
    Account {
        /// Whose it is.
        theirs: String,
        /// Who was to be asked.
        ours: String,
    },
    /// The proofs cannot be answered, since the address cannot be listened on.
    #[error("{address}: cannot listen, and the authority asks for its proofs there: {cause}")]
    Port {
        /// Where it was tried.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The authority cannot be asked.
    #[error(
        "{directory} cannot be asked: {problem}; does this host reach it, and does tls.acme.ca-file name who signed \
         for it?"
    )]
    Unreached {
        /// Its directory.
        directory: String,
        /// What is wrong.
        problem: String,
    },
    /// What answers does not speak ACME.
    #[error("{directory} does not answer as a directory of ACME does: correct tls.acme.directory")]
    NoDirectory {
        /// The address that was asked.
        directory: String,
    },
    /// The authority refused.
    #[error("{says}; {remedy}")]
    Refused {
        /// The name that it is about, if any, and the authority's words.
        says: String,
        /// What to do.
        remedy: String,
    },
}

impl AcmeError {
    /// Returns what an error of the library means; `later` is when the authority wants to be asked again.
    pub(super) fn of(directory: &str, error: Error, later: Option<String>) -> Self {
        match error {
            Error::Api(problem) => Self::refused(None, &problem, later),
            Error::Timeout(_) => Self::late(),
            Error::Json(_) => Self::NoDirectory { directory: directory.to_owned() },
            other => Self::Unreached {
                directory: directory.to_owned(),
                problem: plain(&other.to_string()),
            },
        }
    }

    /// Returns what the authority has against an order, or against one of its names.
    pub(super) fn refused(name: Option<&str>, problem: &Problem, later: Option<String>) -> Self {
        let full = problem.r#type.as_deref().unwrap_or_default();
        let kind = full.strip_prefix(TYPES).unwrap_or(full);
        let found = REMEDIES.iter().find(|(one, _)| *one == kind);
        let mut remedy =
            found.map_or("mend what it says, then try again", |(_, remedy)| remedy).to_owned();
        if let Some(later) = later {
            remedy = format!("{remedy}; it wants to be asked again at {later}");
        }
        let mut words = problem.detail.clone().unwrap_or_else(|| "it gives no reason".to_owned());
        for part in &problem.subproblems {
            words = format!("{words}; {part}");
        }
        let whom = name.map(|name| format!("{}: ", named(name))).unwrap_or_default();
        let says = format!("{whom}the authority refuses: {} ({})", plain(&words), plain(kind));
        Self::Refused { says, remedy }
    }

    /// Returns that an order took too long.
    pub(super) fn late() -> Self {
        Self::Refused {
            says: "the authority did not end the order in time".to_owned(),
            remedy: "try again later".to_owned(),
        }
    }
}

/// Returns what others said as one line that does no harm to a terminal.
pub(super) fn plain(said: &str) -> String {
    said[..said.floor_char_boundary(WORDS_MAX)].replace(char::is_control, " ")
}

/// Returns a name that others say as one that does no harm to a terminal: what they say it is need be none.
pub(super) fn named(said: &str) -> String {
    printable(said.as_bytes(), NAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        let text = serde_json::json!({ "type": format!("{TYPES}{kind}"), "detail": detail });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn each_refusal_names_whom_why_and_what_to_do() {
        for (kind, wanted) in [
            ("dns", "A or AAAA records"),
            ("connection", "open it in the firewall"),
            ("caa", "CAA records"),
            ("userActionRequired", "agree there"),
            ("badCSR", "--new-key"),
            ("neverHeardOf", "mend what it says"),
        ] {
            let said = AcmeError::refused(Some("a.example"), &problem(kind, "why\u{1b}[m"), None);
            let said = said.to_string();
            let head = format!("a.example: the authority refuses: why [m ({kind}); ");
            assert!(said.starts_with(&head) && said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn a_limit_of_the_authority_says_until_when() {
        let later = Some("2026-01-31T13:00:00Z".to_owned());
        let error = Error::Api(problem("rateLimited", "too many"));
        let said = AcmeError::of("https://a.example/", error, later).to_string();
        assert!(said.contains("too many (rateLimited)"), "{said}");
        assert!(said.ends_with("it wants to be asked again at 2026-01-31T13:00:00Z"), "{said}");
    }

    #[test]
    fn what_an_authority_says_has_an_end() {
        let said = AcmeError::refused(None, &problem("dns", &"\u{e4}".repeat(5000)), None);
        assert!(said.to_string().len() < WORDS_MAX + 200);
        let name = format!("\u{1b}]0;x\u{7}\u{202e}{}", "a".repeat(5000));
        let said = AcmeError::refused(Some(&name), &problem("dns", "why"), None).to_string();
        assert!(said.starts_with("?]0;x????aaa") && said.is_ascii(), "{said}");
        assert!(said.len() < NAME_MAX + 200, "{said}");
    }
}
