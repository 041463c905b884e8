//! What the policies of a client's tag and of its login say together.
//!
//! Whatever speaks of a client must permit what it does; where both name a number, the lower one
//! counts, beside that of `[limits]` or `[retry]`; for route, capture and
//! priority the login beats the tag.

use std::time::Duration;

use crate::config::{Config, Limits, Policy, Retry, Route, Who};
use crate::mail::envelope::Envelope;
use crate::smtp::parameter::Priority;

/// The share of the sessions that one login may hold: one part in this many.
const SESSION_SHARE: usize = 4;

/// Whom a policy is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The authenticated login; none before that, and for the relay's own reports.
    pub login: Option<&'a str>,
    /// The tag of the allowlist entry that admitted the client.
    pub tag: Option<&'a str>,
}

impl<'a> Client<'a> {
    /// Returns whose mail a message is.
    #[must_use]
    pub fn of(envelope: &'a Envelope) -> Self {
        Self { login: envelope.login.as_deref(), tag: envelope.tag.as_deref() }
    }
}

/// The policies that speak of one client: at most one by login and one by tag, since a
/// configuration names neither twice.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'a> {
    config: &'a Config,
    of_login: Option<&'a Policy>,
    of_tag: Option<&'a Policy>,
}

impl<'a> Permit<'a> {
    /// Finds what `config` says of `client`.
    #[must_use]
    pub fn of(config: &'a Config, client: Client<'_>) -> Self {
        let (mut of_login, mut of_tag) = (None, None);
        for policy in &config.policies {
            match &policy.who {
                Who::Login(login) if client.login == Some(login) => of_login = Some(policy),
                Who::Tag(tag) if client.tag == Some(tag) => of_tag = Some(policy),
                Who::Login(_) | Who::Tag(_) => {}
            }
        }
        Self { config, of_login, of_tag }
    }

    /// Returns the policies: the login's, then the tag's. Without any the client may do nothing.
    pub fn policies(&self) -> impl Iterator<Item = &'a Policy> + use<'a> {
        self.of_login.into_iter().chain(self.of_tag)
    }

