//! The MAIL and RCPT commands of a transaction, with the parameters that the next hop knows.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::carriage::{Carriage, seconds_left};
use super::labels;
use super::offer::{Offer, Size};
use super::parcel::Parcel;
use super::stuffing::Octets;
use crate::mail::envelope::Deadline;
use crate::smtp::address::Address;
use crate::smtp::parameter::{ByMode, Notify, OriginalRecipient, Return, Utf8};
use crate::smtp::xtext;

/// The most seconds that BY= can name: nine digits (RFC 2852, section 4).
const BY_MAX: i64 = 999_999_999;

/// Returns the MAIL command. What was asked for is passed on as it was (RFC 3461, section 5.2.1;
/// RFC 6710, section 4.2), BY with the time that is left (RFC 2852, section 4).
pub(super) fn mail(parcel: &Parcel, offer: Offer, carriage: Carriage, now: Timestamp) -> String {
    let terms = &parcel.terms;
    let mut command = match parcel.sender.mailbox() {
        Some(sender) => format!("MAIL FROM:<{}>", told(sender, carriage)),
        None => "MAIL FROM:<>".to_owned(),
    };
    if offer.size != Size::Unknown {
        push(&mut command, &format!("SIZE={}", parcel.size_bytes));
    }
    match carriage.octets {
        Octets::SevenBit => {}
        Octets::EightBit => push(&mut command, "BODY=8BITMIME"),
        Octets::Binary => push(&mut command, "BODY=BINARYMIME"),
    }
    if carriage.utf8.is_some() {
        push(&mut command, "SMTPUTF8");
    }
    if offer.require_tls && terms.require_tls.is_some() {
        push(&mut command, "REQUIRETLS");
    }
    if offer.dsn {
        match terms.report {
            Some(Return::Full) => push(&mut command, "RET=FULL"),
            Some(Return::Headers) => push(&mut command, "RET=HDRS"),
            None => {}
        }
        if let Some(id) = &terms.envelope_id {
            push(&mut command, &format!("ENVID={}", xtext::encode(id)));
        }
    }
    if let (Some(_), Some(deadline)) = (offer.deliver_by, terms.deadline) {
        push(&mut command, &by(deadline, now));
    }
    if let (true, Some(priority)) = (offer.priority, terms.priority) {
        push(&mut command, &format!("MT-PRIORITY={}", i8::from(priority)));
    }
    command.push_str("\r\n");
    command
}

/// Returns the RCPT command for `recipient`.
pub(super) fn rcpt(
    parcel: &Parcel,
    recipient: &Address,
    offer: Offer,
    carriage: Carriage,
) -> String {
    let mut command = format!("RCPT TO:<{}>", told(recipient, carriage));
    if let (true, Some(wish)) = (offer.dsn, parcel.wish(recipient)) {
        if let Some(notify) = wish.notify {
            push(&mut command, &format!("NOTIFY={}", words(notify)));
        }
        if let Some(original) = &wish.original {
            push(&mut command, &format!("ORCPT={}", written(original, carriage.utf8)));
        }
    }
    command.push_str("\r\n");
    command
}

/// Returns an address as it is said: in UTF-8 only where MAIL says so.
fn told(address: &Address, carriage: Carriage) -> Cow<'_, Address> {
    let said = match carriage.utf8 {
        Some(Utf8) => None,
        None => labels::in_ascii(address),
    };
    said.unwrap_or(Cow::Borrowed(address))
}

fn push(command: &mut String, parameter: &str) {
    command.push(' ');
    command.push_str(parameter);
}

fn by(deadline: Deadline, now: Timestamp) -> String {
    let left = seconds_left(deadline, now).clamp(-BY_MAX, BY_MAX);
    let mode = match deadline.mode {
        ByMode::Notify => 'N',
        ByMode::Return => 'R',
    };
    let trace = if deadline.trace { "T" } else { "" };
    format!("BY={left};{mode}{trace}")
}

fn words(notify: Notify) -> String {
    match notify {
        Notify::Never => "NEVER".to_owned(),
        Notify::On { success, failure, delay } => {
            let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let chosen: Vec<_> =
                words.iter().filter(|(is_chosen, _)| *is_chosen).map(|(_, word)| *word).collect();
            chosen.join(",")
        }
    }
}

/// Writes whom the sender had written to. Letters that US-ASCII lacks are named by their numbers
/// where the command may not hold them (RFC 6533, section 3).
fn written(original: &OriginalRecipient, utf8: Option<Utf8>) -> String {
    let mut text = format!("{};", original.kind);
    let address = xtext::encode(&original.address);
    match utf8 {
        Some(Utf8) => text.push_str(&address),
        None => {
            for letter in address.chars() {
                if letter.is_ascii() {
                    text.push(letter);
                } else {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\\x{{{:X}}}", u32::from(letter));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
