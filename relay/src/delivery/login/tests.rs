use proptest::prelude::*;

use super::*;
use crate::config::ProofKind;
use crate::delivery::action::Action;

fn by_password(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.into(),
        proof: Proof::Password(Secret::new(password.as_bytes().to_vec())),
        mechanisms: Mechanisms::that_show(ProofKind::Password),
    }
}

fn by_token(user: &str, token: &str) -> Credentials {
    Credentials {
        user: user.into(),
        proof: Proof::Token(Secret::new(token.as_bytes().to_vec())),
        mechanisms: Mechanisms::that_show(ProofKind::Token),
    }
}

fn offer(names: &str) -> Mechanisms {
    names.split(' ').filter_map(Mechanism::named).collect()
}

/// The nonce of the example in RFC 7677, section 3.
fn fresh(binding: Option<[u8; 32]>) -> Fresh {
    Fresh { nonce: "rOprNGfwEbeRWgbNEkqO".into(), binding }
}

/// Begins, and returns what is sent with its base64 undone.
fn begin(
    credentials: Credentials,
    offered: &str,
    fresh: impl Into<Option<Fresh>>,
) -> (Exchange, String) {
    let (exchange, sent) = Exchange::begin(credentials, offer(offered), fresh.into()).unwrap();
    let sent = String::from_utf8(sent.to_vec()).unwrap();
    let sent = sent.strip_suffix("\r\n").unwrap();
    match sent.rsplit_once(' ') {
        Some((command, first)) if command.contains(' ') && first != "=" => {
            let first = STANDARD.decode(first).unwrap();
            (exchange, format!("{command} {}", String::from_utf8_lossy(&first)))
        }
        Some(_) | None => (exchange, sent.to_owned()),
    }
}

/// Goes on with a challenge; returns what is said with its base64 undone.
fn say(exchange: Exchange, challenge: &str) -> (Exchange, String) {
    said(exchange.challenged(&STANDARD.encode(challenge)))
}

fn said(turn: Turn) -> (Exchange, String) {
    match turn {
        Turn::Say(exchange, sent) if *sent == b"*\r\n" => (exchange, "*".into()),
        Turn::Say(exchange, sent) => {
            let sent = STANDARD.decode(sent.strip_suffix(b"\r\n").unwrap()).unwrap();
            (exchange, String::from_utf8(sent).unwrap())
        }
        Turn::Derive(exchange, derivation) => said(exchange.derived(&derivation.run())),
        Turn::Broken(words) | Turn::Unproved(words) => panic!("{words}"),
    }
}

#[test]
fn a_debug_shows_no_secret() {
    let begin = || Exchange::begin(by_password("u", "secret"), offer("PLAIN"), None).unwrap();
    let (_, first) = begin();
    let octets = format!("{:?}", first.to_vec());
    let octets = octets.trim_matches(['[', ']']);
    let (exchange, said) = begin();
    for shown in [
        format!("{first:?}"),
        format!("{:?}", Action::SendSecret(first.clone())),
        format!("{:?}", Turn::Say(exchange, said)),
    ] {
        assert!(!shown.contains(octets) && shown.contains("Secret"), "{shown}");
    }
}

