//! What the sessions of a source may do, by its tag and by a login that is asked about.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::config::{Config, Policy, Who, unit};
use crate::policy::permit::{Client, Permit};
use crate::policy::relaying::{check_sender, way_to};
use crate::smtp::address::{Address, AddressError, ReversePath};
use crate::smtp::command::Recipient;

/// What is asked besides the address.
#[derive(Args, Clone, Debug, Default)]
pub struct Asked {
    /// Tell what this login may send from there.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// Tell whether it may send as this sender; "<>" is the null sender.
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    sender: Option<ReversePath>,
    /// Tell whether it may send to this recipient, and by which route.
    #[arg(long, value_name = "ADDRESS", value_parser = recipient)]
    recipient: Option<Recipient>,
}

impl Asked {
    /// Tells whether there is anything.
    pub(super) const fn is_more(&self) -> bool {
        self.login.is_some() || self.sender.is_some() || self.recipient.is_some()
    }
}

fn sender(text: &str) -> Result<ReversePath, AddressError> {
    if text == "<>" { Ok(ReversePath::Null) } else { text.parse().map(ReversePath::Mailbox) }
}

fn recipient(text: &str) -> Result<Recipient, AddressError> {
    if text.eq_ignore_ascii_case("postmaster") {
        Ok(Recipient::Postmaster)
    } else {
        text.parse::<Address>().map(Recipient::Mailbox)
    }
}

/// What the configuration says of a client. Another program reads this as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Permitted {
    /// The login that was asked about.
    login: Option<String>,
    /// The policies that speak of the client, the login's first: all must permit.
    policies: Vec<Spoken>,
    /// Whether it may send as the sender that was asked about.
    sender: Option<Answer>,
    /// Whether it may send to the recipient that was asked about.
    recipient: Option<Answer>,
    /// The largest message, octets.
    message_size_bytes: u64,
    /// Recipients in one transaction.
    recipients_per_message: usize,
    /// When its mail is given up, seconds.
    expire_seconds: u64,
    /// Sessions at a time of the login.
    sessions_of_login: usize,
}

/// What one policy says; what it does not say is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Spoken {
    /// `tag billing`, `login app`.
    who: String,
    senders: Vec<String>,
    recipients: Option<Vec<String>>,
    rate: Option<String>,
    quota: Option<String>,
    sessions: Option<usize>,
    route: Option<String>,
    priority: Option<i8>,
    capture: Option<bool>,
}

/// Why a login that no policy names sends to nobody.
const UNKNOWN: &str = "no policy speaks of its login";

/// Whether a sender or a recipient is permitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Answer {
    permitted: bool,
    /// Why not.
    why: Option<String>,
    /// Where the mail goes next.
    route: Option<String>,
    /// Whether the mail is kept instead of sent.
    captured: bool,
    /// Who was asked about, or who the postmaster is.
    #[serde(rename = "address")]
    about: String,
}

impl Permitted {
    /// Asks `config` about clients with this tag.
    pub(super) fn of(config: &Config, tag: Option<&str>, asked: &Asked) -> Self {
        let client = Client { login: asked.login.as_deref(), tag };
        let permit = Permit::of(config, client);
        let limits = permit.limits();
        // Every sender of such a login is refused, so no recipient of it is ever asked about.
        let is_unknown = asked.login.is_some() && permit.policies().next().is_none();
        Self {
            login: asked.login.clone(),
            policies: permit.policies().map(Spoken::of).collect(),
            sender: asked.sender.as_ref().map(|sender| {
                let why = check_sender(config, client, sender).err().map(|why| why.to_string());
                let about = sender.mailbox().map_or_else(|| "<>".to_owned(), ToString::to_string);
                Answer { permitted: why.is_none(), why, route: None, captured: false, about }
            }),
            recipient: asked.recipient.clone().map(|recipient| {
                let about = match &recipient {
                    Recipient::Postmaster => "postmaster".to_owned(),
                    Recipient::Mailbox(address) => address.to_string(),
                };
                let way = way_to(config, client, recipient);
                let way = way.map_err(|why| why.to_string());
                let way =
                    way.and_then(|way| if is_unknown { Err(UNKNOWN.to_owned()) } else { Ok(way) });
                let why = way.as_ref().err().cloned();
                let route = way.ok().map(|(_, route)| route);
                let captured = route.is_some_and(|route| permit.captures(route));
                let route = route.map(|route| route.name.clone());
                Answer { permitted: why.is_none(), why, route, captured, about }
            }),
            message_size_bytes: limits.message_size_bytes,
            recipients_per_message: limits.recipients,
            expire_seconds: permit.retry().expire.as_secs(),
            sessions_of_login: permit.sessions_of_login(),
        }
    }

