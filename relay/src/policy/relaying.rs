//! Who may send as whom and to whom, and where mail goes next.
//!
//! A policy speaks of a tag or of a login. Everything that speaks of a client must permit what it
//! does, and where nothing speaks of it, nothing is permitted: there are no "my networks" here.

use super::permit::{Client, Permit};
use crate::config::{AddressPattern, Config, Policy, Route, SenderPattern};
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::command::Recipient;

/// Why mail is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No policy permits the sender: 553 5.7.1 at MAIL, 550 5.7.1 after the data.
    #[error("the sender is not permitted")]
    Sender,
    /// A policy does not permit the recipient: 550 5.7.1.
    #[error("the recipient is not permitted for this login")]
    Recipient,
    /// No route takes the recipient: 550 5.7.1.
    #[error("no route takes the recipient")]
    NoRoute,
}

/// Tells whether `client` may send as `sender`, in the envelope or in From and Sender.
///
/// # Errors
///
/// [`Refusal::Sender`]: a policy that speaks of the client does not list the sender, or no policy
/// speaks of it.
pub fn check_sender(
    config: &Config,
    client: Client<'_>,
    sender: &ReversePath,
) -> Result<(), Refusal> {
    let permits = |policy: &Policy| policy.senders.iter().any(|pattern| is_sender(pattern, sender));
    let mut policies = Permit::of(config, client).policies().peekable();
    if policies.peek().is_some() && policies.all(permits) { Ok(()) } else { Err(Refusal::Sender) }
}

fn is_sender(pattern: &SenderPattern, sender: &ReversePath) -> bool {
    match (pattern, sender) {
        (SenderPattern::Null, ReversePath::Null) => true,
        (SenderPattern::Address(pattern), ReversePath::Mailbox(address)) => is_of(pattern, address),
        (SenderPattern::Null, ReversePath::Mailbox(_))
        | (SenderPattern::Address(_), ReversePath::Null) => false,
    }
}

fn is_of(pattern: &AddressPattern, address: &Address) -> bool {
    match pattern {
        AddressPattern::Any => true,
        AddressPattern::Domain(domain) => address.domain().eq_ignore_ascii_case(domain),
        AddressPattern::Mailbox(mailbox) => mailbox == address,
    }
}

/// Tells whether `client` may send to `recipient`: every policy that speaks of it and names
/// recipients names this one.
///
/// # Errors
///
/// [`Refusal::Recipient`].
fn check_recipient(
    config: &Config,
    client: Client<'_>,
    recipient: &Address,
) -> Result<(), Refusal> {
    let permits = |policy: &Policy| {
        let named = policy.recipients.as_ref();
        named.is_none_or(|named| named.iter().any(|pattern| is_recipient(pattern, recipient)))
    };
    let permitted = Permit::of(config, client).policies().all(permits);
    if permitted { Ok(()) } else { Err(Refusal::Recipient) }
}

/// A local part with a route in it (`a%b.example@example.com`, `b.example!a@example.com`,
/// `"a@b.example"@example.com`) may mean another domain to a next hop that still reads such routes
/// (RFC 1123, section 5.2.16): a domain that is listed does not stand for it.
fn is_recipient(pattern: &AddressPattern, recipient: &Address) -> bool {
    let is_routed = || recipient.local().contains(['%', '!', '@']);
    match pattern {
        AddressPattern::Any | AddressPattern::Mailbox(_) => is_of(pattern, recipient),
        AddressPattern::Domain(_) => is_of(pattern, recipient) && !is_routed(),
    }
}

/// Returns the recipient that goes into the envelope for the argument of a RCPT.
///
/// This is the one way for a recipient to become part of an envelope.
///
/// # Errors
///
/// [`Refusal::Recipient`]; [`Refusal::NoRoute`].
pub fn accept_recipient(
    config: &Config,
    client: Client<'_>,
    recipient: Recipient,
) -> Result<Address, Refusal> {
    way_to(config, client, recipient).map(|(address, _)| address)
}

/// Returns whom a RCPT with this argument would reach, and by which route. Our own postmaster,
/// written with or without our name, is the one of the configuration (RFC 5321, section 4.5.1), and
/// permitted to everybody.
///
/// # Errors
///
/// As [`accept_recipient`].
pub fn way_to<'a>(
    config: &'a Config,
    client: Client<'_>,
    recipient: Recipient,
) -> Result<(Address, &'a Route), Refusal> {
    let address = match recipient {
        Recipient::Postmaster => config.postmaster.clone(),
        Recipient::Mailbox(address) if is_our_postmaster(config, &address) => {
            config.postmaster.clone()
        }
        Recipient::Mailbox(address) => {
            check_recipient(config, client, &address)?;
            address
        }
    };
    let route = route_for(config, client, &address).ok_or(Refusal::NoRoute)?;
    Ok((address, route))
}

fn is_our_postmaster(config: &Config, address: &Address) -> bool {
    address.local().eq_ignore_ascii_case("postmaster")
        && address.domain().eq_ignore_ascii_case(&config.hostname)
}

/// Returns the route that takes `recipient`: the one that the login's policy names, else the one
/// that the tag's policy names, else the one whose domains match, else the default.
#[must_use]
pub fn route_for<'a>(
    config: &'a Config,
    client: Client<'_>,
    recipient: &Address,
) -> Option<&'a Route> {
    if let Some(name) = Permit::of(config, client).route() {
        return config.routes.iter().find(|route| route.name == name);
    }
    let takes = |route: &&Route| {
        route.domains.iter().any(|domain| recipient.domain().eq_ignore_ascii_case(domain))
    };
    config.routes.iter().find(takes).or_else(|| config.routes.iter().find(|route| route.default))
}

/// What becomes of mail that is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Onward<'a> {
    /// It is sent by this route.
    Sent(&'a Route),
    /// It is kept, and would have gone by this route.
    Captured(&'a Route),
}

/// Returns what becomes of the mail of `client` to `recipient`; none: no route takes it.
#[must_use]
pub fn onward<'a>(
    config: &'a Config,
    client: Client<'_>,
    recipient: &Address,
) -> Option<Onward<'a>> {
    let route = route_for(config, client, recipient)?;
    let captured = Permit::of(config, client).captures(route);
    Some(if captured { Onward::Captured(route) } else { Onward::Sent(route) })
}

#[cfg(test)]
mod tests;