#[test]
fn the_strongest_mechanism_is_used_that_is_offered_permitted_and_can_be_shown() {
    let all = "LOGIN PLAIN XOAUTH2 OAUTHBEARER EXTERNAL SCRAM-SHA-256 SCRAM-SHA-512 \
               SCRAM-SHA-256-PLUS SCRAM-SHA-512-PLUS";
    let narrow = |names: &str| Credentials { mechanisms: offer(names), ..by_password("u", "p") };
    let external = Credentials {
        user: "u".into(),
        proof: Proof::Certificate,
        mechanisms: Mechanisms::that_show(ProofKind::Certificate),
    };
    let rows = [
        ("all", by_password("u", "p"), all, Some(fresh(Some([1; 32]))), "SCRAM-SHA-512-PLUS"),
        ("no binding", by_password("u", "p"), all, Some(fresh(None)), "SCRAM-SHA-512"),
        ("no nonce", by_password("u", "p"), all, None, "PLAIN"),
        (
            "one bound",
            by_password("u", "p"),
            "SCRAM-SHA-512 SCRAM-SHA-256-PLUS",
            Some(fresh(Some([1; 32]))),
            "SCRAM-SHA-256-PLUS",
        ),
        ("256", by_password("u", "p"), "PLAIN SCRAM-SHA-256", Some(fresh(None)), "SCRAM-SHA-256"),
        ("plain before login", by_password("u", "p"), "LOGIN PLAIN", Some(fresh(None)), "PLAIN"),
        ("login", by_password("u", "p"), "LOGIN", Some(fresh(None)), "LOGIN"),
        ("narrowed", narrow("PLAIN"), all, Some(fresh(Some([1; 32]))), "PLAIN"),
        (
            "narrowed to unbound",
            narrow("SCRAM-SHA-256"),
            all,
            Some(fresh(Some([1; 32]))),
            "SCRAM-SHA-256",
        ),
        ("token", by_token("u", "t"), all, Some(fresh(None)), "OAUTHBEARER"),
        ("token of old", by_token("u", "t"), "PLAIN XOAUTH2", None, "XOAUTH2"),
        ("certificate", external, all, Some(fresh(None)), "EXTERNAL"),
    ];
    for (row, credentials, offered, fresh, expected) in rows {
        let (_, sent) = begin(credentials, offered, fresh);
        assert_eq!(sent.split(' ').nth(1), Some(expected), "{row}");
    }
}

#[test]
fn a_next_hop_cannot_talk_us_down_below_what_the_route_says() {
    let scram = Credentials { mechanisms: offer("SCRAM-SHA-256"), ..by_password("u", "p") };
    let rows = [
        ("only weaker ones", scram, "PLAIN LOGIN", "it has PLAIN, LOGIN, the route SCRAM-SHA-256"),
        ("nothing", by_password("u", "p"), "", "it has none"),
        ("tokens only", by_password("u", "p"), "XOAUTH2", "it has XOAUTH2"),
        ("bound only, and no binding", by_password("u", "p"), "SCRAM-SHA-256-PLUS", "-PLUS"),
    ];
    for (row, credentials, offered, expected) in rows {
        let words = Exchange::begin(credentials, offer(offered), Some(fresh(None))).unwrap_err();
        assert!(words.contains(expected), "{row}: {words}");
    }
}

