//! How a message travels to one next hop: what the hop's EHLO allows, what has to be converted
//! first, and what cannot go there at all.
//!
//! | asked for                  | and the hop lacks          | then                              |
//! |----------------------------|----------------------------|-----------------------------------|
//! | REQUIRETLS                 | TLS with a proved name     | 5.7.10 (RFC 8689, section 4.2.1)  |
//! | REQUIRETLS                 | REQUIRETLS                 | 5.7.30 (RFC 8689, section 4.2.1)  |
//! | BY=…;R                     | time                       | 5.4.7 (RFC 2852, section 4)       |
//! | BY=…;R                     | DELIVERBY, or time for it  | 5.3.3 (RFC 2852, section 4)       |
//! | a local part in UTF-8      | SMTPUTF8                   | 5.6.7 (RFC 6531, section 3.5),    |
//! |                            |                            | for that recipient or for all     |
//! | a domain in UTF-8          | SMTPUTF8                   | its A-labels are said             |
//! | headers in UTF-8           | SMTPUTF8                   | looked at; 5.6.9 if there are any |
//! | 8-bit lines                | 8BITMIME                   | converted (RFC 6152, section 3)   |
//! | no lines                   | BINARYMIME or CHUNKING     | converted (RFC 3030, section 3)   |
//! | a size                     | room by SIZE               | 5.3.4 (RFC 1870, section 6.1)     |
//!
//! BY=…;N, MT-PRIORITY, RET, ENVID, NOTIFY and ORCPT go on where the hop knows them, and nothing
//! else follows from them here.

use jiff::Timestamp;

use super::labels;
use super::offer::{Offer, Size};
use super::parcel::Parcel;
use super::ruling::LoggedIn;
use super::stuffing::Octets;
use crate::mail::convert::{self, Unconvertible};
use crate::mail::envelope::{Body, Deadline};
use crate::smtp::address::{Address, Charset};
use crate::smtp::parameter::{ByMode, Utf8};
use crate::smtp::reply::Enhanced;

/// The largest message that is looked at or converted, octets: it is held in memory for that.
pub const HELD_MAX: u64 = 16 << 20;

/// How many times its octets a message takes while it is converted: itself, and what becomes of it
/// ([`convert::to_seven_bit`]).
pub const GROWS_TO: u64 = 4;

/// How a connection to a next hop is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// By TLS, with a name that was proved.
    Proved,
    /// Not at all, or by TLS with who knows whom.
    Unproved,
}

/// What is known of a next hop when a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What it offers.
    pub offer: Offer,
    /// How the connection is protected.
    pub protection: Protection,
    /// Whether it knows us.
    pub logged_in: LoggedIn,
}

/// How a message is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carriage {
    pub(super) by: By,
    pub(super) octets: Octets,
    /// MAIL says SMTPUTF8.
    pub(super) utf8: Option<Utf8>,
}

/// The command that a message goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// DATA (RFC 5321, section 4.1.1.4).
    Data,
    /// BDAT (RFC 3030, section 2).
    Chunk,
}

/// What is to be done with a parcel at a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It goes as it is.
    Go(Carriage),
    /// It goes, once it was held in memory and looked at.
    Hold(Carriage, Look),
    /// It does not go.
    Refuse(Refusal),
}

/// Why a message does not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: Enhanced,
    pub(super) words: String,
}

/// What is looked at in a message that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Its headers must be US-ASCII.
    Headers,
    /// It must be converted; its headers may be written in this.
    Convert(Charset),
}

/// A message that is held, and what is to be done with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Conversion {
    message: Vec<u8>,
    look: Look,
    offer: Offer,
}

/// What became of a message that was held: what goes in its place, or why nothing does.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted(pub(super) Result<Vec<u8>, Refusal>);

impl Look {
    /// Returns how many octets are held at most of a message of this size, itself included.
    pub(super) const fn room(self, size_bytes: u64) -> u64 {
        match self {
            Self::Headers => size_bytes,
            Self::Convert(_) => size_bytes.saturating_mul(GROWS_TO),
        }
    }
}

impl Conversion {
    pub(super) const fn new(message: Vec<u8>, look: Look, offer: Offer) -> Self {
        Self { message, look, offer }
    }

    /// Returns the length of the message, octets.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.message.len()
    }

    /// Looks at the message and converts it. The time that takes grows with its length.
    #[must_use]
    pub fn run(self) -> Converted {
        Converted(look(self.message, self.look, self.offer))
    }
}

impl Converted {
    /// Returns how many octets are still held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(0, Vec::len)
    }
}

impl Refusal {
    fn new(status: Enhanced, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }

    fn of(lacks: &str, fault: Unconvertible) -> Self {
        let status = match fault {
            Unconvertible::Header => Enhanced(5, 6, 9),
            Unconvertible::Signed => Enhanced(5, 6, 3),
            Unconvertible::Malformed(_) => Enhanced(5, 6, 1),
        };
        Self::new(status, format!("the next hop {lacks}, and {fault}"))
    }
}

