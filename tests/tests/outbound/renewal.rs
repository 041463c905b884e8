//! Routes that go on under another configuration.

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
