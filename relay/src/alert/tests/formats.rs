//! Each form of a webhook goes its whole way: by the configuration, the room and the wire.

use super::*;

/// Members of a body: where each stands, and what it says; none: any text.
type Members = &'static [(&'static str, Option<&'static str>)];

/// What each receiver's manual wants of a body.
const WANTED: [(&str, Members); 5] = [
    (
        "json",
        &[
            ("/key", Some("test")),
            ("/host", Some("relay.example.net")),
            ("/id", None),
            ("/stage", None),
        ],
    ),
    (
        "slack",
        &[
            ("/text", None),
            ("/blocks/0/type", Some("header")),
            ("/blocks/0/text/type", Some("plain_text")),
            ("/blocks/0/text/text", None),
            ("/blocks/1/type", Some("section")),
        ],
    ),
    (
        "teams",
        &[
            ("/type", Some("message")),
            ("/attachments/0/contentType", Some("application/vnd.microsoft.card.adaptive")),
            ("/attachments/0/content/type", Some("AdaptiveCard")),
            ("/attachments/0/content/body/0/inlines/0/text", None),
        ],
    ),
    (
        "pagerduty",
        &[
            ("/routing_key", Some("0123456789abcdef0123456789abcdef")),
            ("/event_action", Some("trigger")),
            ("/dedup_key", Some("relay.example.net/test")),
            ("/payload/summary", None),
            ("/payload/source", Some("relay.example.net")),
            ("/payload/severity", None),
        ],
    ),
    (
        "alertmanager",
        &[
            ("/0/labels/alertname", Some("test")),
            ("/0/labels/instance", Some("relay.example.net")),
            ("/0/labels/severity", None),
            ("/0/annotations/summary", None),
            ("/0/startsAt", None),
            ("/0/endsAt", None),
        ],
    ),
];

#[tokio::test]
async fn a_test_reaches_a_receiver_of_each_form_with_what_its_manual_wants() {
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("routing-key");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let mut receivers = WANTED.map(|(format, wanted)| (format, wanted, Receiver::saying(&[202])));
    let channels: Vec<_> = receivers
        .iter()
        .map(|(format, _, receiver)| {
            let key = match *format {
                "pagerduty" => format!("secret-file = '{}'\n", secret.display()),
                _ => String::new(),
            };
            format!(
                "[[alerts.webhook]]\nname = '{format}'\nformat = '{format}'\nurl = '{}'\n{key}",
                receiver.url
            )
        })
        .collect();
    let site = Site::new(&channels.concat());
    let room = site.room();
    let tested = room.alerts.test(None).await.unwrap();
    assert!(tested.iter().all(|one| one.taken), "{tested:?}");
    for (format, wanted, receiver) in &mut receivers {
        let body = receiver.next().await;
        for (place, value) in *wanted {
            let told = body.pointer(place).and_then(Value::as_str);
            assert!(told.is_some_and(|told| !told.is_empty()), "{format}: {place} in {body}");
            assert!(value.is_none() || told == *value, "{format}: {place} in {body}");
        }
    }
    room.alerts.end().await;
}
