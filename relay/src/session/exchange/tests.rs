//! Lines of clients in, proofs out; SCRAM against rsasl's own client.

use proptest::prelude::*;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::prelude::{Mechname, Registry, SASLClient, SASLConfig, SessionError};
use rsasl::property::{AuthId, ChannelBindings, Password as RawPassword};

use super::*;
use crate::policy::credential::{Hash, Keys};

fn run(mechanism: &str, initial: Option<&str>, lines: &[&str]) -> Result<Turn, ExchangeFault> {
    run_with(Means::default(), mechanism, initial, lines)
}

fn run_with(
    means: Means,
    mechanism: &str,
    initial: Option<&str>,
    lines: &[&str],
) -> Result<Turn, ExchangeFault> {
    let mut turn = Exchange::begin(mechanism, initial, means)?;
    for line in lines {
        let Turn::Challenge(exchange, _) = turn else { panic!("no answer is due to {line}") };
        turn = exchange.respond(line.as_bytes())?;
    }
    Ok(turn)
}

fn credentials(turn: Result<Turn, ExchangeFault>) -> (String, Vec<u8>, Option<String>) {
    match turn {
        Ok(Turn::Complete(Proof::Password(Credentials { login, password, acts_as }))) => {
            (login, password.to_vec(), acts_as)
        }
        other => panic!("no credentials: {other:?}"),
    }
}

#[test]
fn plain_and_login_give_what_the_client_showed() {
    let joe = || ("joe".to_owned(), b"secret".to_vec(), None);
    // NUL joe NUL secret
    assert_eq!(credentials(run("PLAIN", Some("AGpvZQBzZWNyZXQ="), &[])), joe());
    assert_eq!(credentials(run("PLAIN", None, &["AGpvZQBzZWNyZXQ="])), joe());
    assert_eq!(credentials(run("LOGIN", None, &["am9l", "c2VjcmV0"])), joe());
    assert_eq!(credentials(run("LOGIN", Some("am9l"), &["c2VjcmV0"])), joe());
    // ann NUL joe NUL secret
    let (_, _, acts_as) = credentials(run("PLAIN", Some("YW5uAGpvZQBzZWNyZXQ="), &[]));
    assert_eq!(acts_as.as_deref(), Some("ann"));
}

#[test]
fn prompts_are_those_that_clients_look_for() {
    let prompt = |turn: Result<Turn, ExchangeFault>| match turn {
        Ok(Turn::Challenge(_, text)) => text,
        other => panic!("no challenge: {other:?}"),
    };
    assert_eq!(prompt(run("PLAIN", None, &[])), "");
    assert_eq!(prompt(run("LOGIN", None, &[])), "VXNlcm5hbWU6");
    assert_eq!(prompt(run("LOGIN", None, &["am9l"])), "UGFzc3dvcmQ6");
    assert_eq!(prompt(run("LOGIN", Some("am9l"), &[])), "UGFzc3dvcmQ6");
    assert_eq!(prompt(run("LOGIN", Some("="), &[])), "UGFzc3dvcmQ6");
}

