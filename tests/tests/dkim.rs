//! Signatures as others see them: what arrives at a next hop is verified by dkimpy.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::MessageParser;
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _};
use relay::config::Dkim;
use relay::event::Event;
use relay::mail::envelope::Body;
use tests::need;
use tests::peer::{Manners, Peer};
use tests::sender::Relay;

/// Prints a line for each signature: its domain, its algorithm, and whether it verifies.
/// Arguments: names and records.
const VERIFY: &str = r#"
import dkim, re, sys
records = dict(zip(sys.argv[1::2], sys.argv[2::2]))
message = sys.stdin.buffer.read()
def record(name, timeout=5):
    return records.get(name.decode().rstrip("."), "").encode()
verifier = dkim.DKIM(message)
count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
for place in range(count):
    verifier = dkim.DKIM(message)
    verified = verifier.verify(place, dnsfunc=record)
    print(verifier.domain.decode(), verifier.signature_fields[b"a"].decode(), verified)
"#;

/// A key in a file, and the record that publishes it.
struct Published {
    dkim: Dkim,
    record: String,
}

impl Published {
    fn new(folder: &Path, domain: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("the test makes keys");
        let (kind, public) = if algorithm == &PKCS_ED25519 {
            ("ed25519", key.der_bytes().to_vec())
        } else {
            ("rsa", key.subject_public_key_info())
        };
        let key_file = folder.join(format!("{domain}.{kind}.pem"));
        fs::write(&key_file, key.serialize_pem()).expect("the test makes keys");
        let record = format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(public));
        let (domain, selector) = (domain.to_owned(), kind.to_owned());
        Self { dkim: Dkim { domain, selector, key_file }, record }
    }
}

