//! Which recipients of a message go which way.

use crate::config::Route;
use crate::policy::relaying::Onward;
use crate::smtp::address::Address;

/// The most recipients of one transaction: what every server must take (RFC 5321, section
/// 4.5.3.1.8).
pub const RECIPIENTS_MAX: usize = 100;

/// Recipients that go to one next hop in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Load<'a> {
    /// Where they go.
    pub route: &'a Route,
    /// At least one, at most [`RECIPIENTS_MAX`].
    pub recipients: Vec<Address>,
}

/// Recipients, sorted by where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorted<'a> {
    /// One after another, in the order of their first recipients.
    pub loads: Vec<Load<'a>>,
    /// Those whose mail is kept instead of sent, by the routes it would have gone by.
    pub captured: Vec<Load<'a>>,
    /// Those that no route takes.
    pub stranded: Vec<Address>,
}

/// Sorts `recipients` by what `onward` says of each.
#[must_use]
pub fn sort<'a>(
    recipients: &[Address],
    onward: impl Fn(&Address) -> Option<Onward<'a>>,
) -> Sorted<'a> {
    let mut sorted = Sorted { loads: Vec::new(), captured: Vec::new(), stranded: Vec::new() };
    for recipient in recipients {
        match onward(recipient) {
            Some(Onward::Sent(route)) => add(&mut sorted.loads, route, recipient),
            Some(Onward::Captured(route)) => add(&mut sorted.captured, route, recipient),
            None => sorted.stranded.push(recipient.clone()),
        }
    }
    sorted
}

/// Adds a recipient to a load of this route that has room.
fn add<'a>(loads: &mut Vec<Load<'a>>, route: &'a Route, recipient: &Address) {
    let has_room = |load: &&mut Load<'_>| {
        load.route.name == route.name && load.recipients.len() < RECIPIENTS_MAX
    };
    match loads.iter_mut().find(has_room) {
        Some(load) => load.recipients.push(recipient.clone()),
        None => loads.push(Load { route, recipients: vec![recipient.clone()] }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::RouteTls;

    fn route(name: &str) -> Route {
        Route {
            name: name.into(),
            default: false,
            domains: vec![format!("{name}.example.net")],
            capture: false,
            hosts: Vec::new(),
            tls: RouteTls::Required,
            ca_file: None,
            server_name: None,
            pins: Vec::new(),
            certificate: None,
            login: None,
            connections: 1,
            rate: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn recipients_are_sorted_by_route_in_loads_that_every_server_takes() {
        let routes = [route("a"), route("b")];
        let mut recipients: Vec<Address> = vec!["x@b.example.net".parse().unwrap()];
        recipients.extend((0..150).map(|n| format!("u{n}@a.example.net").parse().unwrap()));
        recipients.push("lost@example.com".parse().unwrap());
        recipients.push("kept@b.example.net".parse().unwrap());
        let sorted = sort(&recipients, |to| {
            let route = routes.iter().find(|route| route.domains[0] == to.domain())?;
            let kept = to.local() == "kept";
            Some(if kept { Onward::Captured(route) } else { Onward::Sent(route) })
        });
        let shape: Vec<_> =
            sorted.loads.iter().map(|l| (l.route.name.as_str(), l.recipients.len())).collect();
        assert_eq!(shape, [("b", 1), ("a", 100), ("a", 50)]);
        assert_eq!(sorted.loads[2].recipients[49].as_str(), "u149@a.example.net");
        let kept: Vec<_> = sorted.captured.iter().map(|load| &load.recipients[..]).collect();
        assert_eq!(kept, [["kept@b.example.net".parse().unwrap()]]);
        assert_eq!(sorted.stranded[0].as_str(), "lost@example.com");
    }
}
