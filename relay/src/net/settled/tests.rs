use super::*;
use crate::mail::came::{Admission, Came};
use crate::mail::envelope::{Body, Terms};
use crate::mail::report::{Diagnostic, News, Notice};
use crate::smtp::address::ReversePath;
use crate::smtp::reply::Enhanced;

fn address(local: &str) -> Address {
    format!("{local}@{local}.Example.com").parse().unwrap()
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        sender: ReversePath::Null,
        recipients: recipients.iter().copied().map(address).collect(),
        body: Body::SevenBit,
        login: Some("app".into()),
        tag: Some("billing".into()),
        source: Some("192.0.2.7".parse().unwrap()),
        received_at: Timestamp::UNIX_EPOCH,
        terms: Terms::default(),
        came: Some(Box::new(Came {
            accepted_at: Timestamp::UNIX_EPOCH,
            listener: "[::]:2525".parse().unwrap(),
            peer: "192.0.2.7".parse().unwrap(),
            entry: Some(Admission {
                network: "192.0.2.0/24".parse().unwrap(),
                passed: 7,
                over_rate: 1,
            }),
            secured_at: None,
            tls: Some("TLSv1.3".into()),
            server_name: Some("relay.example.net".into()),
            logged_in_at: None,
            mechanism: Some("PLAIN".into()),
            earlier: 0,
        })),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap()),
    }
}

fn progress(standings: &[Standing]) -> Vec<Progress> {
    let last = |at| LastReply {
        at: Timestamp::from_second(at).unwrap(),
        next_hop: "mx:25".into(),
        reply: format!("450 at {at}"),
    };
    let of = |(at, standing): (i64, &Standing)| Progress {
        standing: *standing,
        last: Some(last(at)),
        told: None,
        owed: None,
    };
    (0..).zip(standings).map(of).collect()
}

fn leaving<'a>(envelope: &'a Envelope, progress: &'a [Progress]) -> Leaving<'a> {
    Leaving {
        id: MessageId(1),
        envelope,
        progress,
        size_bytes: 9,
        attempts: 2,
        accepted_at: Timestamp::UNIX_EPOCH,
        now: Timestamp::from_millisecond(1500).unwrap(),
    }
}

fn outcome(recipient: &str, fate: Fate, reply: &str) -> Outcome {
    let next_hop = if fate == Fate::Captured { "" } else { "mx:25" };
    Outcome { recipient: address(recipient), fate, next_hop: next_hop.into(), reply: reply.into() }
}

/// What it is, where recipients stood, what became of the open ones; the end, who stands where, attempts.
type Row<'a> = (&'a str, &'a [Standing], &'a [Fate], Option<(End, [usize; 3], u32)>);

#[test]
fn a_message_leaves_with_its_last_open_recipient_and_not_before() {
    use Standing::{Captured, Delivered, Failed, Pending};
    let wait = Fate::Deferred(Duration::from_secs(1));
    let later = Fate::Postponed(Duration::from_secs(1));
    let rows: &[Row<'_>] = &[
        (
            "all taken",
            &[Pending, Pending],
            &[Fate::Delivered, Fate::Delivered],
            Some((End::Delivered, [2, 0, 0], 3)),
        ),
        ("one waits", &[Pending, Pending], &[Fate::Delivered, wait], None),
        ("one has its turn later", &[Pending, Pending], &[Fate::Failed, later], None),
        ("one was not asked", &[Pending, Pending], &[Fate::Delivered], None),
        (
            "the last of two",
            &[Failed, Pending],
            &[Fate::Delivered],
            Some((End::Mixed, [1, 1, 0], 3)),
        ),
        ("none taken", &[Failed, Pending], &[Fate::Failed], Some((End::Failed, [0, 2, 0], 3))),
        (
            "kept",
            &[Pending, Pending],
            &[Fate::Captured, Fate::Captured],
            Some((End::Captured, [0, 0, 2], 2)),
        ),
        (
            "kept and taken",
            &[Captured, Pending],
            &[Fate::Delivered],
            Some((End::Mixed, [1, 0, 1], 3)),
        ),
        ("nothing new", &[Delivered, Pending], &[], None),
    ];
    for (row, standings, fates, expected) in rows {
        let (envelope, progress) = (envelope(&["a", "b"]), progress(standings));
        let outcomes: Vec<_> =
            fates.iter().map(|fate| outcome("a", fate.clone(), "said")).collect();
        let line = leaving(&envelope, &progress)
            .settled(outcomes.iter().map(|outcome| ("smarthost", outcome)));
        let found = line.map(|l| (l.end, [l.delivered, l.failed, l.captured], l.attempts));
        assert_eq!(found, *expected, "{row}");
    }
}

