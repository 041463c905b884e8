use std::io::Write as _;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::mail::envelope::{Envelope, Terms};
use crate::smtp::address::ReversePath;
use crate::spool::Spool;

/// An RSA key of 1024 bits, made for this test by openssl: aws-lc makes none.
const WEAK: &str = "MIICXgIBAAKBgQDhtK39L8iiHRp72/rsb6Q0bsH5z0cCG5ZV7QiAbmpNPxkOrT5FaU7W408vRfzAuJt/GFGTFzSh\
     OVqFh1JVs3BbzAsPgkSjlH8m4/IAQTkGlO6fAXCYZ0jDV0eZXA0qvkog1++T4+mr9thJpmRW0bnX5A/ictoWrfN4\
     KpQqxVn1ZQIDAQABAoGBAL43R2rZmn0FigxYmGAqtnh534Bo768XENvZqBCU/YGca8Gyv4g/9/GiIFn24cyJyIKU\
     PCt6oyA89c0S/pC7aTRetbDO4ePmlC7ox/hLaoOkH6wXnNePpfaN0EUlv6wzG7sXGrtZKA5Myxp3BscE5LxWUu/H\
     nMS8SKarqEfoPWUBAkEA9ptcT9anGJQUgGjzNHq+A+5/ySPWv0B6tcbcDV27M+FhJ9pf15yrpo99pbTQhc0Dualv\
     ky8+lFg7OWRGegllgwJBAOpNg7ak7QUAoH5Gc0zz58tGWbLFRSh9IYf10wIhQxsh7zYQEy1cPlzsEDhMwK406BA5\
     oLrTbTGSeTbT/bqHrPcCQQCxzJPC0F2LQACEEKcAuFpVlVg2mgtTutZ+RtETJfg50I5u4GhnmQK9RQlvNq19OrIr\
     4ziZot94ryCMIXsas7mnAkB5lS+8H2k/J0whOr2qOQcXXLI/Kk7w673yp4WPnWMNOVbAXycUasGRxo3EKU/zFlE1\
     2jGlwQDwsGlmIiuQF8eRAkEA152PGQxQc3LOD5aJiIoQoTiv+drlHPjb5HKuoOFUk0sfE/fjsmnsJwwc0VlP9pTd\
     eHo2O96VqoP6gUVQicL44w==";

fn file(label: &str, text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").unwrap();
    file
}

#[test]
fn keys_of_both_kinds_are_read_and_others_refused_with_a_remedy() {
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa = STANDARD.encode(rsa.as_der().unwrap().as_ref());
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let with_public = STANDARD.encode(ed25519.to_pkcs8().unwrap().as_ref());
    let without = STANDARD.encode(ed25519.to_pkcs8v1().unwrap().as_ref());
    let rows: &[(&str, &str, &str, Option<&str>)] = &[
        ("RSA", "PRIVATE KEY", &rsa, None),
        ("Ed25519", "PRIVATE KEY", &with_public, None),
        ("Ed25519 as openssl writes it", "PRIVATE KEY", &without, None),
        ("RSA of 1024 bits", "PRIVATE KEY", WEAK, Some("RSA of 2048 bits or more")),
        ("a certificate", "CERTIFICATE", "eA==", Some("holds no private key")),
        ("rubbish", "PRIVATE KEY", "eA==", Some("RSA of 2048 bits or more")),
        ("an EC key", "EC PRIVATE KEY", "eA==", Some("neither RSA nor Ed25519")),
    ];
    for (row, label, text, problem) in rows {
        let read = read(file(label, text).path()).map(drop);
        match (read, problem) {
            (Ok(()), None) => {}
            (Err(words), Some(problem)) => assert!(words.contains(problem), "{row}: {words}"),
            (read, problem) => panic!("{row}: {read:?}, {problem:?}"),
        }
    }
    let words = read(Path::new("/nowhere/key.pem")).map(drop).unwrap_err();
    assert!(words.contains("the relay's user must be able to read it"), "{words}");
}

#[test]
fn what_is_signed_is_what_any_hop_can_be_given() {
    type Row = (&'static str, &'static str, Charset, Option<(&'static str, Body)>);
    const ENCODED: &str = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n";
    let rows: &[Row] = &[
        ("8-bit below", "a: b\r\n", Charset::Ascii, Some(("a: b\r\n", Body::SevenBit))),
        ("said to be UTF-8", "a: b\r\n", Charset::Utf8, Some(("a: b\r\n", Body::SevenBit))),
        ("UTF-8 above", "a: ü\r\n", Charset::Utf8, Some(("a: ü\r\n", Body::EightBit))),
        ("undeclared", "a: ü\r\n", Charset::Ascii, None),
        ("signed before", "DKIM-Signature: a\r\n", Charset::Utf8, None),
    ];
    for (row, header, charset, expected) in rows {
        let message = format!("{header}MIME-Version: 1.0\r\n\r\nü\r\n");
        let expected = expected
            .map(|(header, kind)| (format!("{header}{ENCODED}\r\n=C3=BC\r\n").into_bytes(), kind));
        assert_eq!(converted(message.as_bytes(), *charset), expected, "{row}");
    }
}

#[tokio::test]
async fn mail_is_signed_that_came_before_the_limits_of_the_header_were_lowered() {
    let key = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    let key = file("PRIVATE KEY", &STANDARD.encode(key.as_ref()));
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n\
         [[route]]\nname = 'r'\ndefault = true\nhosts = ['localhost:587']\n\
         [limits]\nheader-size = '16KiB'\nheader-fields = 50\nreceived-fields = 10\n\
         [[dkim]]\ndomain = 'example.net'\nselector = 's'\nkey-file = '{}'\n\
         [spool]\npath = '{}'\nreserve = '0B'\n",
        key.path().display(),
        folder.path().display(),
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let spool = Spool::open(&config.spool, |_| {}).unwrap();
    let envelope = Envelope {
        sender: ReversePath::Null,
        recipients: vec!["a@example.com".parse().unwrap()],
        body: Body::SevenBit,
        login: None,
        tag: None,
        source: None,
        received_at: Timestamp::UNIX_EPOCH,
        terms: Terms::default(),
        came: None,
        trace: None,
    };
    let mut draft = spool.draft(envelope).unwrap();
    let received = "Received: from x by y\r\n".repeat(100);
    let large = format!("{}From: s@example.net\r\n\r\nx\r\n", received.repeat(10));
    draft.append(large.as_bytes()).await;
    draft.commit().await.unwrap();
    let mut claim = spool.claim().await;
    Keys::load(&config).sign(&mut claim, Timestamp::UNIX_EPOCH).await.unwrap();
    let front = claim.body().read_chunk().await.unwrap().unwrap();
    assert!(front.starts_with(b"DKIM-Signature:"), "{}", front.escape_ascii());
}