    /// Returns the limits that hold for the client: those of the configuration, with the lower
    /// size of a message and number of recipients where a policy names one.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = self.config.limits.clone();
        for policy in self.policies() {
            let (size, recipients) = (policy.message_size_bytes, policy.recipients_per_message);
            limits.message_size_bytes = limits.message_size_bytes.min(size.unwrap_or(u64::MAX));
            limits.recipients = limits.recipients.min(recipients.unwrap_or(usize::MAX));
        }
        limits
    }

    /// Returns when the client's mail is tried again, when its sender hears that it is late, and
    /// when it is given up. A list of waits has no lower one: the login's comes before the tag's.
    #[must_use]
    pub fn retry(&self) -> Retry {
        let of_config = &self.config.retry;
        let lower = |number: Option<Duration>, than: Duration| number.map_or(than, |n| n.min(than));
        let after = self.policies().find_map(|policy| policy.retry_after.as_ref());
        Retry {
            after: after.unwrap_or(&of_config.after).clone(),
            expire: lower(self.lowest(|policy| policy.expire), of_config.expire),
            delay_report: lower(self.lowest(|policy| policy.delay_report), of_config.delay_report),
        }
    }

    /// Returns the name of the route that a policy names, the login's before the tag's; none: the
    /// recipient's domain decides.
    #[must_use]
    pub fn route(&self) -> Option<&'a str> {
        self.policies().find_map(|policy| policy.route.as_deref())
    }

    /// Tells whether the client's mail that would go by `route` is kept instead of sent. A policy says
    /// so, the login's before the tag's, or the route, which then has no next hop.
    #[must_use]
    pub fn captures(&self, route: &Route) -> bool {
        route.capture || self.policies().find_map(|policy| policy.capture).unwrap_or(false)
    }

    /// Returns how urgent a message is for which the client asked for this: a policy's priority, the
    /// login's before the tag's, is the most that it gets, and what it gets if it asks for none.
    /// None: nobody said anything, which is 0 (RFC 6710, section 3).
    #[must_use]
    pub fn priority(&self, asked: Option<Priority>) -> Option<Priority> {
        let most = self.policies().find_map(|policy| policy.priority);
        most.map(|most| asked.map_or(most, |asked| asked.min(most))).or(asked)
    }

    /// Returns how many sessions all clients of the tag may have at a time; none: no limit of its
    /// own.
    #[must_use]
    pub fn sessions_of_tag(&self) -> Option<usize> {
        self.of_tag.and_then(|policy| policy.sessions)
    }

    /// Returns how many sessions the login may have at a time: what its policy says, and never more
    /// than a quarter of all, so that one application out of step leaves room for the others. At
    /// least one.
    #[must_use]
    pub fn sessions_of_login(&self) -> usize {
        let share = (self.config.limits.sessions / SESSION_SHARE).max(1);
        self.of_login.and_then(|policy| policy.sessions).map_or(share, |most| share.min(most))
    }

    fn lowest<T: Ord>(&self, number: impl Fn(&Policy) -> Option<T>) -> Option<T> {
        self.policies().filter_map(number).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::samples;

    const APP_ON_WEB: Client<'_> = Client { login: Some("app"), tag: Some("web") };
    const HOUR: Duration = Duration::from_secs(3600);

    /// A configuration in which the tag's and the login's policy have these lines.
    fn config(tag: &str, login: &str) -> Config {
        let mut config = samples::config(&[("tag", "web", tag), ("login", "app", login)]);
        config.limits.sessions = 100;
        config
    }

    #[test]
    fn the_lower_number_of_tag_login_and_configuration_counts() {
        let shown = |tag: &str, login: &str| {
            let config = config(tag, login);
            let permit = Permit::of(&config, APP_ON_WEB);
            let limits = permit.limits();
            let expire = permit.retry().expire.as_secs() / HOUR.as_secs();
            (limits.message_size_bytes >> 20, limits.recipients, expire)
        };
        let low = "message-size = \"1MiB\"\nrecipients-per-message = 5\nexpire = \"2h\"";
        let high = "message-size = \"1GiB\"\nrecipients-per-message = 3000\nexpire = \"300d\"";
        let mixed = "message-size = \"1MiB\"\nexpire = \"9h\"";
        let rows = [
            ("neither: the configuration's", "", "", (50, 1000, 120)),
            ("the tag alone", low, "", (1, 5, 2)),
            ("the login alone", "", low, (1, 5, 2)),
            ("the tag's is lower", low, high, (1, 5, 2)),
            ("the login's is lower", high, low, (1, 5, 2)),
            ("each number for itself", mixed, "recipients-per-message = 7", (1, 7, 9)),
            ("never more than the configuration's", high, high, (50, 1000, 120)),
        ];
        for (row, tag, login, expected) in rows {
            assert_eq!(shown(tag, login), expected, "{row}");
        }
    }

    #[test]
    fn retries_are_those_of_the_login_then_of_the_tag_and_the_earlier_report_of_delay() {
        let shown = |tag: &str, login: &str| {
            let config = config(tag, login);
            let retry = Permit::of(&config, APP_ON_WEB).retry();
            (retry.after[0].as_secs(), retry.delay_report.as_secs() / HOUR.as_secs())
        };
        let quick = "retry-after = [\"5s\", \"9s\"]\ndelay-report = \"1h\"";
        let slow = "retry-after = [\"7s\"]\ndelay-report = \"9h\"";
        let rows = [
            ("neither: the configuration's", "", "", (60, 4)),
            ("the tag's", quick, "", (5, 1)),
            ("the login's", "", quick, (5, 1)),
            ("the login's waits, the earlier report", quick, slow, (7, 1)),
            ("never later than the configuration's", "", slow, (7, 4)),
        ];
        for (row, tag, login, expected) in rows {
            assert_eq!(shown(tag, login), expected, "{row}");
        }
    }

    #[test]
    fn a_client_gets_the_priority_that_it_asks_for_up_to_its_policy_s_and_else_its_policy_s() {
        for (row, tag, login, asked, expected) in [
            ("nobody said anything", "", "", None, None),
            ("as it asks", "", "", Some(9), Some(9)),
            ("the tag's", "priority = 3", "", None, Some(3)),
            ("less is granted", "priority = 3", "", Some(-9), Some(-9)),
            ("more is not", "priority = 3", "", Some(4), Some(3)),
            ("the login's before the tag's", "priority = -3", "priority = 5", None, Some(5)),
            ("and its bound too", "priority = 5", "priority = -3", Some(2), Some(-3)),
        ] {
            let config = config(tag, login);
            let asked = asked.map(|asked| Priority::try_from(asked).unwrap());
            let given = Permit::of(&config, APP_ON_WEB).priority(asked).map(i8::from);
            assert_eq!(given, expected, "{row}");
        }
    }

    #[test]
    fn mail_is_captured_as_the_login_then_the_tag_then_the_route_says() {
        let (yes, no) = ("capture = true", "capture = false");
        for (row, tag, login, of_route, captured) in [
            ("nobody says so", "", "", false, false),
            ("the route", "", "", true, true),
            ("the route cannot send", no, no, true, true),
            ("the tag", yes, "", false, true),
            ("the login", "", yes, false, true),
            ("the login before the tag", yes, no, false, false),
            ("and the other way", no, yes, false, true),
        ] {
            let config = config(tag, login);
            let route = Route { capture: of_route, ..config.routes[0].clone() };
            assert_eq!(Permit::of(&config, APP_ON_WEB).captures(&route), captured, "{row}");
        }
    }

    #[test]
    fn only_what_names_the_client_speaks_of_it() {
        let config = config("", "");
        let speaking = |login, tag| Permit::of(&config, Client { login, tag }).policies().count();
        for (row, login, tag, count) in [
            ("both", Some("app"), Some("web"), 2),
            ("the login's", Some("app"), None, 1),
            ("the tag's", None, Some("web"), 1),
            ("a login is no tag", Some("web"), Some("app"), 0),
            ("names are exact", Some("APP"), Some("web1"), 0),
            ("our own reports", None, None, 0),
        ] {
            assert_eq!(speaking(login, tag), count, "{row}");
        }
    }

    #[test]
    fn a_login_has_its_own_number_of_sessions_and_at_most_a_quarter_of_all() {
        for (row, tag, login, expected) in [
            ("a quarter", "", "", (None, 25)),
            ("its own", "", "sessions = 7", (None, 7)),
            ("never more than a quarter", "", "sessions = 99", (None, 25)),
            ("the tag's counts others", "sessions = 3", "", (Some(3), 25)),
        ] {
            let config = config(tag, login);
            let permit = Permit::of(&config, APP_ON_WEB);
            assert_eq!((permit.sessions_of_tag(), permit.sessions_of_login()), expected, "{row}");
        }
        let mut few = config("", "");
        few.limits.sessions = 3;
        assert_eq!(Permit::of(&few, APP_ON_WEB).sessions_of_login(), 1);
    }
}