#[test]
fn faults_are_told_apart() {
    use ExchangeFault::{Base64, Cancelled, Malformed, Unknown};
    type Row<'a> = (&'a str, Option<&'a str>, &'a [&'a str], ExchangeFault);
    let rows: &[Row<'_>] = &[
        ("CRAM-MD5", None, &[], Unknown),
        ("SCRAM-SHA-256-PLUS", None, &[], Unknown),
        ("EXTERNAL", None, &[], Unknown),
        ("OAUTHBEARER", None, &[], Unknown),
        ("PLAIN", None, &["*"], Cancelled),
        ("LOGIN", None, &["am9l", "*"], Cancelled),
        ("PLAIN", None, &["="], Base64),
        ("PLAIN", None, &["AGpvZQBzZWNyZXQ"], Base64),
        ("PLAIN", None, &["AGpv=QBzZWNyZXQ="], Base64),
        ("PLAIN", None, &["AGpvZQBz ZWNyZXQ="], Base64),
        ("PLAIN", None, &["AGpvZQBzZWNyZXR="], Base64),
        ("PLAIN", Some("****"), &[], Base64),
        ("PLAIN", Some("="), &[], Malformed),
        ("PLAIN", None, &[""], Malformed),
        ("PLAIN", Some("am9l"), &[], Malformed),
        // NUL joe NUL, and NUL joe NUL a NUL b, and NUL NUL secret
        ("PLAIN", Some("AGpvZQA="), &[], Malformed),
        ("PLAIN", Some("AGpvZQBhAGI="), &[], Malformed),
        ("PLAIN", Some("AABzZWNyZXQ="), &[], Malformed),
        // NUL 0xff NUL a
        ("PLAIN", Some("AP8AYQ=="), &[], Malformed),
        ("LOGIN", None, &["/w=="], Malformed),
    ];
    for (mechanism, initial, lines, fault) in rows {
        let found = run(mechanism, *initial, lines).map(|_| ());
        assert_eq!(found, Err(*fault), "{mechanism} {initial:?} {lines:?}");
    }
}

const MEANS: fn() -> Means = || Means {
    exporter: Some([7; 32]),
    names: vec!["app".to_owned(), "app.example.net".to_owned()],
    tokens: Tokens::Checked,
};

/// Stored keys of the password "pencil", and a client that knows it.
struct Pencil {
    hash: Hash,
    plus: bool,
}

impl Pencil {
    fn name(&self) -> String {
        let hash = match self.hash {
            Hash::Sha256 => "256",
            Hash::Sha512 => "512",
        };
        format!("SCRAM-SHA-{hash}{}", if self.plus { "-PLUS" } else { "" })
    }

    fn stored(&self) -> StoredKeys {
        let (salt, iterations) = (b"salt of sixteen.".to_vec(), 4096.try_into().unwrap());
        StoredKeys { keys: Keys::derive(self.hash, b"pencil", &salt, iterations), iterations, salt }
    }

    /// Runs an exchange up to the server's first message, with rsasl as the client.
    fn client(&self, password: &'static str, exporter: [u8; 32]) -> rsasl::prelude::Session {
        let mechanism = Mechanism::named(&self.name(), &MEANS()).unwrap();
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(mechanism.registered()))
            .with_callback(ClientFacts { password, exporter })
            .unwrap();
        let name = self.name();
        let name = Mechname::parse(name.as_bytes()).unwrap().to_owned();
        SASLClient::new(config).start_suggested([&name]).unwrap()
    }
}

struct ClientFacts {
    password: &'static str,
    exporter: [u8; 32],
}

impl SessionCallback for ClientFacts {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request
            .satisfy::<AuthId>("user")?
            .satisfy::<RawPassword>(self.password.as_bytes())?
            .satisfy::<ChannelBindings>(&self.exporter)?;
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        true
    }
}

/// Runs one exchange of SCRAM with a client of rsasl; returns what the server concludes, and
/// whether the client believes the server.
fn scram(pencil: &Pencil, password: &'static str, exporter: [u8; 32]) -> (Turn, bool) {
    let means = if pencil.plus { MEANS() } else { Means::default() };
    let mut client = pencil.client(password, exporter);
    let mut said = Vec::new();
    client.step(None, &mut said).unwrap();
    let first = STANDARD.encode(&said);
    let Ok(Turn::Lookup(exchange, wanted)) = Exchange::begin(&pencil.name(), Some(&first), means)
    else {
        panic!("keys are due to {first}")
    };
    assert_eq!(wanted, Wanted { login: "user".to_owned(), hash: pencil.hash });
    let Ok(Turn::Challenge(exchange, text)) = exchange.keys(pencil.stored()) else { panic!() };
    said.clear();
    client.step(Some(&STANDARD.decode(text).unwrap()), &mut said).unwrap();
    match exchange.respond(STANDARD.encode(&said).as_bytes()).unwrap() {
        Turn::Sign(signing, proof) => {
            let Turn::Challenge(exchange, text) = signing.granted("user".to_owned()) else {
                panic!("our own proof is due")
            };
            said.clear();
            let believes = client.step(Some(&STANDARD.decode(text).unwrap()), &mut said).is_ok();
            assert!(matches!(exchange.respond(b""), Ok(Turn::Signed(login)) if login == "user"));
            (Turn::Complete(proof), believes)
        }
        other => (other, false),
    }
}