#[test]
fn the_line_carries_how_the_message_came_and_the_word_that_failed() {
    let envelope = envelope(&["a", "b", "c", "d", "e", "a"]);
    let progress = progress(&[Standing::Pending; 3]);
    let outcomes = [
        outcome("a", Fate::Failed, "550 no"),
        outcome("b", Fate::Delivered, "250 ok"),
        outcome("c", Fate::Captured, "kept"),
    ];
    let results = outcomes.iter().map(|outcome| ("smarthost", outcome));
    let line = leaving(&envelope, &progress).settled(results).unwrap();
    let written = serde_json::to_string(&crate::event::Event::Settled(Box::new(line))).unwrap();
    assert_eq!(
        written,
        "{\"event\":\"settled\",\"id\":\"0000000000001\",\"end\":\"mixed\",\"source\":\"192.0.2.7\",\
         \"proxy\":null,\"entry\":\"192.0.2.0/24\",\"entry-passed\":7,\"entry-over-rate\":1,\
         \"tag\":\"billing\",\"listener\":\"[::]:2525\",\"tls\":\"TLSv1.3\",\
         \"server-name\":\"relay.example.net\",\"mechanism\":\"PLAIN\",\"login\":\"app\",\
         \"domains\":\"a.example.com,b.example.com,c.example.com,d.example.com,+1\",\
         \"size-bytes\":9,\"recipients\":6,\"delivered\":1,\"failed\":1,\"captured\":1,\"open\":0,\
         \"attempts\":3,\"route\":\"smarthost\",\"next-hop\":\"mx:25\",\"reply\":\"550 no\",\
         \"accepted-at\":\"1970-01-01T00:00:00Z\",\"took-seconds\":1.5,\
         \"trace\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"uid\":null}"
    );
}

#[test]
fn a_message_that_stays_for_a_report_leaves_when_that_is_written() {
    let envelope = envelope(&["a"]);
    let mut progress = progress(&[Standing::Delivered]);
    progress[0].owed = Some(Notice {
        recipient: address("a"),
        news: News::Relayed,
        status: Enhanced(2, 0, 0),
        remote: None,
        diagnostic: Diagnostic::Own("250 ok".into()),
    });
    assert_eq!(leaving(&envelope, &progress).settled(std::iter::empty()), None);
    progress[0].owed = None;
    let line = leaving(&envelope, &progress).settled(std::iter::empty()).unwrap();
    assert_eq!(
        (line.end, line.attempts, line.reply.as_deref()),
        (End::Delivered, 2, Some("450 at 0"))
    );
}

#[test]
fn a_message_that_an_operator_removes_says_what_was_last_heard() {
    let envelope = Envelope { source: None, came: None, ..envelope(&["a", "b"]) };
    let progress = progress(&[Standing::Delivered, Standing::Pending]);
    let line = leaving(&envelope, &progress).dropped(1000);
    assert_eq!((line.end, line.delivered, line.open, line.attempts), (End::Dropped, 1, 1, 2));
    assert_eq!((line.uid, line.reply.as_deref()), (Some(1000), Some("450 at 1")));
    assert_eq!((line.entry, line.listener, line.proxy), (None, None, None));
}
