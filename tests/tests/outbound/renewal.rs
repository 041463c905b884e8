//! Routes that go on under another configuration.

use std::collections::BTreeSet;

use jiff::Timestamp;
use relay::event::alert::Stage;
use relay::net::routes::{RouteState, Standing};

use super::*;

#[tokio::test]
async fn a_reload_forgets_nothing_of_a_route_that_stays_as_it_is() {
    let instead = vec![("BANNER", "554 5.3.2 no mail here")];
    let first = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let instead = vec![("AUTH", "535 5.7.8 wrong")];
    let second = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let peers = [&first, &second];
    let relay = Relay::start(&peers, |_| {});
    // The first host is down, and the second refuses the login.
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    let known = |state: RouteState| {
        let host = &state.hosts[0];
        (state.standing, state.until.is_some(), host.health.clone(), host.failed)
    };
    let expected = (Standing::LoginRefused, true, "down".to_owned(), 1);
    assert_eq!(known(relay.routes.list().remove(0)), expected);
    let same = configuration(&relay.folder, &peers, |_| {});
    assert_eq!(known(relay.routes.renewed(&same).list().remove(0)), expected);
    let other = configuration(&relay.folder, &peers, |config| config.routes[0].connections = 7);
    let changed = known(relay.routes.renewed(&other).list().remove(0));
    assert_eq!(changed, (Standing::Up, false, "up".to_owned(), 0));
    relay.stop().await;
}

#[tokio::test]
async fn what_was_wrong_with_a_route_is_over_once_the_configuration_has_it_otherwise() {
    let instead = vec![("BANNER", "554 5.3.2 no mail here")];
    let first = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let instead = vec![("AUTH", "535 5.7.8 wrong")];
    let second = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let peers = [&first, &second];
    let relay = Relay::start(&peers, |_| {});
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    relay.routes.suspend("smarthost", None, 7).await.unwrap();
    let open = |events: &[Event]| {
        let mut open = BTreeSet::new();
        for alert in events.iter().flat_map(|event| event.alerts(Timestamp::UNIX_EPOCH)) {
            match alert.stage {
                Stage::Opened => open.insert(alert.key()),
                Stage::Closed => open.remove(&alert.key()),
                Stage::Grew(_) | Stage::Noted => continue,
            };
        }
        open
    };
    let mut events = relay.journal.take();
    let down = format!("host-down/smarthost/localhost:{}", first.address.port());
    let held = "route-held/smarthost".to_owned();
    let all = BTreeSet::from([down, held.clone(), "route-suspended/smarthost".to_owned()]);
    assert_eq!(open(&events), all);
    let same = relay.routes.renewed(&configuration(&relay.folder, &peers, |_| {}));
    events.extend(relay.journal.take());
    assert_eq!(open(&events), all, "it is as it was");
    let other = configuration(&relay.folder, &peers, |config| config.routes[0].connections = 7);
    let other = same.renewed(&other);
    events.extend(relay.journal.take());
    assert_eq!(open(&events), BTreeSet::from([held.clone()]), "the operator's word stays");
    let gone = configuration(&relay.folder, &peers, |config| config.routes[0].name = "b".into());
    let gone = other.renewed(&gone);
    events.extend(relay.journal.take());
    assert_eq!(open(&events), BTreeSet::new());
    let _back = gone.renewed(&configuration(&relay.folder, &peers, |_| {}));
    events.extend(relay.journal.take());
    assert_eq!(open(&events), BTreeSet::from([held]), "it is suspended as before");
    relay.stop().await;
}

#[tokio::test]
async fn a_route_is_down_with_the_last_of_its_hosts_and_up_with_the_first() {
    let refusing = || {
        let instead = vec![("BANNER", "554 5.3.2 no mail here")];
        Peer::start(Manners { instead, ..Manners::default() })
    };
    let (first, second) = (refusing().await.unwrap(), refusing().await.unwrap());
    let relay = Relay::start(&[&first, &second], |_| {});
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    let names = |events: Vec<Event>| -> Vec<&str> {
        let alerts = events.iter().flat_map(|event| event.alerts(Timestamp::UNIX_EPOCH));
        let about = alerts.filter(|alert| alert.class == "route-down");
        about.map(|alert| alert.stage.name()).collect()
    };
    assert_eq!(names(relay.journal.take()), ["opened"], "with the second, not with each");
    relay.routes.resume("smarthost", &relay.spool, 0).await.unwrap();
    relay.submit("s@example.net", &["a@example.com"]).await;
    let events = heard(&relay, "RouteUp", 1).await;
    assert_eq!(names(events), ["closed"], "one of them does its work");
    relay.stop().await;
}
