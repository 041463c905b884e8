//! Reports as the sender reads them.

use std::str::from_utf8;

use crate::mail::message::MessageId;

/// What a report says of one recipient.
pub(super) struct News {
    pub(super) recipient: String,
    pub(super) action: String,
}

/// A report.
pub(super) struct Report {
    /// Its own Message-ID.
    pub(super) key: String,
    pub(super) about: MessageId,
    /// The number of the submission, if its header came back.
    pub(super) number: Option<usize>,
    pub(super) news: Vec<News>,
}

/// Returns the Message-ID at the top of a message.
pub(super) fn key(octets: &[u8]) -> String {
    let text = from_utf8(octets).expect("our reports are ASCII");
    field(text, "Message-ID: ").expect("a report has an id").to_owned()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

impl Report {
    pub(super) fn read(octets: &[u8]) -> Self {
        let text = from_utf8(octets).expect("our reports are ASCII");
        let about = field(text, "Final-Log-ID: ").expect("it names the message");
        let recipients =
            text.lines().filter_map(|line| line.strip_prefix("Final-Recipient: rfc822; "));
        let actions = text.lines().filter_map(|line| line.strip_prefix("Action: "));
        let news = recipients.zip(actions).map(|(recipient, action)| News {
            recipient: recipient.to_owned(),
            action: action.to_owned(),
        });
        Self {
            key: key(octets),
            about: about.parse().unwrap(),
            number: field(text, "X-World: ").map(|number| number.parse().unwrap()),
            news: news.collect(),
        }
    }
}
