//! Places are counted by everything that sessions have in common, and given back.

use proptest::prelude::*;

use super::*;

const CAPS: Caps = Caps { in_all: 3, from_source: 2, from_network: 100 };

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn enter(sessions: &Sessions, source: &str) -> Result<Place, NoSession> {
    sessions.enter(source.parse().unwrap(), Entrance::Guarded, None)
}

fn tagged(sessions: &Sessions, last: u8, most: Option<usize>) -> Result<Place, NoSession> {
    let tagged = Tagged { tag: "web".to_owned(), most };
    sessions.enter(address(last), Entrance::Guarded, Some(tagged))
}

#[test]
fn places_are_counted_by_source_and_in_all_and_given_back() {
    let sessions = Sessions::new(CAPS);
    let one = enter(&sessions, "192.0.2.1").unwrap();
    let _two = enter(&sessions, "192.0.2.1").unwrap();
    assert_eq!(enter(&sessions, "192.0.2.1").unwrap_err(), NoSession::FromSource);
    let _three = enter(&sessions, "192.0.2.2").unwrap();
    assert_eq!(enter(&sessions, "192.0.2.3").unwrap_err(), NoSession::InAll);
    assert!(sessions.is_full());
    drop(one);
    assert_eq!((sessions.count(), sessions.is_full()), (2, false));
    let again = enter(&sessions, "192.0.2.1").unwrap();
    sessions.leave();
    assert_eq!(enter(&sessions, "192.0.2.3").unwrap_err(), NoSession::Leaving);
    assert_eq!(*again.signal().borrow(), Signal::Leave);
}

#[test]
fn a_network_has_its_cap_and_its_neighbour_another() {
    let caps = Caps { in_all: 100, from_source: 100, from_network: 2 };
    for (row, within, beside) in [
        ("IPv4", ["192.0.2.0", "192.0.2.255", "192.0.2.7"], "192.0.3.0"),
        ("IPv6", ["2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::7"], "2001:db8:0:1::"),
    ] {
        let sessions = Sessions::new(caps);
        let [first, last, third] = within;
        let one = enter(&sessions, first).unwrap();
        let _two = enter(&sessions, last).unwrap();
        assert_eq!(enter(&sessions, third).unwrap_err(), NoSession::FromNetwork, "{row}");
        let _beside = enter(&sessions, beside).unwrap();
        drop(one);
        assert!(enter(&sessions, third).is_ok(), "{row}");
    }
}

#[test]
fn a_tag_has_the_cap_of_its_policy_wherever_its_clients_are() {
    let sessions = Sessions::new(Caps { in_all: 100, ..CAPS });
    let one = tagged(&sessions, 1, Some(2)).unwrap();
    let _two = tagged(&sessions, 2, Some(2)).unwrap();
    assert_eq!(tagged(&sessions, 3, Some(2)).unwrap_err(), NoSession::OfTag);
    let _untagged = enter(&sessions, "192.0.2.3").unwrap();
    drop(one);
    let _again = tagged(&sessions, 3, Some(2)).unwrap();
    let _unlimited = tagged(&sessions, 4, None).unwrap();
    assert_eq!(tagged(&sessions, 5, Some(3)).unwrap_err(), NoSession::OfTag, "all are counted");
}

#[test]
fn a_login_has_its_cap_and_who_is_over_it_keeps_nothing_of_it() {
    let sessions = Sessions::new(Caps { in_all: 100, from_source: 100, ..CAPS });
    let mut places: Vec<Place> = (0..3).map(|_| enter(&sessions, "192.0.2.1").unwrap()).collect();
    assert_eq!(places[0].log_in("app", 2), Ok(()));
    assert_eq!(places[1].log_in("app", 2), Ok(()));
    assert_eq!(places[2].log_in("app", 2), Err(Crowded));
    assert_eq!(places[2].login(), None);
    assert_eq!(places[2].log_in("web", 2), Ok(()), "another login");
    assert_eq!(places[0].login(), Some("app"));
    drop(places.remove(0));
    let mut next = enter(&sessions, "192.0.2.1").unwrap();
    assert_eq!(next.log_in("app", 2), Ok(()));
}

#[test]
fn new_caps_hold_for_who_comes_and_not_for_who_is_in() {
    let sessions = Sessions::new(CAPS);
    let _places: Vec<Place> =
        (1..=3).map(|last| enter(&sessions, &address(last).to_string()).unwrap()).collect();
    sessions.limit(Caps { in_all: 2, ..CAPS });
    assert_eq!(sessions.count(), 3);
    assert_eq!(enter(&sessions, "192.0.2.9").unwrap_err(), NoSession::InAll);
    sessions.limit(Caps { in_all: 4, ..CAPS });
    assert!(enter(&sessions, "192.0.2.9").is_ok());
}

