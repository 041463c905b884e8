//! Where mail goes next: a route for it, at work, with the keys that sign for it.

use jiff::Timestamp;

use super::certificates::own_certificate;
use super::files::is_shut_for_us;
use super::{Case, Cause, Finding, Looked};
use crate::config::{Config, Route};
use crate::event::wording::word;
use crate::net::register::Register;
use crate::net::signing::Keys;

/// How words of the relay on a route begin, and on a key that signs mail.
pub(super) const ROUTE: &str = "route ";
pub(super) const DKIM: &str = "the DKIM key of ";

/// The routes that are looked at, or what there is instead.
pub(super) enum Chosen<'a> {
    /// All, or the one that takes a domain or has a name.
    These(Vec<&'a Route>),
    /// Nothing takes this domain, and it is no route's name.
    Nobody(&'a str),
}

/// Chooses the routes that the walk is about: by name, by recipients' domain, or all.
pub(super) fn chosen<'a>(config: &'a Config, to: Option<&'a str>) -> Chosen<'a> {
    let Some(to) = to else { return Chosen::These(config.routes.iter().collect()) };
    let routes = || config.routes.iter();
    let domain = to.rsplit('@').next().unwrap_or(to).to_ascii_lowercase();
    let found = routes()
        .find(|route| route.name == to)
        .or_else(|| routes().find(|route| route.domains.contains(&domain)))
        .or_else(|| routes().find(|route| route.default));
    found.map_or(Chosen::Nobody(to), |route| Chosen::These(vec![route]))
}

/// What was seen of the routes.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Those that an operator suspended, each with the remark.
    suspended: Vec<(String, Option<String>)>,
    /// The names of those that are looked at.
    names: Vec<String>,
    /// Whether their logins are tried, too.
    is_followed: bool,
    /// What the relay says is in the way of mail.
    troubled: Vec<String>,
    /// Keys that cannot be used, in the relay's words.
    unsigned: Vec<String>,
}

pub(super) fn look(case: &Case) -> Looked {
    let config = &case.config;
    let routes = match chosen(config, case.asked.to.as_deref()) {
        Chosen::Nobody(to) => return vec![no_route(Some(to))].into(),
        Chosen::These(routes) if routes.is_empty() => return vec![no_route(None)].into(),
        Chosen::These(routes) => routes,
    };
    let mut left_out = Vec::new();
    let suspended = match Register::open(&config.spool.path) {
        Ok(register) => routes
            .iter()
            .filter_map(|route| register.suspension(&route.name))
            .map(|suspension| (suspension.route, suspension.note))
            .collect(),
        Err(error) => {
            left_out.push(format!(
                "routes: whether one is suspended: {}: {error}",
                config.spool.path.display()
            ));
            Vec::new()
        }
    };
    let seen = Seen {
        suspended,
        names: routes.iter().map(|route| route.name.clone()).collect(),
        is_followed: case.asked.to.is_some(),
        troubled: case.relay.says().map(|status| status.troubled.clone()).unwrap_or_default(),
        unsigned: unsigned(config, &mut left_out),
    };
    let mut findings = judge(&seen);
    let now = Timestamp::now();
    for (route, pair) in
        routes.iter().filter_map(|route| Some((*route, route.certificate.as_ref()?)))
    {
        let told = own_certificate(&route.name, &pair.certificate, &pair.key, now);
        findings.extend(told.findings);
        left_out.extend(told.left_out);
    }
    Looked { findings, left_out }
}

/// Says which keys that sign mail cannot be used; of one that whoever runs this may not read that cannot be told.
fn unsigned(config: &Config, left_out: &mut Vec<String>) -> Vec<String> {
    let mut config = config.clone();
    config.dkim.retain(|dkim| {
        let is_shut = is_shut_for_us(&dkim.key_file);
        if is_shut {
            left_out.push(format!(
                "routes: the DKIM key of {}: {} may not be read by this user",
                dkim.domain,
                dkim.key_file.display()
            ));
        }
        !is_shut
    });
    Keys::load(&config).unsigned().collect()
}

fn no_route(to: Option<&str>) -> Finding {
    let says = match to {
        Some(to) => format!(
            "no route takes mail to {to}, none has that name, and none is the default: clients get 550 5.7.1"
        ),
        None => "the configuration has no [[route]]: clients get 550 5.7.1 for every recipient"
            .to_owned(),
    };
    Finding::new(
        Cause::NoRoute,
        says,
        "[[route]] with hosts and default = true, or with that domain; then sallyport reload",
    )
}

