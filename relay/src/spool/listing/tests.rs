//! Filters as tables, pages as a property, and a million messages.

use proptest::prelude::*;

use super::*;
use crate::spool::samples::envelope;

fn open(folder: &tempfile::TempDir) -> Spool {
    let path = folder.path().join("spool");
    let config = crate::config::Spool { path, reserve_bytes: 0, messages: 10_000_000 };
    Spool::open(&config, |event| panic!("{event:?}")).unwrap()
}

async fn put(spool: &Spool, envelope: Envelope) -> MessageId {
    spool.draft(envelope).unwrap().commit().await.unwrap()
}

#[test]
fn a_filter_admits_what_all_its_fields_admit() {
    let mut message = envelope("Ann");
    message.tag = Some("billing".to_owned());
    message.recipients.push("c@Other.example".parse().unwrap());
    let nothing = Filter::default;
    let some = |text: &str| Some(text.to_owned());
    let rows: [(&str, Filter, bool); 14] = [
        ("nothing narrows nothing", nothing(), true),
        ("a part of the sender", Filter { sender: some("ann@ex"), ..nothing() }, true),
        ("another sender", Filter { sender: some("bob"), ..nothing() }, false),
        ("a part of a recipient", Filter { recipient: some("C@OTHER"), ..nothing() }, true),
        ("no recipient", Filter { recipient: some("d@"), ..nothing() }, false),
        ("a domain", Filter { domain: some("OTHER.example"), ..nothing() }, true),
        ("a part of a domain", Filter { domain: some("example"), ..nothing() }, false),
        (
            "a recipient and a domain of two recipients",
            Filter { recipient: some("b@"), domain: some("other.example"), ..nothing() },
            false,
        ),
        ("the login", Filter { login: some("app"), ..nothing() }, true),
        ("a login is what it is", Filter { login: some("App"), ..nothing() }, false),
        ("a part of the login", Filter { login: some("ap"), ..nothing() }, false),
        ("the tag", Filter { tag: some("billing"), ..nothing() }, true),
        ("another tag", Filter { tag: some("web"), ..nothing() }, false),
        (
            "the right login, the wrong tag",
            Filter { login: some("app"), tag: some("web"), ..nothing() },
            false,
        ),
    ];
    for (row, filter, admitted) in rows {
        assert_eq!(filter.admits(&message), admitted, "{row}");
    }
    message.tag = None;
    assert!(!Filter { tag: some("billing"), ..nothing() }.admits(&message), "no tag");
}

#[tokio::test]
async fn a_route_is_that_of_who_is_still_open_and_its_messages_are_counted_where_they_go_next() {
    use crate::mail::outcome::{Fate, Outcome};
    use crate::spool::label::Way;
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder);
    let mut message = envelope("a");
    message.recipients = ["x@one.example", "y@two.example"].map(|to| to.parse().unwrap()).into();
    let [one, two] = ["one.example", "two.example"].map(Way::of);
    let draft = spool.draft(message).unwrap().toward(one);
    let id = draft.commit().await.unwrap();
    let by = |route: &str| Filter { route: Some(route.to_owned()), ..Filter::default() };
    let found =
        async |route: &str| spool.find(by(route), Stretch::default(), 9).await.unwrap().ids.len();
    assert_eq!(found("one.example").await, 0, "nobody said which routes there are");
    spool.route_by(|_, to| Some(to.domain().to_owned()));
    assert_eq!((found("one.example").await, found("two.example").await), (1, 1));
    assert_eq!((spool.waiting(one), spool.waiting(two)), (1, 0));
    let claim = spool.claim().await;
    assert_eq!(spool.waiting(one), 1, "it is in delivery");
    let outcome = |place: usize, fate| Outcome {
        recipient: claim.pending()[place].clone(),
        fate,
        next_hop: String::new(),
        reply: String::new(),
    };
    let hour = Duration::from_secs(3600);
    let outcomes = vec![outcome(0, Fate::Delivered), outcome(1, Fate::Deferred(hour))];
    claim.steer(two);
    assert_eq!((spool.waiting(one), spool.waiting(two)), (0, 1));
    spool.settle(claim, outcomes).await.unwrap();
    assert_eq!((found("one.example").await, found("two.example").await), (0, 1));
    spool.hold(id).await.unwrap();
    assert_eq!((found("two.example").await, spool.waiting(two)), (1, 0), "held it does not wait");
    spool.release(id).await.unwrap();
    assert_eq!(spool.waiting(two), 1);
    spool.remove(id).await.unwrap();
    assert_eq!((found("two.example").await, spool.shared.index().waiting.len()), (0, 0));
}