    /// Returns the routes that its mail goes by: that of the recipient who was asked about, else those that
    /// its policies name; none: any.
    pub(super) fn routes(&self) -> Vec<&str> {
        match self.recipient.as_ref().and_then(|answer| answer.route.as_deref()) {
            Some(route) => vec![route],
            None => self.policies.iter().filter_map(|policy| policy.route.as_deref()).collect(),
        }
    }

    /// Says it in words, one sentence a line.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.policies.iter().map(Spoken::sentence).collect();
        lines.extend(
            match (&self.login, lines.is_empty()) {
                (Some(_), true) => Some("No policy speaks of it: it may send nothing."),
                (None, true) => Some(
                    "No policy has its tag: what its login permits decides alone (--login NAME).",
                ),
                (None, false) => Some("Its login may narrow that (--login NAME)."),
                (Some(_), false) => None,
            }
            .map(ToOwned::to_owned),
        );
        lines.extend(self.sender.as_ref().map(|answer| answer.sentence("as")));
        lines.extend(self.recipient.as_ref().map(|answer| answer.sentence("to")));
        lines.push(format!(
            "A message may have {} octets and {} recipients, and is given up after {}; a login has \
             at most {} sessions.",
            self.message_size_bytes,
            self.recipients_per_message,
            unit::written(Duration::from_secs(self.expire_seconds)),
            self.sessions_of_login,
        ));
        lines
    }
}

impl Spoken {
    fn of(policy: &Policy) -> Self {
        let recipients = policy.recipients.as_ref();
        Self {
            who: match &policy.who {
                Who::Tag(tag) => format!("tag {tag}"),
                Who::Login(login) => format!("login {login}"),
            },
            senders: policy.senders.iter().map(ToString::to_string).collect(),
            recipients: recipients.map(|named| named.iter().map(ToString::to_string).collect()),
            rate: policy.rate.map(|rate| rate.to_string()),
            quota: policy.quota.map(|quota| quota.to_string()),
            sessions: policy.sessions,
            route: policy.route.clone(),
            priority: policy.priority.map(i8::from),
            capture: policy.capture,
        }
    }

    fn sentence(&self) -> String {
        let nobody = |names: &[String]| match names {
            [] => "nobody".to_owned(),
            names => names.join(", "),
        };
        let to = self.recipients.as_ref().map(|names| format!(" to {}", nobody(names)));
        let amounts = [&self.rate, &self.quota].into_iter().flatten();
        let amounts: Vec<_> = amounts.map(|amount| format!(", {amount} recipients")).collect();
        let sessions = self.sessions.map(|most| format!(", {most} sessions at a time"));
        let route = self.route.as_ref().map(|route| format!(", by route {route}"));
        let capture = match self.capture {
            Some(true) => ", and its mail is captured",
            Some(false) => ", and its mail is sent",
            None => "",
        };
        let priority = self.priority.map(|most| format!(", with a priority of at most {most}"));
        format!(
            "Its {} may send as {}{}{}{}{}{}{}.",
            self.who,
            nobody(&self.senders),
            to.unwrap_or_default(),
            amounts.concat(),
            sessions.unwrap_or_default(),
            route.unwrap_or_default(),
            priority.unwrap_or_default(),
            capture
        )
    }
}