/// Returns what dkimpy says of the signatures of `message`, a line each.
fn verified(message: &[u8], published: &[&Published]) -> Vec<String> {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", VERIFY]);
    for Published { dkim: Dkim { domain, selector, .. }, record } in published {
        command.args([&format!("{selector}._domainkey.{domain}"), record]);
    }
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut python = pipes.expect("python starts");
    let input = python.stdin.take().expect("it has a pipe");
    let mut input = input;
    input.write_all(message).expect("python reads");
    drop(input);
    let output = python.wait_with_output().expect("python ends");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_arrives_is_verified_by_others_with_both_algorithms() {
    if need::tool("dkimpy").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rsa = Published::new(folder.path(), "example.net", &PKCS_RSA_SHA256);
    let ed25519 = Published::new(folder.path(), "example.net", &PKCS_ED25519);
    let other = Published::new(folder.path(), "other.example", &PKCS_ED25519);
    let all = [&rsa, &ed25519, &other];
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let dkim = all.map(|published| published.dkim.clone()).to_vec();
    let relay = Relay::start(&peer, |config| config.dkim = dkim);

    let both = &["example.net ed25519-sha256 True", "example.net rsa-sha256 True"][..];
    let rows: &[(&str, &str, &[&str])] = &[
        ("plain", "From: s@example.net\r\nSubject: x\r\n\r\ntext\r\n", both),
        ("a name below", "From: s@a.example.net\r\n\r\ntext\r\n", both),
        ("dots and space", "From: s@example.net\r\n\r\n.\r\n..a  b \t\r\n \r\n\r\n", both),
        ("no end", "From: s@example.net\r\n\r\nno end", both),
        ("no body", "From: s@example.net\r\nSubject: x\r\n\r\n", both),
        (
            "folded and repeated",
            "Received: from x\r\n\tby y\r\nTo: a@b.example,\r\n  c@d.example\r\n\
             From:  S <s@example.net> \r\nComments: 1\r\nComments: 2\r\nList-Id: <l>\r\n\r\nx\r\n",
            both,
        ),
        (
            "another domain",
            "From: s@other.example\r\n\r\nx\r\n",
            &["other.example ed25519-sha256 True"],
        ),
        ("nobody's domain", "From: s@example.org\r\n\r\nx\r\n", &[]),
        ("two authors", "From: s@example.net, t@other.example\r\n\r\nx\r\n", &[]),
    ];
    for (row, message, expected) in rows {
        relay.submit(message.as_bytes(), |_| {}).await;
        let arrived = peer.message().await;
        let mut found = verified(&arrived, &all);
        found.sort();
        assert_eq!(found, *expected, "{row}:\n{}", String::from_utf8_lossy(&arrived));
        let text = String::from_utf8_lossy(&arrived).into_owned();
        let whole =
            if message.ends_with('\n') { (*message).to_owned() } else { format!("{message}\r\n") };
        assert!(text.ends_with(&whole), "{row}: the message itself is as it was");
        if let Some(first) = found.first() {
            let changed = text.replacen("From:", "Subject: other\r\nFrom:", 1);
            let again = verified(changed.as_bytes(), &all);
            assert!(!again.iter().any(|line| line.ends_with("True")), "{row} {first}: {again:?}");
        }
    }
    relay.stop().await;
}

#[tokio::test]
async fn eight_bit_mail_is_made_seven_bit_before_it_is_signed_and_still_says_the_same() {
    if need::tool("dkimpy").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = Published::new(folder.path(), "example.net", &PKCS_ED25519);
    // It takes no 8-bit mail.
    let under_tls = vec!["PIPELINING", "SIZE 10000000", "AUTH PLAIN LOGIN"];
    let mut peer = Peer::start(Manners { under_tls, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&peer, |config| config.dkim = vec![key.dkim.clone()]);
    let message = "From: s@example.net\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        \u{fc}ber alles  \r\n.\r\nfrom here\r\n";
    relay.submit(message.as_bytes(), |envelope| envelope.body = Body::EightBit).await;
    let arrived = peer.message().await;
    let text = String::from_utf8_lossy(&arrived).into_owned();
    assert_eq!(verified(&arrived, &[&key]), ["example.net ed25519-sha256 True"], "{text}");
    assert!(arrived.is_ascii(), "{text}");
    let read = MessageParser::default().parse(&arrived).unwrap();
    let sent = MessageParser::default().parse(message.as_bytes()).unwrap();
    assert_eq!(read.body_text(0), sent.body_text(0));
    relay.stop().await;
}

#[tokio::test]
async fn our_reports_are_signed_where_our_name_has_a_key() {
    if need::tool("dkimpy").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = Published::new(folder.path(), "relay.example.net", &PKCS_ED25519);
    let instead = vec![("RCPT TO:<a@", "550 5.1.1 no such user")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&peer, |config| config.dkim = vec![key.dkim.clone()]);
    relay.submit(b"From: s@example.net\r\n\r\nx\r\n", |_| {}).await;
    let report = peer.message().await;
    assert_eq!(verified(&report, &[&key]), ["relay.example.net ed25519-sha256 True"]);
    relay.stop().await;
}

#[tokio::test]
async fn mail_whose_key_cannot_be_used_waits_however_old_it_is_and_other_mail_goes() {
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&peer, |config| {
        config.retry.expire = std::time::Duration::from_millis(1);
        let (domain, selector) = ("example.net".into(), "s".into());
        config.dkim = vec![Dkim { domain, selector, key_file: "/nowhere/key.pem".into() }];
    });
    relay.submit(b"From: s@example.net\r\n\r\nmust be signed\r\n", |_| {}).await;
    let other = b"From: s@example.org\r\n\r\nneed not\r\n";
    relay.submit(other, |_| {}).await;
    assert_eq!(peer.message().await, other);
    let (events, left) = relay.stop().await;
    assert_eq!(left, 1);
    let reason = events.iter().find_map(|event| match event {
        Event::Deferred { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    let reason = reason.unwrap_or_default();
    assert!(reason.contains("the DKIM key of example.net, /nowhere/key.pem"), "{events:?}");
}
