//! What a next hop offers in its answer to EHLO (RFC 5321, section 4.1.1.1).

use crate::config::{Mechanism, Mechanisms};
use crate::smtp::answer::Answer;

/// The extensions of a next hop that we make use of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SIZE and its limit (RFC 1870).
    pub size: Size,
    /// AUTH and its mechanisms (RFC 4954, section 3).
    pub auth: Mechanisms,
}

/// What a next hop says about the size of messages (RFC 1870, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// It does not know SIZE.
    #[default]
    Unknown,
    /// It takes the parameter and names no fixed limit.
    Unlimited,
    /// It takes at most so many octets.
    Limit(u64),
}

impl Offer {
    /// Reads the answer to EHLO. Its first line is the greeting; keywords and parameters compare
    /// without regard to case, and what we do not use is passed over.
    #[must_use]
    pub fn read(answer: &Answer) -> Self {
        let mut offer = Self::default();
        for line in &answer.lines()[1..] {
            let upper = line.to_ascii_uppercase();
            // Servers from before RFC 2554 write "AUTH=PLAIN LOGIN".
            let mut words = upper.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("STARTTLS") => offer.starttls = true,
                Some("PIPELINING") => offer.pipelining = true,
                Some("8BITMIME") => offer.eight_bit = true,
                Some("SIZE") => offer.size = read_size(words.next()),
                Some("AUTH") => {
                    words.filter_map(Mechanism::named).for_each(|one| offer.auth.add(one));
                }
                Some(_) | None => {}
            }
        }
        offer
    }
}

/// Reads the parameter of SIZE; zero or nothing means no fixed limit (RFC 1870, section 3).
fn read_size(parameter: Option<&str>) -> Size {
    match parameter.and_then(|text| text.parse().ok()) {
        Some(0) | None => Size::Unlimited,
        Some(limit) => Size::Limit(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::answer::AnswerReader;

    #[test]
    fn keywords_are_read_without_regard_to_case_and_the_greeting_is_no_keyword() {
        let all = Offer {
            starttls: true,
            pipelining: true,
            eight_bit: true,
            size: Size::Limit(1000),
            auth: [Mechanism::Plain, Mechanism::Login].into_iter().collect(),
        };
        let auth = |one| Offer { auth: [one].into_iter().collect(), ..Offer::default() };
        let rows: &[(&str, Offer)] = &[
            ("250 STARTTLS\r\n", Offer::default()),
            ("250-x\r\n250 STARTTLSX\r\n", Offer::default()),
            ("250-x\r\n250 size 0\r\n", Offer { size: Size::Unlimited, ..Offer::default() }),
            ("250-x\r\n250 SIZE many\r\n", Offer { size: Size::Unlimited, ..Offer::default() }),
            ("250-x\r\n250 AUTH=LOGIN\r\n", auth(Mechanism::Login)),
            ("250-x\r\n250 auth scram-sha-256-plus\r\n", auth(Mechanism::ScramSha256Plus)),
            ("250-x\r\n250 AUTH CRAM-MD5\r\n", Offer::default()),
            (
                "250-x\r\n250-starttls\r\n250-Pipelining\r\n250-8BitMIME\r\n250-SIZE 1000\r\n\
                 250 Auth gssapi Login plain\r\n",
                all,
            ),
        ];
        for (octets, offer) in rows {
            let answer = AnswerReader::default().read(&mut octets.as_bytes()).unwrap().unwrap();
            assert_eq!(Offer::read(&answer), *offer, "{octets}");
        }
    }
}
