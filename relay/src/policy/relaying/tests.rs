//! The precedence of tag and login as tables.

use super::*;
use crate::policy::samples::{self, ROUTES};

/// A policy: `tag` or `login`, its name, its lines.
type Said<'a> = (&'a str, &'a str, &'a str);

const APP_ON_WEB: Client<'_> = Client { login: Some("app"), tag: Some("web") };

const fn tag(lines: &str) -> Said<'_> {
    ("tag", "web", lines)
}

const fn login(lines: &str) -> Said<'_> {
    ("login", "app", lines)
}

fn path(text: &str) -> ReversePath {
    text.parse().map_or(ReversePath::Null, ReversePath::Mailbox)
}

#[test]
fn nobody_sends_without_a_policy_and_every_policy_must_permit() {
    let one = "senders = [\"@example.net\"]";
    let both = "senders = [\"@example.net\", \"@example.com\"]";
    let rows: &[(&str, &[Said<'_>], &str, bool)] = &[
        ("no policy", &[], "a@example.net", false),
        ("another's policy", &[("login", "web", both)], "a@example.net", false),
        ("the login's alone", &[login(one)], "a@example.net", true),
        ("the tag's alone", &[tag(one)], "a@example.net", true),
        ("both permit", &[tag(both), login(one)], "a@example.net", true),
        ("the login does not", &[tag(both), login(one)], "a@example.com", false),
        ("the tag does not", &[tag(one), login(both)], "a@example.com", false),
        ("a list of nobody", &[login("senders = []")], "a@example.net", false),
    ];
    for (row, policies, sender, permitted) in rows {
        let config = samples::config(policies);
        let answer = check_sender(&config, APP_ON_WEB, &path(sender));
        assert_eq!(answer.is_ok(), *permitted, "{row}");
    }
}

#[test]
fn patterns_are_exact_and_the_null_sender_must_be_listed() {
    for (pattern, sender, permitted) in [
        ("*", "a@example.net", true),
        ("*", "", false),
        ("<>", "", true),
        ("<>", "a@example.net", false),
        ("@example.net", "a@EXAMPLE.net", true),
        ("@EXAMPLE.net", "a@example.net", true),
        ("@example.net", "a@sub.example.net", false),
        ("@example.net", "a@badexample.net", false),
        ("@example.net", "", false),
        ("news@example.net", "news@Example.net", true),
        ("news@example.net", "News@example.net", false),
    ] {
        let config = samples::config(&[login(&format!("senders = [\"{pattern}\"]"))]);
        let answer = check_sender(&config, APP_ON_WEB, &path(sender));
        assert_eq!(answer.is_ok(), permitted, "{pattern:?} {sender}");
    }
}

#[test]
fn a_recipient_must_be_permitted_by_every_policy_that_names_recipients() {
    let com = "recipients = [\"@example.com\"]";
    let both = "recipients = [\"@example.com\", \"a@example.org\"]";
    let rows: &[(&str, &[Said<'_>], &str, bool)] = &[
        ("neither names any", &[tag(""), login("")], "x@anywhere.example", true),
        ("everybody", &[tag("recipients = [\"*\"]")], "x@anywhere.example", true),
        ("nobody", &[login("recipients = []")], "x@example.com", false),
        ("the login's list", &[tag(""), login(com)], "x@EXAMPLE.com", true),
        ("not on it", &[tag(""), login(com)], "x@example.org", false),
        ("no subdomain", &[login(com)], "x@sub.example.com", false),
        ("the tag's list", &[tag(com), login("")], "x@example.org", false),
        ("on both", &[tag(both), login(com)], "x@example.com", true),
        ("on the tag's only", &[tag(both), login(com)], "a@example.org", false),
        ("on the login's only", &[tag(com), login(both)], "a@example.org", false),
        ("one mailbox", &[login(both)], "a@Example.org", true),
        ("another mailbox", &[login(both)], "b@example.org", false),
        ("a percent hack", &[login(com)], "x%relay.invalid@example.com", false),
        ("a bang path", &[login(com)], "relay.invalid!x@example.com", false),
        ("a quoted at", &[login(com)], "\"x@relay.invalid\"@example.com", false),
        ("to everybody", &[login("")], "x%relay.invalid@example.com", true),
        ("named whole", &[login("recipients = [\"a%b@example.com\"]")], "a%b@example.com", true),
    ];
    for (row, policies, recipient, permitted) in rows {
        let config = samples::config(policies);
        let recipient = Recipient::Mailbox(recipient.parse().unwrap());
        let answer = accept_recipient(&config, APP_ON_WEB, recipient).map(drop);
        assert_eq!(answer, if *permitted { Ok(()) } else { Err(Refusal::Recipient) }, "{row}");
    }
}

#[test]
fn the_logins_route_beats_the_tags_beats_the_domains_beats_the_default() {
    let (one, two) = ("route = \"one\"", "route = \"two\"");
    let rows: &[(&str, &[Said<'_>], &str, &str)] = &[
        ("the login's", &[tag(one), login(two)], "a@example.com", "two"),
        ("whatever the order", &[login(two), tag(one)], "a@example.com", "two"),
        ("the tag's", &[tag(two), login("")], "a@example.com", "two"),
        ("the domain's", &[tag("")], "a@EXAMPLE.org", "two"),
        ("the default", &[tag("")], "a@sub.example.org", "rest"),
        ("our own reports", &[], "a@example.com", "one"),
    ];
    for (row, policies, recipient, route) in rows {
        let config = samples::config(policies);
        let found = route_for(&config, APP_ON_WEB, &recipient.parse().unwrap());
        assert_eq!(found.map(|found| found.name.as_str()), Some(*route), "{row}");
    }
}

#[test]
fn what_no_route_takes_is_refused_and_our_postmaster_is_permitted_to_everybody() {
    let (few, _) = ROUTES.split_at(ROUTES.match_indices("[[").nth(1).unwrap().0);
    let nobody = login("recipients = [\"a@example.com\", \"a@example.org\"]");
    let mut config = samples::with_routes(&[nobody], few);
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
    assert_eq!(accept(&config, "ops@example.com"), Err(Refusal::Recipient));
}