/// Tells whether words of the relay are about a route, whose name they begin with.
fn is_of_route(words: &str, route: &str) -> bool {
    let rest = words.strip_prefix(ROUTE).and_then(|rest| rest.strip_prefix(route));
    rest.is_some_and(|rest| rest.starts_with(": "))
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(seen.suspended.iter().map(|(route, note)| {
        let note = note.as_ref().map(|note| format!(": \"{note}\"")).unwrap_or_default();
        Finding::new(
            Cause::RouteHeld,
            format!("route {route} is suspended by an operator{note}: its mail waits"),
            format!("sallyport route resume {}", word(route)),
        )
    }));
    let is_suspended =
        |words: &str| seen.suspended.iter().any(|(route, _)| is_of_route(words, route));
    // What it says of anything else is told elsewhere.
    let is_meant = |words: &String| {
        !seen.is_followed || seen.names.iter().any(|name| is_of_route(words, name))
    };
    let of_routes =
        seen.troubled.iter().filter(|words| words.starts_with(ROUTE) && is_meant(words));
    found.extend(of_routes.filter(|words| !is_suspended(words)).map(|words| {
        let name = seen.names.iter().find(|name| is_of_route(words, name));
        let remedy = match name.filter(|_| !seen.is_followed) {
            Some(name) => {
                format!("sallyport doctor --to {}  # follows it, its login included", word(name))
            }
            None => "sallyport route list  # shows it, host by host".to_owned(),
        };
        Finding::new(Cause::RouteTroubled, format!("the relay says: {words}"), remedy)
    }));
    found.extend(seen.unsigned.iter().map(|problem| {
        Finding::new(
            Cause::DkimKey,
            problem.as_str(),
            "mend the file, or name another key-file in [[dkim]]",
        )
    }));
    // What it read is not what is there now.
    let of_keys = seen.troubled.iter().filter(|words| words.starts_with(DKIM));
    found.extend(of_keys.filter(|words| !seen.unsigned.contains(words)).map(|words| {
        Finding::new(
            Cause::DkimKey,
            format!("the relay says: {words}"),
            "sallyport reload, so that it reads the file again, with its own rights",
        )
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(routes: &str) -> Config {
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[gate]\ninterfaces = ['a']\n\
             [[listener]]\naddress = '[::]:2525'\n{routes}"
        );
        Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn named<'a>(config: &'a Config, to: &'a str) -> Option<&'a str> {
        match chosen(config, Some(to)) {
            Chosen::These(routes) => routes.first().map(|route| route.name.as_str()),
            Chosen::Nobody(_) => None,
        }
    }

    #[test]
    fn a_route_is_chosen_by_its_name_then_by_the_domain_then_by_default() {
        let partner = "[[route]]\nname = 'partner'\ndomains = ['example.com']\nhosts = ['a.example.com:25']\n";
        let rest = "[[route]]\nname = 'rest'\ndefault = true\nhosts = ['b.example.net:587']\n";
        let both = config(&format!("{partner}{rest}"));
        assert_eq!(named(&both, "rest"), Some("rest"));
        assert_eq!(named(&both, "Example.com"), Some("partner"));
        assert_eq!(named(&both, "somebody@example.com"), Some("partner"));
        assert_eq!(named(&both, "example.org"), Some("rest"));
        assert_eq!(named(&config(partner), "example.org"), None);
    }

    #[test]
    fn what_stops_a_route_has_its_cause_once() {
        let key = "the DKIM key of example.net, /k: no; the mail that it signs waits";
        let seen = Seen {
            suspended: vec![("a".into(), Some("they move".into()))],
            names: ["a", "b", "a2"].map(str::to_owned).into(),
            is_followed: false,
            troubled: [
                "route a: it is suspended, its mail waits",
                "route b: it is down: no host can be used",
                "route a2: a host is down",
                "the old certificates stay in use: /c: no",
                key,
            ]
            .map(str::to_owned)
            .into(),
            unsigned: vec![key.into()],
        };
        let before = Seen { unsigned: Vec::new(), ..seen.clone() };
        assert_eq!(judge(&before).last().unwrap().cause, Cause::DkimKey, "as the relay read it");
        let found: Vec<_> = judge(&seen).iter().map(|found| found.cause.id()).collect();
        assert_eq!(found, ["route-held", "route-troubled", "route-troubled", "dkim-key"]);
        let to = |seen: &Seen| judge(seen)[1].remedy.clone();
        assert_eq!(to(&seen), "sallyport doctor --to b  # follows it, its login included");
        let followed = Seen { is_followed: true, ..seen };
        assert_eq!(to(&followed), "sallyport route list  # shows it, host by host");
        let names = vec!["b".to_owned()];
        let one = Seen { names, suspended: Vec::new(), unsigned: Vec::new(), ..followed };
        let says: Vec<_> = judge(&one).into_iter().map(|found| found.says).collect();
        let own = "the relay says: route b: it is down: no host can be used";
        assert_eq!(says, [own, &format!("the relay says: {key}")], "nothing of another route");
        assert_eq!(judge(&Seen::default()), Vec::new());
    }
}
