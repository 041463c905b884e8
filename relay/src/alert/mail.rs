//! Tells people by mail, through our own spool.
//!
//! No mail about a mail that failed: the class [`NEVER`] goes by other channels. The sender is the null path, so
//! nobody answers; what cannot be delivered goes to the postmaster once, as every report does.

use jiff::Timestamp;

use super::channel::{Means, Outcome};
use super::format::{Message, facts, headline};
use crate::event::alert::Alert;
use crate::mail::envelope::{Body, Envelope, Terms};
use crate::mail::header::date;
use crate::net::way::way_of;
use crate::smtp::address::{Address, Charset, ReversePath};
use crate::smtp::parameter::Utf8;
use crate::spool::StoreError;

/// The class that is never told by mail: reports that could be delivered to nobody. That mail would be the
/// next of them.
pub const NEVER: &str = "bounce-dropped";

/// The longest line, octets without its end (RFC 5322, section 2.1.1, has 998).
const LINE_MAX: usize = 900;

/// Tells whether an alert may go by mail.
pub(super) fn may_carry(alert: &Alert) -> bool {
    alert.class != NEVER
}

/// Puts a mail about an alert into the spool.
pub(super) async fn submit(
    means: &Means,
    to: Vec<Address>,
    message: Message<'_>,
    now: Timestamp,
) -> Outcome {
    if !may_carry(message.alert) {
        return Outcome::Refused("mail tells nothing of mail that failed".to_owned());
    }
    match commit(means, to, message, now).await {
        Ok(id) => Outcome::Taken(format!("{id} is in the spool")),
        Err(error) => Outcome::Later { why: error.to_string(), after: None },
    }
}

async fn commit(
    means: &Means,
    to: Vec<Address>,
    message: Message<'_>,
    now: Timestamp,
) -> Result<crate::mail::message::MessageId, StoreError> {
    let text = text(&to, message, &means.config.postmaster, now);
    let envelope = envelope(to, now);
    let way = way_of(&means.config, &envelope);
    let mut draft = means.spool.draft(envelope)?.toward(way);
    draft.append(text.as_bytes()).await;
    draft.commit().await
}

fn envelope(to: Vec<Address>, now: Timestamp) -> Envelope {
    let is_utf8 = to.iter().any(|to| to.charset() == Charset::Utf8);
    let utf8 = is_utf8.then_some(Utf8);
    Envelope {
        sender: ReversePath::Null,
        recipients: to,
        body: if is_utf8 { Body::EightBit } else { Body::SevenBit },
        login: None,
        tag: None,
        source: None,
        received_at: now,
        terms: Terms { utf8, ..Terms::default() },
        came: None,
        trace: None,
    }
}

/// Returns the mail: every line ends in CRLF. US-ASCII but for UTF-8 addresses in To. The name in From is quoted:
/// a phrase has no dots (RFC 5322, section 3.2.5).
fn text(to: &[Address], message: Message<'_>, postmaster: &Address, now: Timestamp) -> String {
    let Message { id, host, alert } = message;
    let to = to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(",\r\n ");
    let mut lines = vec![
        format!("Date: {}", date(now)),
        format!("From: \"Sallyport on {host}\" <{postmaster}>"),
        format!("To: {to}"),
        format!("Subject: {}", clean(&format!("{}: {}", alert.key(), alert.summary), 200)),
        format!("Message-ID: <alert.{id}@{host}>"),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=us-ascii".to_owned(),
        String::new(),
        clean(&headline(host, alert), LINE_MAX),
        String::new(),
    ];
    lines.extend(
        facts(alert).iter().map(|(name, value)| clean(&format!("{name}: {value}"), LINE_MAX)),
    );
    if let Some(command) = &alert.command {
        lines.extend([String::new(), clean(&format!("First: {command}"), LINE_MAX)]);
    }
    lines.push(String::new());
    lines.join("\r\n")
}

/// Makes words fit for one line: what is not printable US-ASCII becomes `?`.
fn clean(words: &str, most: usize) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    words.chars().take(most).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::wording::{noted, opened};

    #[test]
    fn a_mail_says_what_when_and_what_to_do_and_a_peers_words_forge_nothing() {
        let mut alert = opened("route-suspended", "refused\r\nBcc: x@example.net")
            .about("r")
            .with("reason", "no \u{e9}")
            .first("sallyport route resume r")
            .at(Timestamp::UNIX_EPOCH);
        // An alert of another version may hold what ours does not.
        alert.summary = "refused\r\nBcc: x@example.net".into();
        let message = Message { id: "7-1", host: "relay.example.net", alert: &alert };
        let (a, b) = ("a@example.net".parse().unwrap(), "b@example.net".parse().unwrap());
        let postmaster = "ops@example.net".parse().unwrap();
        let text = text(&[a, b], message, &postmaster, Timestamp::UNIX_EPOCH);
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(header.contains("To: <a@example.net>,\r\n <b@example.net>\r\n"), "{header}");
        assert!(header.contains("Subject: route-suspended/r: refused??Bcc: x@example.net\r\n"));
        assert!(header.contains("From: \"Sallyport on relay.example.net\" <ops@example.net>\r\n"));
        assert!(header.contains("Auto-Submitted: auto-generated"));
        assert!(body.contains("reason: no ?\r\nsince: 1970-01-01T00:00:00Z\r\n"), "{body}");
        assert!(body.ends_with("\r\n\r\nFirst: sallyport route resume r\r\n"), "{body}");
        assert!(text.is_ascii() && text.lines().all(|line| line.len() < 998));
        assert!(text.split("\r\n").all(|line| !line.contains(['\r', '\n'])));
    }

    #[test]
    fn no_mail_tells_of_mail_that_failed() {
        assert!(!may_carry(&noted(NEVER, "x").at(Timestamp::UNIX_EPOCH)));
        assert!(may_carry(&noted("spool-full", "x").at(Timestamp::UNIX_EPOCH)));
    }
}