#[test]
fn scram_proves_both_sides_to_each_other() {
    for hash in [Hash::Sha256, Hash::Sha512] {
        for plus in [false, true] {
            let pencil = Pencil { hash, plus };
            let (turn, believes) = scram(&pencil, "pencil", [7; 32]);
            let Turn::Complete(proof) = turn else { panic!("{turn:?}") };
            assert_eq!(proof, Proof::Keys { login: "user".to_owned(), acts_as: None });
            assert!(believes, "{}", pencil.name());
            let (turn, _) = scram(&pencil, "crayon", [7; 32]);
            let Turn::Complete(proof) = turn else { panic!("{turn:?}") };
            assert_eq!(proof, Proof::NoKeys { login: "user".to_owned() });
        }
    }
}

#[test]
fn scram_of_another_connection_fails() {
    let (turn, _) = scram(&Pencil { hash: Hash::Sha256, plus: true }, "pencil", [8; 32]);
    assert!(matches!(turn, Turn::Complete(Proof::NoKeys { .. })), "{turn:?}");
}

/// The exchange in RFC 7677, section 3, cannot be replayed, since the server draws its nonce; what
/// must fail whatever the nonce is can.
#[test]
fn wrong_words_of_scram_fail() {
    use ExchangeFault::{Base64, Binding, Cancelled, Malformed};
    let first = |text: &str, means: Means, name: &str| {
        run_with(means, name, Some(&STANDARD.encode(text)), &[]).map(|_| ())
    };
    let name = "SCRAM-SHA-256";
    assert_eq!(first("n,,n=u,r=a", MEANS(), name), Ok(()));
    assert_eq!(first("n,x,n=u,r=a", MEANS(), name), Err(Malformed));
    assert_eq!(first("y,,n=u,r=a", MEANS(), name), Err(Binding));
    assert_eq!(first("y,,n=u,r=a", Means::default(), name), Ok(()));
    assert_eq!(first("p=tls-exporter,,n=u,r=a", MEANS(), name), Err(Binding));
    assert_eq!(first("n,,n=u,r=a", MEANS(), "SCRAM-SHA-256-PLUS"), Err(Binding));
    assert_eq!(first("p=tls-unique,,n=u,r=a", MEANS(), "SCRAM-SHA-256-PLUS"), Err(Binding));

    let pencil = Pencil { hash: Hash::Sha256, plus: false };
    let at_final = || {
        let first = STANDARD.encode("n,,n=user,r=abc");
        let turn = Exchange::begin(name, Some(&first), Means::default()).unwrap();
        let Turn::Lookup(exchange, _) = turn else { panic!() };
        let Turn::Challenge(exchange, text) = exchange.keys(pencil.stored()).unwrap() else {
            panic!()
        };
        let text = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
        let nonce = text.split(',').next().unwrap().strip_prefix("r=").unwrap().to_owned();
        assert!(nonce.starts_with("abc") && nonce.len() > 20, "{text}");
        assert!(text.ends_with(",i=4096"), "{text}");
        (exchange, nonce)
    };
    let proof = STANDARD.encode([0; 32]);
    for (of_server, binding) in [(true, "biws"), (false, "biws"), (true, "eSws")] {
        let (exchange, nonce) = at_final();
        let nonce = if of_server { nonce } else { "abcdef".to_owned() };
        let said = STANDARD.encode(format!("c={binding},r={nonce},p={proof}"));
        let turn = exchange.respond(said.as_bytes());
        assert!(matches!(turn, Ok(Turn::Complete(Proof::NoKeys { .. }))), "{turn:?}");
    }
    for (line, fault) in [
        (STANDARD.encode("c=biws,r=abc"), Malformed),
        (STANDARD.encode("c=biws,r=abc,m=x,p=AAAA"), Malformed),
        (String::new(), Malformed),
        ("not base64".to_owned(), Base64),
        ("*".to_owned(), Cancelled),
    ] {
        let (exchange, _) = at_final();
        assert_eq!(exchange.respond(line.as_bytes()).map(|_| ()), Err(fault), "{line}");
    }
}

