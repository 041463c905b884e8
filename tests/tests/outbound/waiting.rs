//! Mail that waits for a route: what is in its way, and how much there is of it.

use relay::net::routes::{RouteState, Standing};
use relay::spool::{Filter, Stretch};

use super::*;

fn state(relay: &Relay) -> RouteState {
    relay.routes.list_with(&relay.spool).remove(0)
}

/// Waits until the route stands so.
async fn until(relay: &Relay, standing: Standing) {
    let looking = async {
        while state(relay).standing != standing {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it becomes so in time");
}

#[tokio::test]
async fn a_file_of_ours_that_cannot_be_read_stands_in_the_way_of_its_route_until_it_can() {
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&peer], patient);
    let password = fs::read(relay.password_file()).unwrap();
    fs::remove_file(relay.password_file()).unwrap();
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    let RouteState { standing, reason, waiting, .. } = state(&relay);
    assert_eq!((standing, waiting), (Standing::Down, Some(1)));
    assert!(reason.as_ref().is_some_and(|why| why.contains("password-file")), "{reason:?}");
    for (route, found) in [("smarthost", 1), ("another", 0)] {
        let filter = Filter { route: Some(route.to_owned()), ..Filter::default() };
        let page = relay.spool.list(filter, Stretch::default(), 9).await.unwrap();
        assert_eq!(page.messages.len(), found, "{route}");
    }
    fs::write(relay.password_file(), password).unwrap();
    relay.spool.retry(id).unwrap();
    assert_eq!(peer.message().await, BODY);
    until(&relay, Standing::Up).await;
    let (_, left) = relay.stop().await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_waits_for_a_host_that_was_down_leaves_when_the_operator_says_so() {
    let instead = vec![("BANNER", "554 5.3.2 no mail here")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], patient);
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    assert_eq!(relay.routes.resume("smarthost", &relay.spool, 0).await, Ok(Some(1)));
    assert_eq!(peer.message().await, BODY);
    let (events, left) = relay.stop().await;
    assert_eq!(
        (count(&events, "HostDown"), count(&events, "HostUp"), left),
        (1, 1, 0),
        "{events:?}"
    );
}
