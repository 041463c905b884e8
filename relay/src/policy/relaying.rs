//! Who may send as whom, and where mail goes next.
//!
//! A policy speaks of a tag or of a login. Everything that speaks of a client must permit what it
//! does, and where nothing speaks of it, nothing is permitted: there are no "my networks" here.

use crate::config::{Config, Policy, Route, SenderPattern, Who};
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::command::Recipient;

/// Whom a policy is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The authenticated login; none for the relay's own reports.
    pub login: Option<&'a str>,
    /// The tag of the allowlist entry that admitted the client.
    pub tag: Option<&'a str>,
}

/// Why mail is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No policy permits the sender: 553 5.7.1 at MAIL, 550 5.7.1 after the data.
    #[error("the sender is not permitted")]
    Sender,
    /// No route takes the recipient: 550 5.7.1.
    #[error("no route takes the recipient")]
    NoRoute,
}

/// Returns the place of every policy that speaks of `client`, in the order of the configuration.
pub fn policies_of<'a>(
    config: &'a Config,
    client: Client<'a>,
) -> impl Iterator<Item = (usize, &'a Policy)> {
    config.policies.iter().enumerate().filter(move |(_, policy)| speaks_of(policy, client))
}

fn speaks_of(policy: &Policy, client: Client<'_>) -> bool {
    match &policy.who {
        Who::Tag(tag) => client.tag == Some(tag),
        Who::Login(login) => client.login == Some(login),
    }
}

/// Tells whether `client` may send as `sender`, in the envelope or in From and Sender.
///
/// # Errors
///
/// A policy that speaks of the client does not list the sender, or no policy speaks of it.
pub fn check_sender(
    config: &Config,
    client: Client<'_>,
    sender: &ReversePath,
) -> Result<(), Refusal> {
    let mut spoken = false;
    for (_, policy) in policies_of(config, client) {
        spoken = true;
        if !policy.senders.iter().any(|pattern| matches_pattern(pattern, sender)) {
            return Err(Refusal::Sender);
        }
    }
    if spoken { Ok(()) } else { Err(Refusal::Sender) }
}

fn matches_pattern(pattern: &SenderPattern, sender: &ReversePath) -> bool {
    match (pattern, sender) {
        (SenderPattern::Null, ReversePath::Null) => true,
        (SenderPattern::Any, ReversePath::Mailbox(_)) => true,
        (SenderPattern::Domain(domain), ReversePath::Mailbox(address)) => {
            address.domain().eq_ignore_ascii_case(domain)
        }
        (SenderPattern::Mailbox(mailbox), ReversePath::Mailbox(address)) => mailbox == address,
        (SenderPattern::Null, ReversePath::Mailbox(_))
        | (
            SenderPattern::Any | SenderPattern::Domain(_) | SenderPattern::Mailbox(_),
            ReversePath::Null,
        ) => false,
    }
}

/// Returns the recipient that goes into the envelope for the argument of a RCPT. Our own
/// postmaster, written with or without our name, is the one of the configuration (RFC 5321,
/// section 4.5.1).
///
/// This is the one way for a recipient to become part of an envelope.
///
/// # Errors
///
/// No route takes it.
pub fn accept_recipient(
    config: &Config,
    client: Client<'_>,
    recipient: Recipient,
) -> Result<Address, Refusal> {
    let address = match recipient {
        Recipient::Postmaster => config.postmaster.clone(),
        Recipient::Mailbox(address) if is_our_postmaster(config, &address) => {
            config.postmaster.clone()
        }
        Recipient::Mailbox(address) => address,
    };
    route_for(config, client, &address).ok_or(Refusal::NoRoute)?;
    Ok(address)
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
    let named = |of_login: bool| {
        config
            .policies
            .iter()
            .filter(|policy| speaks_of(policy, client))
            .filter(|policy| matches!(policy.who, Who::Login(_)) == of_login)
            .find_map(|policy| policy.route.as_deref())
    };
    if let Some(name) = named(true).or_else(|| named(false)) {
        return config.routes.iter().find(|route| route.name == name);
    }
    let takes = |route: &&Route| {
        route.domains.iter().any(|domain| recipient.domain().eq_ignore_ascii_case(domain))
    };
    config.routes.iter().find(takes).or_else(|| config.routes.iter().find(|route| route.default))
}
