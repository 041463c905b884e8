//! The part of a report for machines (RFC 3464, section 2; RFC 6533, section 3).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::mime::Part;
use super::notice::{Diagnostic, News, Notice};
use super::{Report, clean_line, wishes};
use crate::mail::header::date;
use crate::smtp::address::Charset;
use crate::smtp::reply::Enhanced;

/// Writes the fields about the message, then those about each recipient.
pub(super) fn part(report: &Report<'_>) -> Part {
    let mut text = String::new();
    if let Some(id) = &report.envelope.terms.envelope_id {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", clean_line(id));
    }
    let arrived = date(report.arrived_at);
    let _ = write!(text, "Reporting-MTA: dns; {}\r\nArrival-Date: {arrived}\r\n", report.hostname);
    for notice in report.notices {
        text.push_str("\r\n");
        recipient(&mut text, report, notice);
    }
    Part::text("message/delivery-status", "message/global-delivery-status", text)
}

fn recipient(text: &mut String, report: &Report<'_>, notice: &Notice) {
    let Enhanced(class, subject, detail) = notice.status;
    let wish = wishes::wish(report.envelope, &notice.recipient);
    if let Some(original) = wish.and_then(|wish| wish.original.as_ref()) {
        // Its octets are those of the client's ORCPT, without control characters.
        let _ = write!(text, "Original-Recipient: {};{}\r\n", original.kind, original.address);
    }
    let kind = match notice.recipient.charset() {
        Charset::Ascii => "rfc822",
        Charset::Utf8 => "utf-8",
    };
    let _ = write!(
        text,
        "Final-Recipient: {kind}; {}\r\nAction: {}\r\nStatus: {class}.{subject}.{detail}\r\n",
        notice.recipient,
        report.kind.action(),
    );
    if let Some(remote) = &notice.remote {
        let _ = write!(text, "Remote-MTA: dns; {}\r\n", clean_line(&host(remote)));
    }
    let (kind, words) = match &notice.diagnostic {
        Diagnostic::Smtp(words) => ("smtp", words),
        Diagnostic::Own(words) => ("x-sallyport", words),
    };
    let _ = write!(
        text,
        "Diagnostic-Code: {kind}; {}\r\nLast-Attempt-Date: {}\r\nFinal-Log-ID: {}\r\n",
        clean_line(words),
        date(report.now),
        report.about,
    );
    match notice.news {
        News::Late(Some(until)) => {
            let _ = write!(text, "Will-Retry-Until: {}\r\n", date(until));
        }
        News::Late(None) | News::Refused | News::Expired | News::Overdue | News::Relayed => {}
    }
}

/// Returns a host as the fields name it: an address as a literal (RFC 3464, section 2.1.2).
fn host(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => name.to_owned(),
    }
}