impl Answer {
    fn sentence(&self, how: &str) -> String {
        let Self { about, route, captured, why, .. } = self;
        let by = if *captured { "captured instead of sent by route" } else { "by route" };
        let route = route.as_ref().map(|route| format!(", {by} {route}")).unwrap_or_default();
        match why {
            None => format!("It may send {how} {about}{route}."),
            Some(why) => format!("It may not send {how} {about}: {why}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
            [gate]\ninterfaces = [\"eth0\"]\n[[listener]]\naddress = \"[::]:2525\"\n\
            [[policy]]\ntag = \"web\"\nsenders = [\"@example.net\", \"<>\"]\nrate = \"600/min\"\n\
            quota = \"20000/d\"\nexpire = \"36h\"\n\
            [[policy]]\nlogin = \"app\"\nsenders = [\"news@example.net\"]\n\
            recipients = [\"@example.com\"]\nroute = \"slow\"\npriority = -2\nmessage-size = \"1MiB\"\nsessions = 7\n\
            [[route]]\nname = \"slow\"\nhosts = [\"mx.example.com:25\"]\n";
        Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn asked(login: Option<&str>, from: &str, to: &str) -> Asked {
        Asked {
            login: login.map(ToOwned::to_owned),
            sender: Some(sender(from).unwrap()),
            recipient: Some(recipient(to).unwrap()),
        }
    }

    #[test]
    fn both_policies_are_named_and_both_must_permit() {
        let asked = asked(Some("app"), "news@example.net", "a@example.com");
        assert_eq!(
            Permitted::of(&config(), Some("web"), &asked).sentences(),
            [
                "Its login app may send as news@example.net to @example.com, 7 sessions at a time, \
                 by route slow, with a priority of at most -2.",
                "Its tag web may send as @example.net, <>, 600/min recipients, 20000/d recipients.",
                "It may send as news@example.net.",
                "It may send to a@example.com, by route slow.",
                "A message may have 1048576 octets and 1000 recipients, and is given up after 36h; \
                 a login has at most 7 sessions.",
            ]
        );
    }

    #[test]
    fn the_routes_of_a_client_are_those_of_its_recipient_or_of_its_policies() {
        let whole = asked(Some("app"), "news@example.net", "a@example.com");
        let nobody = Asked { recipient: None, ..whole.clone() };
        let routes = |asked: &Asked| {
            let permitted = Permitted::of(&config(), Some("web"), asked);
            permitted.routes().into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(routes(&whole), ["slow"]);
        assert_eq!(routes(&nobody), ["slow"]);
        assert_eq!(routes(&Asked::default()), [""; 0], "any");
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_reply() {
        for (row, login, tag, from, to, sender_why, recipient_why) in [
            (
                "the login narrows",
                Some("app"),
                Some("web"),
                "a@example.net",
                "a@example.org",
                Some("the sender is not permitted"),
                Some("the recipient is not permitted for this login"),
            ),
            (
                "the tag alone",
                None,
                Some("web"),
                "<>",
                "a@example.org",
                None,
                Some("no route takes the recipient"),
            ),
            (
                "nobody",
                Some("other"),
                None,
                "a@example.net",
                "postmaster",
                Some("the sender is not permitted"),
                Some("no route takes the recipient"),
            ),
        ] {
            let permitted = Permitted::of(&config(), tag, &asked(login, from, to));
            let why = |answer: &Option<Answer>| answer.as_ref().unwrap().why.clone();
            assert_eq!(why(&permitted.sender).as_deref(), sender_why, "{row}");
            assert_eq!(why(&permitted.recipient).as_deref(), recipient_why, "{row}");
            let is_permitted = permitted.sender.map(|answer| answer.permitted);
            assert_eq!(is_permitted, Some(sender_why.is_none()), "{row}");
        }
    }

    #[test]
    fn mail_that_would_be_captured_is_told() {
        let text = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
            [gate]\ninterfaces = [\"eth0\"]\n[[listener]]\naddress = \"[::]:2525\"\n\
            [[policy]]\ntag = \"web\"\nsenders = [\"*\"]\n\
            [[policy]]\nlogin = \"app\"\nsenders = [\"*\"]\ncapture = true\n\
            [[route]]\nname = \"slow\"\ndefault = true\nhosts = [\"mx.example.com:25\"]\n\
            [[route]]\nname = \"kept\"\ndomains = [\"example.org\"]\ncapture = true\n";
        let config = Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        for (login, to, words) in [
            (None, "a@example.com", "It may send to a@example.com, by route slow."),
            (
                None,
                "a@example.org",
                "It may send to a@example.org, captured instead of sent by route kept.",
            ),
            (
                Some("app"),
                "a@example.com",
                "It may send to a@example.com, captured instead of sent by route slow.",
            ),
            (
                Some("app"),
                "a@example.com",
                "Its login app may send as *, and its mail is captured.",
            ),
        ] {
            let asked = asked(login, "b@example.net", to);
            let said = Permitted::of(&config, Some("web"), &asked).sentences();
            assert!(said.iter().any(|line| line == words), "{words}: {said:?}");
        }
    }

    #[test]
    fn without_a_login_it_says_what_to_ask() {
        let said = |tag| Permitted::of(&config(), tag, &Asked::default()).sentences();
        assert!(said(Some("web"))[1].contains("may narrow that (--login NAME)"));
        assert!(said(None)[0].contains("No policy has its tag"));
        let other = Asked { login: Some("other".to_owned()), ..Asked::default() };
        let said = Permitted::of(&config(), None, &other).sentences();
        assert!(said[0].contains("it may send nothing"), "{said:?}");
        let text = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
            [gate]\nrequired = false\n[[listener]]\naddress = \"[::]:2525\"\n\
            [[route]]\nname = \"all\"\ndefault = true\nhosts = [\"mx.example.com:25\"]\n";
        let open = Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let asked = asked(Some("other"), "news@example.net", "a@example.com");
        let said = Permitted::of(&open, None, &asked).sentences();
        assert!(said[1].starts_with("It may not send as news@example.net: "), "{said:?}");
        assert_eq!(said[2], "It may not send to a@example.com: no policy speaks of its login.");
    }
}