/// Decides how `parcel` travels to `hop`, `now` being the time.
pub(super) fn plan(parcel: &Parcel, hop: Hop, now: Timestamp) -> Plan {
    let offer = hop.offer;
    let refusal = protection(parcel, hop).or_else(|| time(parcel, offer, now));
    if let Some(refusal) = refusal.or_else(|| size(parcel.size_bytes, offer)) {
        return Plan::Refuse(refusal);
    }
    // SMTPUTF8 without 8BITMIME is no offer (RFC 6531, section 3.1, item 8).
    let takes_utf8 = offer.utf8 && offer.eight_bit;
    let untold = |sender: &Address| labels::in_ascii(sender).is_none();
    if parcel.sender.mailbox().is_some_and(untold) && !takes_utf8 {
        return Plan::Refuse(no_utf8_address());
    }
    let foreign = |to: &Address| to.charset() == Charset::Utf8;
    let has_foreign = parcel.has_foreign_sender() || parcel.recipients.iter().any(foreign);
    // Without an octet above 127 in it or around it the message needs no SMTPUTF8, whatever its
    // client said.
    let may_need_utf8 =
        parcel.terms.utf8.is_some() && (has_foreign || parcel.body != Body::SevenBit);
    let utf8 = (may_need_utf8 && takes_utf8).then_some(Utf8);
    let by = if offer.chunking { By::Chunk } else { By::Data };
    let carriage = |octets| Carriage { by, octets, utf8 };
    let octets = match (parcel.body, offer.eight_bit, offer.chunking && offer.binary) {
        (Body::SevenBit, _, _) => return Plan::Go(carriage(Octets::SevenBit)),
        (Body::EightBit, true, _) => Octets::EightBit,
        (Body::Binary, true, true) => Octets::Binary,
        (Body::EightBit | Body::Binary, _, _) => {
            let (octets, headers) = match utf8 {
                Some(Utf8) => (Octets::EightBit, Charset::Utf8),
                None => (Octets::SevenBit, Charset::Ascii),
            };
            return hold(parcel, carriage(octets), Look::Convert(headers));
        }
    };
    if may_need_utf8 && !takes_utf8 {
        return hold(parcel, carriage(octets), Look::Headers);
    }
    Plan::Go(carriage(octets))
}

fn hold(parcel: &Parcel, carriage: Carriage, look: Look) -> Plan {
    if parcel.size_bytes <= HELD_MAX {
        return Plan::Hold(carriage, look);
    }
    let size = parcel.size_bytes;
    let words = format!(
        "the next hop lacks an extension that the message may need, and with {size} octets it is \
         too large to be looked at (the limit is {HELD_MAX})"
    );
    Plan::Refuse(Refusal::new(Enhanced(5, 6, 3), words))
}

/// Looks at a message that was held; returns what goes in its place.
///
/// # Errors
///
/// It does not go.
fn look(message: Vec<u8>, look: Look, offer: Offer) -> Result<Vec<u8>, Refusal> {
    let message = match look {
        Look::Headers => match convert::headers_are_ascii(&message) {
            Ok(true) => message,
            Ok(false) => {
                let words = "the message has headers in UTF-8 and the next hop lacks SMTPUTF8";
                return Err(Refusal::new(Enhanced(5, 6, 9), words));
            }
            Err(fault) => return Err(Refusal::of("lacks SMTPUTF8", fault)),
        },
        Look::Convert(headers) => {
            let refuse = |fault| Refusal::of("takes no such octets", fault);
            let mut made = convert::to_seven_bit(&message, headers).map_err(refuse)?;
            made.shrink_to_fit();
            made
        }
    };
    match size(message.len() as u64, offer) {
        Some(refusal) => Err(refusal),
        None => Ok(message),
    }
}

/// Returns why a recipient whose address cannot be in US-ASCII is not named to a hop without SMTPUTF8.
pub(super) fn no_utf8_address() -> Refusal {
    let words = "an address is in UTF-8 and the next hop lacks SMTPUTF8";
    Refusal::new(Enhanced(5, 6, 7), words)
}

/// A wish that the hop lets nobody keep ends here, so that nobody reads on the way what its sender
/// wanted hidden. All hosts of a route are taken for alike.
fn protection(parcel: &Parcel, hop: Hop) -> Option<Refusal> {
    parcel.terms.require_tls?;
    match (hop.protection, hop.offer.require_tls) {
        (Protection::Proved, true) => None,
        (Protection::Unproved, _) => {
            let words = "the message requires TLS with a proved name, and the route has none";
            Some(Refusal::new(Enhanced(5, 7, 10), words))
        }
        (Protection::Proved, false) => {
            let words = "the message requires TLS all the way and the next hop lacks REQUIRETLS";
            Some(Refusal::new(Enhanced(5, 7, 30), words))
        }
    }
}

/// A message that is to be returned unless it arrives in time goes only where that is kept.
fn time(parcel: &Parcel, offer: Offer, now: Timestamp) -> Option<Refusal> {
    let deadline = parcel.terms.deadline?;
    let left = seconds_left(deadline, now);
    match (deadline.mode, offer.deliver_by) {
        (ByMode::Notify, _) => None,
        (ByMode::Return, _) if left <= 0 => {
            let words = "the time in which the message had to arrive is over";
            Some(Refusal::new(Enhanced(5, 4, 7), words))
        }
        (ByMode::Return, Some(least)) if left >= i64::from(least) => None,
        (ByMode::Return, Some(least)) => {
            let words = format!("{left} s are left and the next hop wants {least} s at least");
            Some(Refusal::new(Enhanced(5, 3, 3), words))
        }
        (ByMode::Return, None) => {
            let words = "the message must arrive in time or return, and the next hop lacks \
                         DELIVERBY";
            Some(Refusal::new(Enhanced(5, 3, 3), words))
        }
    }
}

/// Returns how many whole seconds are left to `deadline`; negative once it is past.
pub(super) fn seconds_left(deadline: Deadline, now: Timestamp) -> i64 {
    deadline.at.as_second() - now.as_second()
}

fn size(size_bytes: u64, offer: Offer) -> Option<Refusal> {
    match offer.size {
        Size::Limit(limit) if size_bytes > limit => {
            let words = format!(
                "the message has {size_bytes} octets and the next hop takes at most {limit}"
            );
            Some(Refusal::new(Enhanced(5, 3, 4), words))
        }
        Size::Limit(_) | Size::Unlimited | Size::Unknown => None,
    }
}

#[cfg(test)]
mod tests;