#[test]
fn plain_login_and_external_say_what_their_rfcs_say() {
    // The example of RFC 4616, section 4.
    let tim = || by_password("tim", "tanstaaftanstaaf");
    let (exchange, sent) = Exchange::begin(tim(), offer("PLAIN"), None).unwrap();
    assert_eq!(*sent, b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
    assert_eq!(exchange.granted(), Ok(()));
    assert!(matches!(exchange.challenged(""), Turn::Broken(_)));

    let (exchange, sent) = begin(tim(), "LOGIN", None);
    assert_eq!(sent, "AUTH LOGIN");
    assert!(exchange.granted().is_err(), "nothing was shown yet");
    let (exchange, sent) = say(exchange, "Username:");
    assert_eq!(sent, "tim");
    let (exchange, sent) = say(exchange, "Password:");
    assert_eq!((sent.as_str(), exchange.granted()), ("tanstaaftanstaaf", Ok(())));

    for (user, expected) in [("tim", "AUTH EXTERNAL tim"), ("", "AUTH EXTERNAL =")] {
        let mechanisms = Mechanisms::that_show(ProofKind::Certificate);
        let credentials = Credentials { user: user.into(), proof: Proof::Certificate, mechanisms };
        assert_eq!(begin(credentials, "EXTERNAL", None).1, expected);
    }
}

#[test]
fn tokens_are_shown_as_their_mechanisms_say_and_a_refusal_is_heard() {
    // The example of RFC 7628, section 4.1, without host and port, which are optional.
    let rows = [
        (
            "OAUTHBEARER",
            "AUTH OAUTHBEARER n,a=user@example.com,\u{1}auth=Bearer vF9dft4qmT\u{1}\u{1}",
            "\u{1}",
        ),
        ("XOAUTH2", "AUTH XOAUTH2 user=user@example.com\u{1}auth=Bearer vF9dft4qmT\u{1}\u{1}", ""),
    ];
    for (mechanism, expected, dummy) in rows {
        let (exchange, sent) = begin(by_token("user@example.com", "vF9dft4qmT"), mechanism, None);
        assert_eq!((sent.as_str(), exchange.granted()), (expected, Ok(())), "{mechanism}");
        let (exchange, sent) = say(exchange, "{\"status\":\"invalid_token\"}\r\n");
        assert_eq!(sent, dummy, "{mechanism}");
        assert_eq!(exchange.reason(), Some("{\"status\":\"invalid_token\"}??"));
        assert!(exchange.granted().is_err(), "what was refused is not granted");
    }
}

#[test]
fn a_first_message_that_makes_the_line_too_long_waits_for_the_challenge() {
    let token = "x".repeat(400);
    let (exchange, sent) = begin(by_token("u", &token), "XOAUTH2", None);
    assert_eq!(sent, "AUTH XOAUTH2");
    let (exchange, sent) = say(exchange, "");
    assert_eq!(sent, format!("user=u\u{1}auth=Bearer {token}\u{1}\u{1}"));
    assert_eq!(exchange.granted(), Ok(()));
}

#[test]
fn scram_agrees_with_the_example_of_rfc_7677_and_proves_both_sides() {
    let (exchange, sent) = begin(by_password("user", "pencil"), "SCRAM-SHA-256", fresh(None));
    assert_eq!(sent, "AUTH SCRAM-SHA-256 n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let (exchange, sent) = say(exchange, server_first);
    assert_eq!(
        sent,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert!(exchange.granted().is_err(), "it has proved nothing yet");
    let (exchange, sent) = say(exchange, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!((sent.as_str(), exchange.granted()), ("", Ok(())));
}

#[test]
fn the_flag_says_whether_we_would_have_bound() {
    let unbound = Credentials { mechanisms: offer("SCRAM-SHA-256"), ..by_password("u", "p") };
    let rows = [
        ("bound", by_password("u", "p"), "SCRAM-SHA-256-PLUS", Some([7; 32]), "p=tls-exporter,,"),
        ("it does not offer it", by_password("u", "p"), "SCRAM-SHA-256", Some([7; 32]), "y,,"),
        ("we cannot", by_password("u", "p"), "SCRAM-SHA-256", None, "n,,"),
        (
            "the route does not want it",
            unbound,
            "SCRAM-SHA-256 SCRAM-SHA-256-PLUS",
            Some([7; 32]),
            "n,,",
        ),
    ];
    for (row, credentials, offered, binding, expected) in rows {
        let (exchange, sent) = begin(credentials, offered, fresh(binding));
        let first = sent.rsplit(' ').next().unwrap();
        assert!(first.starts_with(expected), "{row}: {sent}");
        let (_, sent) = say(exchange, "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let repeated = STANDARD.decode(sent[2..].split(',').next().unwrap()).unwrap();
        let binding: &[u8] = if row == "bound" { &[7; 32] } else { &[] };
        assert_eq!(repeated, [expected.as_bytes(), binding].concat(), "{row}");
    }
}

#[test]
fn names_are_escaped() {
    let (_, sent) = begin(by_password("a=b,c", "p"), "SCRAM-SHA-512", fresh(None));
    assert_eq!(sent, "AUTH SCRAM-SHA-512 n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
    let (_, sent) = begin(by_token("a=b,c", "t"), "OAUTHBEARER", None);
    assert!(sent.starts_with("AUTH OAUTHBEARER n,a=a=3Db=2Cc,\u{1}"), "{sent}");
}

#[test]
fn a_first_message_of_the_server_is_read_strictly() {
    let good = "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let rows = [
        ("", "malformed"),
        ("r", "malformed"),
        ("r=", "malformed"),
        ("m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "malformed"),
        ("s=W22ZaJ0SNY7soEsUEjb6gQ==,r=rOprNGfwEbeRWgbNEkqOx,i=4096", "malformed"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", "malformed"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=!!,i=4096", "malformed"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=+4096", "malformed"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=", "iterations"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", "4095 iterations"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001", "1000001 iterations"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999", "iterations"),
        ("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "does not go on"),
        ("r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "does not go on"),
    ];
    let exchange = || begin(by_password("u", "p"), "SCRAM-SHA-256", fresh(None)).0;
    for (message, expected) in rows {
        match exchange().challenged(&STANDARD.encode(message)) {
            Turn::Broken(words) => assert!(words.contains(expected), "{message}: {words}"),
            turn => panic!("{message}: {turn:?}"),
        }
    }
    assert!(matches!(exchange().challenged("no base64"), Turn::Broken(_)));
    for extended in [good.to_owned(), format!("{good},x=1")] {
        assert!(matches!(exchange().challenged(&STANDARD.encode(extended)), Turn::Derive(..)));
    }
}

#[test]
fn a_next_hop_that_does_not_know_the_password_is_found_out() {
    let first = "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let exchange = || say(begin(by_password("u", "p"), "SCRAM-SHA-256", fresh(None)).0, first).0;
    for shown in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "v=", "v", "", "x=1,v=AAAA"] {
        let turn = exchange().challenged(&STANDARD.encode(shown));
        assert!(matches!(turn, Turn::Unproved(_)), "{shown}: {turn:?}");
    }
    assert!(exchange().granted().is_err(), "235 without any signature");
    let (refused, sent) = say(exchange(), "e=invalid-proof");
    assert_eq!((sent.as_str(), refused.reason()), ("", Some("invalid-proof")));
    assert!(refused.granted().is_err(), "what was refused is not granted");
    let (refused, sent) = say(begin(by_password("u", "p"), "SCRAM-SHA-256", fresh(None)).0, "e=x");
    assert_eq!((sent.as_str(), refused.reason()), ("*", Some("x")));
}

#[test]
fn a_secret_is_not_shown_in_debug_output() {
    for credentials in [by_password("u", "tanstaaf"), by_token("u", "tanstaaf")] {
        assert!(!format!("{credentials:?}").contains("116, 97, 110"));
        let (exchange, _) = begin(credentials, "SCRAM-SHA-256 XOAUTH2", fresh(None));
        assert!(!format!("{exchange:?}").contains("116, 97, 110"), "{exchange:?}");
    }
}

proptest! {
    /// Whatever a next hop says, nothing panics, and nothing is granted that was not proved.
    #[test]
    fn no_message_of_a_next_hop_panics(
        messages in proptest::collection::vec("[rsivemRn=,0-9A-Za-z+/]{0,40}", 1..6),
        mechanism in 0_usize..9,
    ) {
        let offered = Mechanism::ALL[mechanism].name();
        for credentials in [by_password("u", "p"), by_token("u", "t")] {
            let began = Exchange::begin(credentials, offer(offered), Some(fresh(Some([1; 32]))));
            let Ok((mut exchange, _)) = began else { continue };
            for message in &messages {
                for challenge in [message.clone(), STANDARD.encode(message)] {
                    let is_scram = matches!(exchange, Exchange::Scram(_));
                    exchange = match exchange.challenged(&challenge) {
                        Turn::Say(exchange, _) => exchange,
                        Turn::Derive(..) | Turn::Broken(_) | Turn::Unproved(_) => return Ok(()),
                    };
                    prop_assert!(!is_scram || exchange.granted().is_err());
                }
            }
        }
    }
}

#[test]
fn scram_and_plain_show_a_password_as_both_sides_compare_it() {
    // As the roman numeral nine and as the letters (RFC 4013, section 3).
    let shown = |user: &str, password: &str, mechanism: &str| {
        let (exchange, first) = begin(by_password(user, password), mechanism, fresh(None));
        if mechanism == "PLAIN" {
            return first;
        }
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        first + &say(exchange, challenge).1
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let written = shown("u\u{308}", "\u{2168}", mechanism);
        assert_eq!(written, shown("\u{fc}", "IX", mechanism), "{mechanism}");
    }
}
