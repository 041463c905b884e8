//! What is spoken: versions, groups, names of protocols, tickets, and what both ends can export.

use ::aws_lc_rs::aead;
use rustls::crypto::SupportedKxGroup;
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, Error, HandshakeKind, NamedGroup, PeerMisbehaved,
};

use super::*;

fn client(files: &Files, version: &'static SupportedProtocolVersion) -> ClientConfig {
    files.authority.trusted_with(&[version]).with_no_client_auth()
}

fn shown(server: &ServerTls) -> Option<Arc<ServerConfig>> {
    server.current(ClientCertificates::None)
}

#[test]
fn the_key_exchange_is_post_quantum_where_the_client_can() {
    let files = Files::new();
    let server = files.load().unwrap();
    for (version, group) in [
        (&rustls::version::TLS13, NamedGroup::X25519MLKEM768),
        (&rustls::version::TLS12, NamedGroup::X25519),
    ] {
        let met = meet(&Arc::new(client(&files, version)), shown(&server), NAME).unwrap();
        let agreed = met.server.negotiated_key_exchange_group().map(SupportedKxGroup::name);
        assert_eq!(agreed, Some(group));
    }
}

#[test]
fn a_client_resumes_until_the_files_change() {
    let files = Files::new();
    let server = files.load().unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Arc::new(client(&files, version));
        let kind = || {
            let met = meet(&client, shown(&server), NAME).unwrap();
            assert_eq!(met.client.handshake_kind(), met.server.handshake_kind());
            met.server.handshake_kind()
        };
        assert_eq!(kind(), Some(HandshakeKind::Full));
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
        files.renew();
        look_again(&server);
        assert_eq!(kind(), Some(HandshakeKind::Full));
    }
}

/// What came of an offer of protocol names: no handshake, or one with or without a name.
type Agreed = Option<Option<&'static [u8]>>;

#[test]
fn only_the_protocol_name_of_mail_is_agreed_on() {
    let files = Files::new();
    let server = files.load().unwrap();
    let rows: [(&[&str], Agreed); 5] = [
        (&[], Some(None)),
        (&["smtp"], Some(Some(b"smtp"))),
        (&["h2", "smtp"], Some(Some(b"smtp"))),
        (&["h2"], None),
        (&["http/1.1", "SMTP"], None),
    ];
    for (names, expected) in rows {
        let mut client = client(&files, &rustls::version::TLS13);
        client.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        match (meet(&Arc::new(client), shown(&server), NAME), expected) {
            (Ok(met), Some(agreed)) => assert_eq!(met.server.alpn_protocol(), agreed, "{names:?}"),
            (Err(refusal), None) => assert_eq!(refusal, Error::NoApplicationProtocol),
            (Ok(_), None) | (Err(_), Some(_)) => panic!("{names:?}"),
        }
    }
}

#[test]
fn both_ends_of_tls_1_3_export_the_same_binding_and_no_two_connections_do() {
    let files = Files::new();
    let server = files.load().unwrap();
    let config = Arc::new(client(&files, &rustls::version::TLS13));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let met = meet(&config, shown(&server), NAME).unwrap();
        let ours = exporter(&met.server).expect("a binding");
        let label = b"EXPORTER-Channel-Binding";
        let theirs = met.client.export_keying_material([0; 32], label, Some(b"")).unwrap();
        assert_eq!(ours, theirs);
        seen.push(ours);
    }
    assert_ne!(seen[0], seen[1], "the second is resumed, and another connection all the same");

    let met = meet(&Arc::new(client(&files, &rustls::version::TLS12)), shown(&server), NAME);
    assert_eq!(exporter(&met.unwrap().server), None);
    let untouched = ServerConnection::new(shown(&server).unwrap()).unwrap();
    assert_eq!(exporter(&untouched), None);
}

/// A hello of this version of TLS, as old clients send it: no `supported_versions`.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let extensions: [&[u8]; 3] = [
        b"\x00\x0a\x00\x04\x00\x02\x00\x1d", // groups: x25519
        b"\x00\x0b\x00\x02\x01\x00",         // points: uncompressed
        b"\x00\x0d\x00\x04\x00\x02\x04\x03", // signatures: ECDSA with P-256
    ];
    let extensions = extensions.concat();
    let mut body = [&version[..], &[7; 32], b"\x00\x00\x04\xc0\x0a\xc0\x2b\x01\x00\x00"].concat();
    body.push(extensions.len() as u8);
    body.extend(extensions);
    let octets = body.len() as u8;
    [&[22, 3, 1, 0, octets + 4, 1, 0, 0, octets][..], &body].concat()
}

#[test]
fn tls_1_1_is_refused_with_an_alert() {
    let files = Files::new();
    let listeners = files.load().unwrap();
    let answer = |version| {
        let mut server = ServerConnection::new(shown(&listeners).unwrap()).unwrap();
        server.read_tls(&mut &hello(version)[..]).unwrap();
        let answer = server.process_new_packets().map(|_| ());
        let mut said = Vec::new();
        server.write_tls(&mut said).unwrap();
        (answer, said)
    };
    assert_eq!(answer([3, 3]).0, Ok(()), "the same hello of TLS 1.2 is welcome");
    for older in [[3, 2], [3, 1], [3, 0]] {
        let (answer, said) = answer(older);
        assert!(matches!(answer, Err(Error::PeerIncompatible(_))), "{answer:?}");
        assert_eq!(said[0], 21, "an alert");
        assert_eq!(said[5..], [2, 70], "fatal, protocol_version");
    }
}

/// Seals handshake messages as the client of a TLS 1.2 session would (RFC 7905, section 2).
struct Sealer {
    key: aead::LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sealer {
    fn of(client: ClientConnection) -> Self {
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another suite")
        };
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key.as_ref()).unwrap();
        let iv = iv.as_ref().try_into().unwrap();
        Self { key: aead::LessSafeKey::new(key), iv, sequence }
    }

    fn handshake_record(&mut self, message: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (octet, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *octet ^= of_sequence;
        }
        let head = |octets: usize| {
            let octets = u16::try_from(octets).unwrap().to_be_bytes();
            [22, 3, 3, octets[0], octets[1]]
        };
        let about = [&self.sequence.to_be_bytes()[..], &head(message.len())].concat();
        let mut sealed = message.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, aead::Aad::from(about), &mut sealed).unwrap();
        self.sequence += 1;
        [&head(sealed.len())[..], &sealed].concat()
    }
}

#[test]
fn a_session_is_never_negotiated_anew() {
    let files = Files::new();
    let server = files.load().unwrap();
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        suite.suite() == CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    });
    let mut roots = RootCertStore::empty();
    roots.add(files.authority.root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    let Met { client, mut server } = meet(&config, shown(&server), NAME).unwrap();

    let name = ServerName::try_from(NAME).unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    let mut sealer = Sealer::of(client);
    let mut again = || {
        let record = sealer.handshake_record(&hello[5..]);
        server.read_tls(&mut &record[..]).unwrap();
        let answer = server.process_new_packets().map(|_| ());
        let mut said = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut said).unwrap();
        }
        (answer, said.first().copied(), server.is_handshaking())
    };
    assert_eq!(again(), (Ok(()), Some(21), false), "an alert says no, and the session goes on");
    let refusal = Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests);
    assert_eq!(again().0, Err(refusal), "who asks twice is cut");
}
