//! Which answers ask for less mail rather than for other mail.

use super::ruling::Asked;
use crate::smtp::answer::Answer;

/// What an answer says about our pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nothing.
    #[default]
    AsBefore,
    /// It ends the connection. One that has carried mail may have carried enough; ended before that,
    /// the hop asks for less.
    Goodbye,
    /// It asks for less.
    Less,
}

/// Returns what `answer` says about our pace after `asked`.
///
/// 421 wherever it comes: the service is not available now (RFC 5321, section 4.2.3). But for x.4.2
/// (RFC 3463, section 3.5): that connection only lasted too long; and hops that end a connection
/// after so many messages say no more than 421. After RCPT no other answer counts,
/// since it is about one mailbox, nor after STARTTLS, where 454 says that there is no TLS (RFC 3207,
/// section 4). Else 454, which concerns logins alone (RFC 4954, section 6) and is what hops write
/// that throttle, and 450 to 452 with x.7.z, security or policy (RFC 3463, section 3.8), but for
/// greylisting, which asks for another try and not for less.
#[must_use]
pub fn demand(asked: Asked, answer: &Answer) -> Demand {
    let (class, subject, detail) = answer.enhanced().map_or((0, 0, 0), |e| (e.0, e.1, e.2));
    let is_policy = class == 4 && subject == 7;
    match (asked, answer.code()) {
        (_, 421) if (subject, detail) == (4, 2) => Demand::AsBefore,
        (_, 421) if is_policy => Demand::Less,
        (_, 421) => Demand::Goodbye,
        (Asked::Rcpt | Asked::Starttls, _) => Demand::AsBefore,
        (_, 454) => Demand::Less,
        (_, 450..=452) if is_policy && !is_greylisting(answer) => Demand::Less,
        (_, _) => Demand::AsBefore,
    }
}

fn is_greylisting(answer: &Answer) -> bool {
    let words = answer.summary().to_ascii_lowercase();
    words.contains("greylist") || words.contains("graylist")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::answer::AnswerReader;

    #[test]
    fn only_answers_about_the_pace_change_it() {
        use Asked::{Auth, Banner, Data, Dot, Hello, Mail, Rcpt, Starttls};
        use Demand::{AsBefore, Goodbye, Less};
        let rows: &[(Asked, &str, Demand)] = &[
            (Dot, "454 Throttling failure: Maximum sending rate exceeded.", Less),
            (Dot, "454 4.7.0 Throttling", Less),
            (Mail, "454 4.7.0 Throttling", Less),
            (Data, "451 4.7.500 Server busy. Please try again later", Less),
            (Mail, "450 4.7.1 You talk too much", Less),
            (Dot, "452 4.7.1 daily quota", Less),
            (Banner, "421 4.7.0 Try again later", Less),
            (Banner, "421 too many connections", Goodbye),
            (Hello, "421 4.3.2 closing", Goodbye),
            (Rcpt, "421 4.7.0 slow down", Less),
            (Auth, "454 4.7.0 Too many login attempts", Less),
            (Auth, "421 4.7.0 Too many login attempts", Less),
            (Mail, "421 too many messages in this connection", Goodbye),
            (Mail, "421 4.4.2 idle for too long", AsBefore),
            (Starttls, "454 4.7.0 TLS not available", AsBefore),
            (Rcpt, "450 4.7.1 policy for this mailbox", AsBefore),
            (Rcpt, "454 4.7.1 relay access denied", AsBefore),
            (Dot, "451 4.7.1 Greylisting in action", AsBefore),
            (Dot, "451 4.3.0 disk full", AsBefore),
            (Mail, "452 4.3.1 no space", AsBefore),
            (Mail, "451 later", AsBefore),
            (Dot, "550 5.7.1 spam", AsBefore),
            (Dot, "250 2.0.0 ok", AsBefore),
        ];
        for (asked, words, expected) in rows {
            let octets = format!("{words}\r\n");
            let answer = AnswerReader::default().read(&mut octets.as_bytes()).unwrap().unwrap();
            assert_eq!(demand(*asked, &answer), *expected, "{asked:?} {words}");
        }
    }
}