#[test]
fn a_certificate_proves_its_names() {
    let external = |initial| run_with(MEANS(), "EXTERNAL", initial, &[]);
    for (initial, wanted) in [(Some("="), None), (Some("YXBw"), Some("app"))] {
        let Ok(Turn::Complete(Proof::Certificate { names, acts_as })) = external(initial) else {
            panic!("no proof")
        };
        assert_eq!((names[0].as_str(), acts_as.as_deref()), ("app", wanted));
    }
    assert_eq!(external(Some("/w==")).map(|_| ()), Err(ExchangeFault::Malformed));
}

#[test]
fn tokens_are_read_and_their_refusal_is_explained() {
    let token =
        |name: &str, text: &str| match run_with(MEANS(), name, Some(&STANDARD.encode(text)), &[]) {
            Ok(Turn::Complete(Proof::Token(token))) => Ok(token),
            Ok(other) => panic!("no token: {other:?}"),
            Err(fault) => Err(fault),
        };
    let shown = token("OAUTHBEARER", "n,a=us=2Cer,\x01auth=Bearer a.b.c\x01\x01").unwrap();
    assert_eq!((shown.text.as_str(), shown.claims.as_deref()), ("a.b.c", Some("us,er")));
    let shown = token("OAUTHBEARER", "n,,\x01host=x\x01auth=bearer a.b.c\x01\x01").unwrap();
    assert_eq!((shown.text.as_str(), shown.claims.as_deref()), ("a.b.c", None));
    let shown = token("XOAUTH2", "user=app\x01auth=Bearer a.b.c\x01\x01").unwrap();
    assert_eq!((shown.text.as_str(), shown.claims.as_deref()), ("a.b.c", Some("app")));
    for text in
        ["", "n,,", "n,,\x01auth=a.b.c\x01\x01", "n,,\x01auth=Basic abc\x01\x01", "n,,\x01\x01"]
    {
        assert_eq!(token("OAUTHBEARER", text), Err(ExchangeFault::Malformed), "{text:?}");
    }
    for text in ["", "user=app", "user=app\x01auth=a\x01\x01"] {
        assert_eq!(token("XOAUTH2", text), Err(ExchangeFault::Malformed), "{text:?}");
    }
    for by in [TokenMechanism::OAuthBearer, TokenMechanism::XOAuth2] {
        let Turn::Challenge(exchange, text) = Exchange::after_refused_token(by) else { panic!() };
        let told: serde_json::Value =
            serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap();
        assert!(told["status"].is_string());
        assert!(matches!(exchange.respond(b"AQ=="), Ok(Turn::Refused)));
    }
}

proptest! {
    /// rsasl's own parsers panic at thousands of these.
    #[test]
    fn no_message_of_any_mechanism_panics(
        place in 0_usize..9,
        start in prop_oneof![
            Just("n,,n=user,r=abc"), Just("n,"), Just("p=tls-exporter,,"), Just("c=biws,r="), Just("n,,\x01auth=")
        ],
        cut in 0_usize..20,
        end in proptest::collection::vec(any::<u8>(), 0..20),
        then in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let names = offered(&MEANS());
        let name = names.split(' ').nth(place).unwrap();
        let mut message = start.as_bytes()[..cut.min(start.len())].to_vec();
        message.extend(end);
        let keys = || Pencil { hash: if name.contains("512") { Hash::Sha512 } else { Hash::Sha256 }, plus: false }.stored();
        let mut turn = Exchange::begin(name, Some(&STANDARD.encode(&message)), MEANS());
        for _ in 0..4 {
            turn = match turn {
                Ok(Turn::Challenge(exchange, _)) => exchange.respond(STANDARD.encode(&then).as_bytes()),
                Ok(Turn::Lookup(exchange, _)) => exchange.keys(keys()),
                Ok(Turn::Sign(signing, _)) => Ok(signing.granted("user".to_owned())),
                Ok(Turn::Complete(_) | Turn::Signed(_) | Turn::Refused) | Err(_) => break,
            };
        }
    }
}

proptest! {
    #[test]
    fn no_response_panics(
        response in proptest::collection::vec(any::<u8>(), 0..80),
        login in any::<bool>(),
    ) {
        let mechanism = if login { "LOGIN" } else { "PLAIN" };
        let text = STANDARD.encode(&response);
        if let Ok(Turn::Challenge(exchange, _)) =
            Exchange::begin(mechanism, Some(&text), Means::default())
        {
            let _ = exchange.respond(&response);
        }
    }
}
