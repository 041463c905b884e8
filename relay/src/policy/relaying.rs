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
        (SenderPattern::Null, ReversePath::Null)
        | (SenderPattern::Any, ReversePath::Mailbox(_)) => true,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy: who, senders, route.
    type Said<'a> = (Who, &'a [SenderPattern], Option<&'a str>);

    /// A configuration with these policies and routes.
    fn config(policies: &[Said<'_>], routes: &str) -> Config {
        let head = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
                    [gate]\nrequired = false\ninterfaces = [\"lo\"]\n\
                    [[listener]]\naddress = \"[::1]:2525\"\ntls = \"starttls\"\ngate = false\n\
                    [tls]\ncertificate = \"/c\"\nkey = \"/k\"\n[spool]\npath = \"/s\"\n";
        let mut config = Config::parse(&format!("{head}{routes}"))
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        config.policies = policies
            .iter()
            .map(|(who, senders, route)| Policy {
                who: who.clone(),
                senders: senders.to_vec(),
                rate: None,
                route: route.map(ToOwned::to_owned),
            })
            .collect();
        config
    }

    const ROUTES: &str = "[[route]]\nname = \"one\"\ndomains = [\"example.com\"]\n\
                          hosts = [\"mx.example.com:25\"]\n\
                          [[route]]\nname = \"two\"\ndomains = [\"example.org\"]\n\
                          hosts = [\"mx.example.org:25\"]\n\
                          [[route]]\nname = \"rest\"\ndefault = true\n\
                          hosts = [\"out.example.net:25\"]\n";

    fn tag() -> Who {
        Who::Tag("web".to_owned())
    }

    fn login() -> Who {
        Who::Login("app".to_owned())
    }

    fn path(text: &str) -> ReversePath {
        text.parse().map_or(ReversePath::Null, ReversePath::Mailbox)
    }

    const APP_ON_WEB: Client<'_> = Client { login: Some("app"), tag: Some("web") };

    #[test]
    fn nobody_sends_without_a_policy_and_every_policy_must_permit() {
        let domain = || SenderPattern::Domain("example.net".to_owned());
        let other = || SenderPattern::Domain("example.com".to_owned());
        let both: &[SenderPattern] = &[domain(), other()];
        let one: &[SenderPattern] = &[domain()];
        let rows: &[(&[Said<'_>], &str, bool)] = &[
            (&[], "a@example.net", false),
            (&[(Who::Login("web".to_owned()), both, None)], "a@example.net", false),
            (&[(login(), one, None)], "a@example.net", true),
            (&[(tag(), one, None)], "a@example.net", true),
            (&[(tag(), both, None), (login(), one, None)], "a@example.net", true),
            (&[(tag(), both, None), (login(), one, None)], "a@example.com", false),
            (&[(tag(), one, None), (login(), both, None)], "a@example.com", false),
            (&[(login(), &[], None)], "a@example.net", false),
        ];
        for (policies, sender, permitted) in rows {
            let config = config(policies, ROUTES);
            let answer = check_sender(&config, APP_ON_WEB, &path(sender));
            assert_eq!(answer.is_ok(), *permitted, "{policies:?} {sender}");
        }
    }

    #[test]
    fn patterns_are_exact_and_the_null_sender_must_be_listed() {
        use SenderPattern::{Any, Domain, Mailbox, Null};
        let net = || Domain("example.net".to_owned());
        let news = || Mailbox("news@example.net".parse().unwrap());
        for (pattern, sender, permitted) in [
            (Any, "a@example.net", true),
            (Any, "", false),
            (Null, "", true),
            (Null, "a@example.net", false),
            (net(), "a@EXAMPLE.net", true),
            (net(), "a@sub.example.net", false),
            (net(), "a@badexample.net", false),
            (net(), "", false),
            (news(), "news@Example.net", true),
            (news(), "News@example.net", false),
        ] {
            let config = config(&[(login(), std::slice::from_ref(&pattern), None)], ROUTES);
            let answer = check_sender(&config, APP_ON_WEB, &path(sender));
            assert_eq!(answer.is_ok(), permitted, "{pattern:?} {sender}");
        }
    }

    #[test]
    fn the_logins_route_beats_the_tags_beats_the_domains_beats_the_default() {
        let any: &[SenderPattern] = &[SenderPattern::Any];
        let rows: &[(&[Said<'_>], &str, &str)] = &[
            (&[(tag(), any, Some("one")), (login(), any, Some("two"))], "a@example.com", "two"),
            (&[(tag(), any, Some("two")), (login(), any, None)], "a@example.com", "two"),
            (&[(tag(), any, None)], "a@EXAMPLE.org", "two"),
            (&[(tag(), any, None)], "a@sub.example.org", "rest"),
            (&[], "a@example.com", "one"),
        ];
        for (policies, recipient, route) in rows {
            let config = config(policies, ROUTES);
            let found = route_for(&config, APP_ON_WEB, &recipient.parse().unwrap());
            assert_eq!(found.map(|found| found.name.as_str()), Some(*route), "{recipient}");
        }
    }

    #[test]
    fn what_no_route_takes_is_refused_our_postmaster_too() {
        let few = "[[route]]\nname = \"one\"\ndomains = [\"example.com\"]\n\
                   hosts = [\"mx.example.com:25\"]\n";
        let mut config = config(&[], few);
        let accept = |config: &Config, text: &str| {
            let recipient = match text {
                "postmaster" => Recipient::Postmaster,
                _ => Recipient::Mailbox(text.parse().unwrap()),
            };
            accept_recipient(config, APP_ON_WEB, recipient).map(|address| address.to_string())
        };
        assert_eq!(accept(&config, "a@example.com"), Ok("a@example.com".to_owned()));
        assert_eq!(accept(&config, "a@example.org"), Err(Refusal::NoRoute));
        assert_eq!(accept(&config, "postmaster"), Err(Refusal::NoRoute));
        config.postmaster = "ops@example.com".parse().unwrap();
        for text in ["postmaster", "Postmaster@relay.EXAMPLE.net"] {
            assert_eq!(accept(&config, text), Ok("ops@example.com".to_owned()));
        }
    }
}
