//! Attempts in good order, and beginnings that come to nothing.

mod driven;
mod foreign;
mod held;
mod misbehaviour;

use driven::{Driven, parcel, ready, terms};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{End, Fresh, Instant};
use crate::config::RouteTls;
use crate::delivery::login::{Credentials, Proof, Secret};
use crate::mail::envelope::Body;

/// An instant to start from; only differences matter.
pub(super) fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_whole_delivery_with_starttls_login_and_pipelining() {
    let mut driven = Driven::new(terms(RouteTls::Required, Some("tim")));
    driven.hop("220 mx.example.net ESMTP\r\n").hop("250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
    assert_eq!(driven.take_sent(), "EHLO relay.example.net\r\nSTARTTLS\r\n");
    assert_eq!(driven.hop("220 2.0.0 go\r\n").secures, 1);
    driven.attempt.secured(driven.now);
    driven.obey();
    driven.hop(
        "250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 AUTH LOGIN PLAIN\r\n",
    );
    assert_eq!(driven.take_sent(), "EHLO relay.example.net\r\nAUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
    driven.hop("235 2.7.0 welcome\r\n").begin(parcel("a b", Body::EightBit));
    assert_eq!(
        driven.take_sent(),
        "MAIL FROM:<s@example.net> SIZE=8 BODY=8BITMIME\r\n\
         RCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
    );
    driven.hop("250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n");
    assert_eq!(driven.take_sent(), "DATA\r\n");
    driven.hop("354 go on\r\n").body(b".hidden\r\n");
    assert_eq!(driven.take_sent(), "..hidden\r\n.\r\n");
    assert_eq!(driven.hop("250 2.0.0 queued as 1\r\n").rulings(), "dd");
    assert_eq!(driven.ready, 1, "and the connection can carry the next message");
    driven.attempt.quit(driven.now);
    driven.obey();
    assert_eq!(driven.take_sent(), "QUIT\r\n");
    assert_eq!(driven.hop("221 bye\r\n").end, Some(End::Finished));
}

#[test]
fn without_pipelining_every_command_waits_for_its_answer() {
    let mut driven = ready("SIZE");
    for (expected, answer) in [
        ("MAIL FROM:<s@example.net> SIZE=8\r\n", "250 ok\r\n"),
        ("RCPT TO:<a@example.com>\r\n", "250 ok\r\n"),
        ("RCPT TO:<b@example.com>\r\n", "250 ok\r\n"),
        ("DATA\r\n", "354 ok\r\n"),
    ] {
        if driven.ready == 1 {
            driven.begin(parcel("a b", Body::SevenBit));
        }
        assert_eq!(driven.take_sent(), expected);
        driven.hop(answer);
    }
    assert_eq!(
        (driven.read_body, driven.body(b"x\r\n").hop("250 ok\r\n").rulings()),
        (1, "dd".into())
    );
}

#[test]
fn an_uncertain_end_says_so() {
    let mut driven = ready("PIPELINING");
    driven
        .begin(parcel("a", Body::SevenBit))
        .hop("250 a\r\n250 b\r\n")
        .hop("354 go\r\n")
        .body(b"x\r\n");
    driven.attempt.lost("connection reset");
    driven.obey();
    let why = driven.judged[0][0].why.text();
    assert_eq!(why, "uncertain: connection reset after the final dot, before its answer");
}

/// How a connection ends that never becomes ready.
#[test]
fn every_refused_beginning_ends_with_its_reason() {
    type Row<'a> = (&'a str, RouteTls, Option<&'a str>, &'a [&'a str], &'a str);
    let hello = "250-mx\r\n250 STARTTLS\r\n";
    let rows: &[Row<'_>] = &[
        ("521", RouteTls::Required, None, &["521 no mail here\r\n"], "521 no mail here"),
        ("554", RouteTls::Required, None, &["554 go away\r\n"], "554 go away"),
        ("421", RouteTls::Required, None, &["421 busy\r\n"], "421 busy"),
        ("EHLO unknown", RouteTls::Required, None, &["220 mx\r\n", "502 what\r\n"], "502 what"),
        (
            "no STARTTLS",
            RouteTls::Required,
            None,
            &["220 mx\r\n", "250 mx\r\n"],
            "does not offer STARTTLS",
        ),
        (
            "STARTTLS refused",
            RouteTls::Required,
            None,
            &["220 mx\r\n", hello, "454 no\r\n"],
            "454 no",
        ),
        (
            "text injected after the 220 to STARTTLS",
            RouteTls::Required,
            None,
            &["220 mx\r\n", hello, "220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"],
            "before the TLS handshake",
        ),
        (
            "text injected in a packet of its own",
            RouteTls::Required,
            None,
            &["220 mx\r\n", hello, "220 go\r\n", "250 mx\r\n"],
            "before the TLS handshake",
        ),
        (
            "a login in the clear",
            RouteTls::None,
            Some("tim"),
            &["220 mx\r\n", "250-mx\r\n250 AUTH PLAIN\r\n"],
            "not sent in the clear",
        ),
        ("octets without end", RouteTls::None, None, &[&"x".repeat(2000)], "too long"),
    ];
    for (name, tls, login, answers, reason) in rows {
        let mut driven = Driven::new(terms(*tls, *login));
        for answer in *answers {
            driven.hop(answer);
        }
        let Some(End::Unfit(words)) = &driven.end else { panic!("{name}: {:?}", driven.end) };
        assert!(words.contains(reason), "{name}: {words}");
        assert!(!driven.take_sent().contains("AUTH "), "{name}");
    }
}

/// Brings an implicit-TLS attempt to its AUTH.
fn at_auth(mechanisms: &str) -> Driven {
    let mut driven = Driven::new(terms(RouteTls::Implicit, Some("tim")));
    assert_eq!(driven.secures, 1, "the handshake comes before the greeting");
    driven.attempt.secured(driven.now);
    driven.hop("220 mx\r\n").hop(&format!("250-mx\r\n250 AUTH {mechanisms}\r\n"));
    driven
}

#[test]
fn a_login_that_works_is_refused_at_mail_and_not_for_one_recipient() {
    let rows: [(&[&str], &str, bool); 3] = [
        (&["530 5.7.0 login\r\n"], "hh", true),
        (&["535 5.7.8 taken back\r\n"], "hh", true),
        (&["250 ok\r\n", "535 5.7.8 no\r\n", "450 no\r\n", "250 reset\r\n"], "fw", false),
    ];
    for (answers, rulings, is_refused) in rows {
        let driven = &mut at_auth("PLAIN");
        driven.hop("235 welcome\r\n").begin(parcel("a b", Body::SevenBit));
        for answer in answers {
            driven.hop(answer);
        }
        assert_eq!(driven.rulings(), rulings, "{answers:?}");
        let end = matches!(driven.end, Some(End::LoginRefused(_)));
        assert_eq!((end, driven.ready), (is_refused, usize::from(!is_refused)), "{answers:?}");
    }
}

#[test]
fn a_login_is_refused_put_off_or_impossible() {
    for refusal in ["535 5.7.8 wrong\r\n", "530 5.7.0 no\r\n", "534 weak\r\n", "504 what\r\n"] {
        let driven = &mut at_auth("PLAIN");
        driven.hop(refusal);
        assert_eq!(driven.end, Some(End::LoginRefused(refusal.trim_end().into())));
    }
    for other in ["454 4.7.0 later\r\n", "421 bye\r\n", "334 more\r\n"] {
        let driven = &mut at_auth("PLAIN");
        driven.hop(other);
        assert!(matches!(driven.end, Some(End::Unfit(_))), "{other}: {:?}", driven.end);
    }
    assert!(matches!(at_auth("GSSAPI").end, Some(End::Unfit(_))));
}

#[test]
fn scram_is_spoken_and_a_next_hop_that_does_not_prove_itself_is_not_used() {
    let challenge = |text: &str| format!("334 {}\r\n", STANDARD.encode(text));
    let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let begin = || {
        let mut terms = terms(RouteTls::Implicit, Some("user"));
        let proof = Proof::Password(Secret::new(b"pencil".to_vec()));
        terms.credentials = terms.credentials.map(|user| Credentials { proof, ..user });
        let mut driven = Driven::new(terms);
        // The example of RFC 7677, section 3.
        driven.attempt.arm(Fresh { nonce: "rOprNGfwEbeRWgbNEkqO".into(), binding: None });
        driven.attempt.secured(driven.now);
        driven.hop("220 mx\r\n").hop("250-mx\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n");
        driven.hop(&challenge(first));
        driven
    };
    let signature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let mut driven = begin();
    let lines = driven.take_sent();
    let proof = STANDARD.decode(lines.lines().last().unwrap()).unwrap();
    assert!(proof.ends_with(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{lines}");
    driven.hop(&challenge(signature));
    assert_eq!((driven.take_sent().as_str(), driven.ready), ("\r\n", 0));
    assert_eq!(driven.hop("235 2.7.0 welcome\r\n").ready, 1);

    let wrong = challenge(&signature.replace("6r", "7r"));
    for answer in [wrong.as_str(), "235 2.7.0 welcome\r\n"] {
        let mut driven = begin();
        driven.hop(answer);
        assert!(matches!(driven.end, Some(End::Unproved(_))), "{answer}: {:?}", driven.end);
    }
    let mut driven = begin();
    driven.hop(&challenge("e=invalid-proof")).hop("535 5.7.8 no\r\n");
    let refused = End::LoginRefused("535 5.7.8 no (invalid-proof)".into());
    assert_eq!(driven.end, Some(refused));
    let mut driven = begin();
    driven.hop(&challenge("e=other-error")).hop("454 4.7.0 later\r\n");
    assert!(matches!(driven.end, Some(End::Unfit(_))), "{:?}", driven.end);
}

#[test]
fn an_answer_that_comes_while_the_password_is_hashed_ends_the_attempt() {
    let mut driven = at_auth("SCRAM-SHA-256");
    assert!(matches!(driven.end, Some(End::Unfit(_))), "no nonce, no SCRAM: {:?}", driven.end);
    driven = Driven::new(terms(RouteTls::Implicit, Some("tim")));
    driven.attempt.arm(Fresh { nonce: "abc".into(), binding: None });
    driven.attempt.secured(driven.now);
    driven.hop("220 mx\r\n").hop("250-mx\r\n250 AUTH SCRAM-SHA-256\r\n");
    let first = format!("334 {}\r\n", STANDARD.encode("r=abcd,s=AAAA,i=4096"));
    driven.hop(&format!("{first}334 \r\n"));
    assert!(matches!(driven.end, Some(End::Unfit(_))), "{:?}", driven.end);
}

#[test]
fn opportunistic_tls_is_used_where_it_is_offered_and_missed_where_it_is_not() {
    let hello = "250-mx\r\n250 STARTTLS\r\n";
    let begin = |answers: &[&str]| {
        let mut driven = Driven::new(terms(RouteTls::Opportunistic, None));
        for answer in answers {
            driven.hop(answer);
        }
        driven
    };
    let mut driven = begin(&["220 mx\r\n", hello, "220 go\r\n"]);
    assert_eq!((driven.secures, driven.ready), (1, 0));
    driven.attempt.secured(driven.now);
    driven.obey();
    assert_eq!(driven.hop("250 mx\r\n").ready, 1);
    assert_eq!(begin(&["220 mx\r\n", "250 mx\r\n"]).ready, 1);
    assert_eq!(begin(&["220 mx\r\n", hello, "454 4.7.0 no TLS today\r\n"]).ready, 1);
    let injected = begin(&["220 mx\r\n", hello, "220 go\r\n250 mx\r\n"]);
    assert!(matches!(injected.end, Some(End::Unfit(_))), "{:?}", injected.end);
    let mut login = Driven::new(terms(RouteTls::Opportunistic, Some("tim")));
    login.hop("220 mx\r\n").hop(hello).hop("220 go\r\n");
    login.attempt.secured(login.now);
    login.obey();
    login.hop("250-mx\r\n250 AUTH PLAIN\r\n");
    assert!(matches!(login.end, Some(End::Unfit(_))), "{:?}", login.end);
    assert!(!login.take_sent().contains("AUTH"));
}

#[test]
fn login_is_spoken_where_plain_is_not_offered() {
    let mut driven = at_auth("LOGIN");
    driven.hop("334 VXNlcm5hbWU6\r\n").hop("334 UGFzc3dvcmQ6\r\n").hop("235 ok\r\n");
    assert!(driven.take_sent().ends_with("AUTH LOGIN\r\ndGlt\r\nc2VjcmV0\r\n"));
    assert_eq!(driven.ready, 1);
}
