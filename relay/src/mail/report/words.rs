//! The part of a report for people: what happened, and what to do, in words for somebody who
//! knows nothing of mail servers.

use std::fmt::Write as _;

use super::mime::Part;
use super::notice::{Diagnostic, Kind, News, Notice};
use super::{Report, clean_line};
use crate::mail::header::date;
use crate::smtp::reply::Enhanced;

/// Returns the subject of a report.
pub(super) const fn subject(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "Undelivered mail: your message did not reach everybody",
        Kind::Delayed => "Delayed mail: your message has not reached everybody yet",
        Kind::Relayed => "Passed on: your message is on its way",
    }
}

/// Writes the part.
pub(super) fn part(report: &Report<'_>) -> Part {
    let arrived = date(report.arrived_at);
    let mut text = format!("This is the mail relay at {}.\r\n\r\n", report.hostname);
    let _ = match report.envelope.sender.mailbox() {
        Some(_) => write!(text, "It is about your message of {arrived}.\r\n"),
        // Only reports of ours come from nobody and are told of.
        None => write!(
            text,
            "It is about a report of {arrived} that found no reader:\r\n\
             you hear of it as the postmaster.\r\n"
        ),
    };
    text.push_str(opening(report.kind));
    for notice in report.notices {
        let _ = write!(text, "\r\n<{}>\r\n", notice.recipient);
        text.push_str(&fate(notice));
    }
    let _ = write!(
        text,
        "\r\nIf you ask somebody for help, show this report: the number of your message\r\n\
         here is {}, and the parts below tell the rest.\r\n",
        report.about
    );
    Part::text("text/plain; charset=us-ascii", "text/plain; charset=utf-8", text)
}

const fn opening(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => {
            "It could not be delivered to the recipients below, and will not be tried again\r\n\
             for them.\r\n"
        }
        Kind::Delayed => {
            "It has not been delivered to the recipients below yet. It is tried again and\r\n\
             again: you need not do anything, and need not send it a second time.\r\n"
        }
        Kind::Relayed => {
            "You asked to hear of it. It was passed on for the recipients below to a mail\r\n\
             system that confirms no deliveries, so this is the last that you hear of them\r\n\
             unless something goes wrong.\r\n"
        }
    }
}

/// Says what became of one recipient.
fn fate(notice: &Notice) -> String {
    let shown = clean_line(notice.diagnostic.text());
    let advice = advice(notice.status);
    match (notice.news, &notice.diagnostic) {
        (News::Refused, Diagnostic::Smtp(_)) => {
            format!(
                "    The next mail system refused it with these words:\r\n    {shown}\r\n{advice}"
            )
        }
        (News::Refused, Diagnostic::Own(_)) => {
            format!("    This relay could not hand it on:\r\n    {shown}\r\n{advice}")
        }
        (News::Expired, _) => format!(
            "    It was given up after many attempts. The last one ended with:\r\n    {shown}\r\n\
             {advice}"
        ),
        (News::Overdue, _) => format!(
            "    It did not arrive within the time that you had set. The last attempt\r\n    \
             ended with:\r\n    {shown}\r\n{advice}"
        ),
        (News::Late(Some(until)), _) => format!(
            "    It is tried until {}.\r\n    The last attempt ended with:\r\n    {shown}\r\n",
            date(until)
        ),
        (News::Late(None), _) => {
            format!("    It waits until something on our side is mended:\r\n    {shown}\r\n")
        }
        (News::Relayed, _) => match &notice.remote {
            Some(remote) => format!("    Passed on to {}.\r\n", clean_line(remote)),
            None => "    Passed on.\r\n".to_owned(),
        },
    }
}

/// Says what the sender can do about a failure of this status (RFC 3463, section 3).
const fn advice(status: Enhanced) -> &'static str {
    match status {
        Enhanced(5, 1, 1 | 2 | 3 | 10) => {
            "    Look whether the address is written as it should be, and send again.\r\n"
        }
        Enhanced(5, 2, 2) => {
            "    The mailbox is full: ask its owner in another way to make room.\r\n"
        }
        Enhanced(5, 2, 3) | Enhanced(5, 3, 4) => {
            "    Make the message smaller, or leave out what is attached to it.\r\n"
        }
        Enhanced(5, 3, 3) => {
            "    A mail system on the way lacks something that your message asks for: send it\r\n    \
             without that, or ask who runs your mail program.\r\n"
        }
        Enhanced(5, 4, 7) => "    Try again later, or reach the recipient in another way.\r\n",
        Enhanced(5, 6, 7) => {
            "    A mail system on the way takes no address like this one: ask for another.\r\n"
        }
        Enhanced(5, 6, _) => {
            "    A mail system on the way cannot take a message of this form: try plain text.\r\n"
        }
        Enhanced(5, 7, 10 | 30) => {
            "    You asked for encryption on the whole way, and a mail system on it has none.\r\n"
        }
        Enhanced(5, 7, _) => {
            "    The rules over there forbid it: ask the recipient, or who runs that system.\r\n"
        }
        Enhanced(..) => "    Ask the recipient, or who runs that mail system, for the reason.\r\n",
    }
}