#[tokio::test]
async fn age_login_and_place_are_found_and_a_walk_ends_while_messages_come() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder);
    let mut web = envelope("b");
    web.login = Some("web".to_owned());
    let first = put(&spool, envelope("a")).await;
    let middle = Timestamp::now();
    let (second, third) = (put(&spool, web).await, put(&spool, envelope("c")).await);
    spool.hold(third).await.unwrap();
    let found = async |filter: Filter| spool.find(filter, Stretch::default(), 9).await.unwrap().ids;
    let nothing = Filter::default;
    let older = Filter { accepted_before: Some(middle), ..nothing() };
    assert_eq!(found(older).await, [first]);
    let younger = Filter { accepted_since: Some(middle), ..nothing() };
    assert_eq!(found(younger).await, [second, third]);
    assert_eq!(found(Filter { login: Some("web".into()), ..nothing() }).await, [second]);
    assert_eq!(found(Filter { places: vec![Place::Held], ..nothing() }).await, [third]);
    let two = Filter { places: vec![Place::Held, Place::Waiting], ..nothing() };
    assert_eq!(found(two).await, [first, second, third]);

    let begun = spool.find(nothing(), Stretch::default(), 1).await.unwrap();
    assert_eq!(begun.ids, [first]);
    put(&spool, envelope("late")).await;
    let rest = spool.find(nothing(), begun.next.unwrap(), 9).await.unwrap();
    assert_eq!((rest.ids, rest.next), (vec![second, third], None));
}

#[tokio::test]
async fn an_envelope_longer_than_the_first_read_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder);
    let mut many = envelope("a");
    many.recipients =
        (0..500).map(|place| format!("r{place}@example.net").parse().unwrap()).collect();
    let mut draft = spool.draft(many).unwrap();
    draft.append(&[b'x'; 10_000]).await;
    let id = draft.commit().await.unwrap();
    let last = Filter { recipient: Some("r499@".into()), ..Filter::default() };
    let page = spool.list(last, Stretch::default(), 9).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [id]);
    let Summary { recipients, waiting, pending, .. } = &page.messages[0];
    assert_eq!((recipients.len(), waiting.len(), *pending), (16, 16, 500));
}

#[tokio::test]
async fn who_has_the_message_is_not_among_those_who_wait() {
    use crate::mail::outcome::{Fate, Outcome};
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder);
    let mut message = envelope("a");
    message.recipients =
        ["x@a.example", "y@a.example", "z@a.example"].map(|to| to.parse().unwrap()).into();
    put(&spool, message).await;
    let claim = spool.claim().await;
    let fates = [Fate::Delivered, Fate::Deferred(Duration::from_secs(3600)), Fate::Failed];
    let outcome = |(recipient, fate): (&crate::smtp::address::Address, Fate)| Outcome {
        recipient: recipient.clone(),
        fate,
        next_hop: String::new(),
        reply: String::new(),
    };
    let outcomes = claim.pending().iter().zip(fates).map(outcome).collect();
    spool.settle(claim, outcomes).await.unwrap();
    let page = spool.list(Filter::default(), Stretch::default(), 9).await.unwrap();
    let Summary { id, recipients, waiting, pending, .. } = &page.messages[0];
    assert_eq!((recipients.len(), &waiting[..], *pending), (3, &["y@a.example".to_owned()][..], 1));
    assert_eq!(spool.show(*id).await.unwrap().summary, page.messages[0]);
}