#[test]
fn only_sources_that_are_not_admitted_are_cut() {
    let sessions = Sessions::new(CAPS);
    let (one, two) =
        (enter(&sessions, "192.0.2.1").unwrap(), enter(&sessions, "192.0.2.2").unwrap());
    assert_eq!(sessions.cut(|source| source == address(1)), 1);
    assert_eq!(*one.signal().borrow(), Signal::Serve);
    assert_eq!(*two.signal().borrow(), Signal::Cut);
    sessions.leave();
    assert_eq!(*two.signal().borrow(), Signal::Cut, "leaving does not undo a cut");
}

#[test]
fn a_session_behind_a_proxy_counts_for_its_client_and_is_cut_with_the_proxy() {
    let sessions = Sessions::new(Caps { in_all: 9, from_source: 1, from_network: 9 });
    let (proxy, client) = ("192.0.2.8", address(1));
    let mut first = enter(&sessions, proxy).unwrap();
    assert_eq!(enter(&sessions, proxy).unwrap_err(), NoSession::FromSource);
    first.move_to(client).unwrap();
    assert_eq!(first.source(), client);
    let mut second = enter(&sessions, proxy).unwrap();
    assert_eq!(second.move_to(client), Err(NoSession::FromSource));
    assert_eq!(second.source(), address(8));
    assert_eq!(sessions.cut(|peer| peer == client), 2, "the gate knows the proxy only");
    drop(first);
    second.move_to(client).unwrap();
    drop(second);
    assert!(sessions.shared.table().counts.is_empty());
    let direct = enter(&sessions, "192.0.2.1").unwrap();
    assert_eq!(*direct.signal().borrow(), Signal::Serve);
}

#[test]
fn a_session_may_move_within_a_network_that_is_full() {
    let sessions = Sessions::new(Caps { in_all: 9, from_source: 1, from_network: 1 });
    let mut place = enter(&sessions, "192.0.2.8").unwrap();
    assert_eq!(place.move_to(address(1)), Ok(()));
    assert_eq!(place.source(), address(1));
}

#[test]
fn who_came_past_the_gate_is_never_cut() {
    let sessions = Sessions::new(CAPS);
    let guarded = enter(&sessions, "192.0.2.1").unwrap();
    let open = sessions.enter(address(1), Entrance::Open, None).unwrap();
    assert_eq!(sessions.cut(|_| false), 1);
    assert_eq!(*guarded.signal().borrow(), Signal::Cut);
    assert_eq!(*open.signal().borrow(), Signal::Serve);
}

/// What happens to a registry.
#[derive(Clone, Debug)]
enum Step {
    Enter(u8, Option<u8>),
    LogIn(usize, u8),
    Move(usize, u8),
    Leave(usize),
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<u8>(), proptest::option::of(0..3_u8)).prop_map(|(at, tag)| Step::Enter(at, tag)),
        2 => (any::<usize>(), 0..3_u8).prop_map(|(place, login)| Step::LogIn(place, login)),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(place, to)| Step::Move(place, to)),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => (0..20_usize).prop_map(Step::Limit),
    ]
}

proptest! {
    /// The registry holds what the live sessions are, and nothing of those who are gone.
    #[test]
    fn nothing_is_kept_of_who_is_gone(steps in proptest::collection::vec(step(), 0..80)) {
        let sessions = Sessions::new(Caps { in_all: 12, from_source: 3, from_network: 6 });
        let mut places: Vec<Place> = Vec::new();
        for step in steps {
            match step {
                Step::Enter(at, tag) => {
                    let source = IpAddr::from([192, 0, at % 3, at % 7]);
                    let tagged = tag.map(|tag| Tagged { tag: tag.to_string(), most: Some(4) });
                    places.extend(sessions.enter(source, Entrance::Guarded, tagged));
                }
                Step::LogIn(place, login) if !places.is_empty() => {
                    let place = place % places.len();
                    if places[place].login().is_none() {
                        let _ = places[place].log_in(&login.to_string(), 3);
                    }
                }
                Step::Leave(place) if !places.is_empty() => {
                    drop(places.swap_remove(place % places.len()));
                }
                Step::Move(place, to) if !places.is_empty() => {
                    let place = place % places.len();
                    let _ = places[place].move_to(IpAddr::from([192, 0, to % 3, to % 7]));
                }
                Step::LogIn(..) | Step::Move(..) | Step::Leave(_) => {}
                Step::Limit(in_all) => {
                    sessions.limit(Caps { in_all, from_source: 3, from_network: 6 });
                }
            }
            let mut expected: HashMap<Group, usize> = HashMap::new();
            for group in places.iter().flat_map(|place| &place.groups) {
                *expected.entry(group.clone()).or_insert(0) += 1;
            }
            prop_assert_eq!(&sessions.shared.table().counts, &expected);
            prop_assert_eq!(sessions.count(), places.len());
            prop_assert_eq!(sessions.shared.table().live.len(), places.len());
        }
        drop(places);
        prop_assert!(sessions.shared.table().counts.is_empty());
        prop_assert!(sessions.shared.table().live.is_empty());
    }
}
