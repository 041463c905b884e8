//! What a next hop offers in its answer to EHLO (RFC 5321, section 4.1.1.1).

use crate::smtp::answer::Answer;

/// The extensions of a next hop that we make use of.
///
/// Not FUTURERELEASE: mail is held here until its time. Enhanced codes are read wherever they
/// stand, announced or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// CHUNKING (RFC 3030, section 2).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030, section 3).
    pub binary: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// MT-PRIORITY (RFC 6710).
    pub priority: bool,
    /// DELIVERBY and the least time it takes, seconds (RFC 2852, section 3); none: unknown.
    pub deliver_by: Option<u32>,
    /// SIZE and its limit (RFC 1870).
    pub size: Size,
    /// The most recipients of one transaction (RFC 9422); none: it names no limit.
    pub recipients_max: Option<u32>,
    /// The most messages of one connection (RFC 9422); none: it names no limit.
    pub messages_max: Option<u32>,
    /// AUTH PLAIN (RFC 4616, RFC 4954).
    pub plain: bool,
    /// AUTH LOGIN, which many submission servers offer beside PLAIN or alone.
    pub login: bool,
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
                Some("CHUNKING") => offer.chunking = true,
                Some("BINARYMIME") => offer.binary = true,
                Some("SMTPUTF8") => offer.utf8 = true,
                Some("DSN") => offer.dsn = true,
                Some("REQUIRETLS") => offer.require_tls = true,
                Some("MT-PRIORITY") => offer.priority = true,
                Some("DELIVERBY") => offer.deliver_by = Some(read_number(words.next())),
                Some("SIZE") => offer.size = read_size(words.next()),
                Some("LIMITS") => offer.read_limits(words),
                Some("AUTH") => {
                    for mechanism in words {
                        offer.plain |= mechanism == "PLAIN";
                        offer.login |= mechanism == "LOGIN";
                    }
                }
                Some(_) | None => {}
            }
        }
        offer
    }

    /// Reads pairs of a limit and its number. What is no number from 1 on limits nothing, and
    /// limits that are unknown are passed over (RFC 9422, section 3).
    fn read_limits<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        while let (Some(name), Some(number)) = (words.next(), words.next()) {
            let limit = number.parse().ok().filter(|limit| *limit > 0);
            match name {
                "RCPTMAX" => self.recipients_max = limit,
                "MAILMAX" => self.messages_max = limit,
                _ => {}
            }
        }
    }
}

/// Reads the parameter of SIZE; zero or nothing means no fixed limit (RFC 1870, section 3).
fn read_size(parameter: Option<&str>) -> Size {
    match parameter.and_then(|text| text.parse().ok()) {
        Some(0) | None => Size::Unlimited,
        Some(limit) => Size::Limit(limit),
    }
}

/// Reads a number; nothing, or what is none, counts as zero.
fn read_number(parameter: Option<&str>) -> u32 {
    parameter.and_then(|text| text.parse().ok()).unwrap_or(0)
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
            chunking: true,
            binary: true,
            utf8: true,
            dsn: true,
            require_tls: true,
            priority: true,
            deliver_by: Some(240),
            size: Size::Limit(1000),
            recipients_max: Some(20),
            messages_max: Some(5),
            plain: true,
            login: true,
        };
        let none = Offer::default();
        let rows: &[(&str, Offer)] = &[
            ("250 STARTTLS\r\n", none),
            ("250-x\r\n250 STARTTLSX\r\n", none),
            ("250-x\r\n250 size 0\r\n", Offer { size: Size::Unlimited, ..none }),
            ("250-x\r\n250 SIZE many\r\n", Offer { size: Size::Unlimited, ..none }),
            ("250-x\r\n250 DELIVERBY\r\n", Offer { deliver_by: Some(0), ..none }),
            ("250-x\r\n250 LIMITS RCPTMAX=0 MAILMAX=x OTHER\r\n", none),
            (
                "250-x\r\n250 LIMITS OTHER=1 RCPTMAX=2\r\n",
                Offer { recipients_max: Some(2), ..none },
            ),
            ("250-x\r\n250 FUTURERELEASE 60 2030-01-01T00:00:00Z\r\n", none),
            ("250-x\r\n250 AUTH=LOGIN\r\n", Offer { login: true, ..none }),
            ("250-x\r\n250 AUTH CRAM-MD5\r\n", none),
            (
                "250-x\r\n250-starttls\r\n250-Pipelining\r\n250-8BitMIME\r\n250-SIZE 1000\r\n\
                 250-chunking\r\n250-BinaryMIME\r\n250-SmtpUtf8\r\n250-dsn\r\n250-RequireTLS\r\n\
                 250-DeliverBy 240\r\n250-MT-PRIORITY MIXER\r\n250-limits MAILMAX=5 RCPTMAX=20\r\n\
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