#[tokio::test]
async fn the_text_of_a_message_is_read_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder);
    let text: Vec<u8> = (0..600_000_u32).map(|place| (place % 251) as u8).collect();
    let mut draft = spool.draft(envelope("a")).unwrap();
    draft.append(&text).await;
    let id = draft.commit().await.unwrap();
    let (mut read, mut number, mut pieces) = (Vec::new(), Some(0), 0);
    while let Some(next) = number {
        let piece = spool.read_piece(id, next).await.unwrap();
        read.extend(piece.octets);
        (number, pieces) = (piece.next, pieces + 1);
    }
    assert!(read == text && pieces > 1, "{} octets in {pieces} pieces", read.len());
    assert_eq!(spool.read_piece(id, pieces).await, Err(StoreError::Gone));
    assert_eq!(spool.read_piece(MessageId(1), 0).await, Err(StoreError::Gone));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn pages_of_any_length_cover_each_message_once(
        logins in proptest::collection::vec(0..3_u8, 0..90),
        limits in proptest::collection::vec(1..40_usize, 1..8),
        asked in 0..3_u8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let spool = open(&folder);
            let mut expected = Vec::new();
            for login in logins {
                let mut message = envelope("a");
                message.login = Some(format!("login{login}"));
                let id = put(&spool, message).await;
                if login == asked {
                    expected.push(id);
                }
            }
            let filter = Filter { login: Some(format!("login{asked}")), ..Filter::default() };
            let (mut listed, mut found) = (Vec::new(), Vec::new());
            let mut stretch = Some(Stretch::default());
            let mut limits = limits.iter().cycle();
            while let (Some(from), Some(limit)) = (stretch, limits.next()) {
                let page = spool.list(filter.clone(), from, *limit).await.unwrap();
                assert!(page.messages.len() <= *limit);
                listed.extend(page.messages.into_iter().map(|message| message.id));
                stretch = page.next;
            }
            stretch = Some(Stretch::default());
            while let (Some(from), Some(limit)) = (stretch, limits.next()) {
                let finding = spool.find(filter.clone(), from, *limit).await.unwrap();
                found.extend(finding.ids);
                stretch = finding.next;
            }
            assert_eq!(listed, expected);
            assert_eq!(found, expected);
        });
    }
}

/// A commit while somebody lists; returns how long it took.
async fn commit(spool: &Spool) -> Duration {
    let begun = Instant::now();
    put(spool, envelope("traffic")).await;
    begun.elapsed()
}

/// Prints how long a search by recipient takes over a million messages, and the slowest commit meanwhile.
/// `cargo test -p relay --lib a_million -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes a million messages, which takes minutes"]
async fn a_million_messages_are_looked_through_while_mail_is_taken() {
    const MESSAGES: usize = 1_000_000;
    const PRODUCERS: usize = 256;
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(open(&folder));
    let mut producers = tokio::task::JoinSet::new();
    for producer in 0..PRODUCERS {
        let spool = Arc::clone(&spool);
        producers.spawn(async move {
            for number in 0..MESSAGES.div_ceil(PRODUCERS) {
                let mut message = envelope("a");
                message.login = Some(format!("login{producer}"));
                message.recipients =
                    vec![format!("r{}@example.net", producer * 10_000 + number).parse().unwrap()];
                put(&spool, message).await;
            }
        });
    }
    producers.join_all().await;
    let mut alone: Vec<Duration> = Vec::new();
    for _ in 0..2000 {
        alone.push(commit(&spool).await);
    }
    let rows = [
        ("by recipient", Filter { recipient: Some("r77@".into()), ..Filter::default() }, 1),
        ("by login", Filter { login: Some("login7".into()), ..Filter::default() }, 3907),
        ("by age", Filter { accepted_before: Some(Timestamp::UNIX_EPOCH), ..Filter::default() }, 0),
    ];
    let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    println!("nobody looks: slowest of 2000 commits {:?}", worst(&alone));
    for (row, filter, expected) in rows {
        let begun = Instant::now();
        let searching = tokio::spawn({
            let spool = Arc::clone(&spool);
            async move {
                let (mut stretch, mut found, mut slowest) =
                    (Some(Stretch::default()), 0, Duration::ZERO);
                while let Some(from) = stretch {
                    let slice = Instant::now();
                    let finding = spool.find(filter.clone(), from, 1000).await.unwrap();
                    slowest = slowest.max(slice.elapsed());
                    found += finding.ids.len();
                    stretch = finding.next;
                }
                (found, slowest, begun.elapsed())
            }
        });
        let mut times = Vec::new();
        while !searching.is_finished() {
            times.push(commit(&spool).await);
        }
        let (found, slowest, took) = searching.await.unwrap();
        assert_eq!(found, expected, "{row}");
        println!(
            "{row}: {found} of {MESSAGES} in {took:?}, slowest slice {slowest:?}; slowest of {} commits {:?}",
            times.len(),
            worst(&times)
        );
    }
}
