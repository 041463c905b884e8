//! How TLS begins and ends on the front door, and whom a client's certificate lets in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use relay::config::{ClientCertificates, ListenerTls};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::{Both, Client, base64, trusting};
use crate::{House, MANY, MESSAGE, SOON, submit};

/// A connection that sends at most `step` octets at a time, and breaks when `left` are sent.
struct Thin {
    stream: Box<dyn Both>,
    step: usize,
    left: usize,
}

impl AsyncRead for Thin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Thin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let octets = &octets[..self.step.min(self.left).min(octets.len())];
        let sent = Pin::new(&mut self.stream).poll_write(context, octets);
        if let Poll::Ready(Ok(octets)) = sent {
            self.left -= octets;
        }
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("relay.example.net").unwrap()
}

/// What a client of TLS 1.3 says first.
fn hello(house: &House) -> Vec<u8> {
    let config = Arc::new(trusting(&house.certificate).with_no_client_auth());
    let mut client = rustls::ClientConnection::new(config, name()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

async fn no_sessions(house: &House) {
    timeout(SOON, house.door.sessions.empty()).await.expect("no session is left");
}

#[tokio::test]
async fn what_is_no_handshake_closes_the_connection() {
    for tls in [ListenerTls::Starttls, ListenerTls::Implicit] {
        for octets in [&b"EHLO in.the.clear\r\n"[..], b"\r\n", b"Q", b"\x80\x2e\x01\x03\x01"] {
            let house = House::open(MANY, tls);
            let mut client = house.client().await;
            if tls == ListenerTls::Starttls {
                client.expect("220 ").await;
                client.ask("EHLO client.example.net", "250 ").await;
                client.ask("STARTTLS", "220 ").await;
            }
            client.send(octets).await;
            let said = client.read_to_close().await;
            assert_eq!(said, "", "after {octets:?}");
            no_sessions(&house).await;
        }
    }
}

#[tokio::test]
async fn an_implicit_listener_greets_under_tls() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let mut client = house.client().await.secure(&house.certificate).await;
    client.expect("220 relay.example.net").await;
    client.ask("EHLO client.example.net", "250 ").await;
    client.ask(&format!("AUTH PLAIN {}", house.joe), "235 2.7.0").await;
    submit(&mut client).await;
    client.ask(".", "250 2.0.0").await;
}

#[tokio::test]
async fn an_implicit_listener_says_nothing_before_the_handshake() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let mut stream = house.client().await.into_stream();
    stream.write_all(&hello(&house)).await.unwrap();
    let mut first = [0; 3];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [22, 3, 3], "a handshake record, and no greeting before it");
}

#[tokio::test]
async fn only_the_protocol_name_smtp_is_agreed_on() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let client = house.client().await.secure_as(&house.certificate, &[b"smtp"]).await;
    client.expect("a connection").expect("220 ").await;
    let browser = house.client().await.secure_as(&house.certificate, &[b"h2", b"http/1.1"]).await;
    assert!(browser.is_err(), "a browser's handshake fails");
}

#[tokio::test]
async fn a_handshake_that_breaks_at_any_octet_leaves_no_session() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let hello = hello(&house);
    for octets in 0..hello.len() {
        let mut stream = house.client().await.into_stream();
        stream.write_all(&hello[..octets]).await.unwrap();
        drop(stream);
        no_sessions(&house).await;
    }
    // And what a client says after it has heard us.
    let config = Arc::new(trusting(&house.certificate).with_no_client_auth());
    let connector = TlsConnector::from(config);
    let mut left = hello.len();
    loop {
        let thin = Thin { stream: house.client().await.into_stream(), step: usize::MAX, left };
        if connector.connect(name(), thin).await.is_ok() {
            break;
        }
        no_sessions(&house).await;
        left += 1;
    }
    assert!(left > hello.len() + 50, "a whole Finished, octet by octet");
    no_sessions(&house).await;
}

#[tokio::test]
async fn a_client_of_one_octet_a_segment_is_served_like_any_other() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let connector =
        TlsConnector::from(Arc::new(trusting(&house.certificate).with_no_client_auth()));
    let thin = Thin { stream: house.client().await.into_stream(), step: 1, left: usize::MAX };
    let mut client = Client::over(connector.connect(name(), thin).await.unwrap());
    client.expect("220 ").await;
    client.ask("EHLO client.example.net", "250 ").await;
    client.ask(&format!("AUTH PLAIN {}", house.joe), "235 2.7.0").await;
    submit(&mut client).await;
    client.ask(".", "250 2.0.0").await;
    assert_eq!(house.messages(), 1);
}

#[tokio::test]
async fn a_handshake_has_a_deadline_of_its_own() {
    let wait = Duration::from_millis(200);
    for tls in [ListenerTls::Starttls, ListenerTls::Implicit] {
        let house = House::open_as(MANY, tls, |config| config.limits.handshake = wait);
        let mut client = house.client().await;
        if tls == ListenerTls::Starttls {
            client.expect("220 ").await;
            client.ask("EHLO client.example.net", "250 ").await;
            client.ask("STARTTLS", "220 ").await;
        }
        let begin = Instant::now();
        client.send(&[22, 3, 1]).await;
        assert_eq!(client.read_to_close().await, "");
        assert!(begin.elapsed() >= wait / 2, "the client was given its time");
        no_sessions(&house).await;
    }
}

#[tokio::test]
async fn what_ends_before_the_final_dot_leaves_nothing() {
    enum End {
        Cut,
        Announced,
    }
    let house = House::open(MANY, ListenerTls::Starttls);
    for (text, end) in [
        ("", End::Cut),
        (".", End::Cut),
        (".\r", End::Cut),
        ("", End::Announced),
        (".\r", End::Announced),
    ] {
        let mut client = house.joe().await;
        submit(&mut client).await;
        client.send(text.as_bytes()).await;
        match end {
            End::Cut => drop(client),
            End::Announced => {
                client.end().await;
                client.expect_announced_close().await;
            }
        }
        no_sessions(&house).await;
        assert_eq!(house.messages(), 0, "after {text:?}");
    }
}

#[tokio::test]
async fn the_end_is_announced_to_a_client_that_quits() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.joe().await;
    submit(&mut client).await;
    client.send(b".\r\nQUIT\r\n").await;
    client.end().await;
    client.expect("250 2.0.0").await;
    client.expect("221 2.0.0").await;
    client.expect_announced_close().await;
    assert_eq!(house.messages(), 1);
    assert!(MESSAGE.ends_with("\r\n"), "the dot stood in a line of its own");
}

#[tokio::test]
async fn a_new_certificate_is_seen_within_five_seconds_and_old_sessions_live_on() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let mut old = house.client().await.secure(&house.certificate).await;
    old.expect("220 ").await;
    let made = rcgen::generate_simple_self_signed(["relay.example.net".to_owned()]).unwrap();
    let tls = &house.door.config.tls;
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let changed = Instant::now();
    let new = made.cert.der().clone();
    while house.client().await.secure_as(&new, &[]).await.is_err() {
        assert!(changed.elapsed() < Duration::from_secs(5), "the old certificate is still shown");
    }
    old.ask("EHLO client.example.net", "250 ").await;
    old.ask(&format!("AUTH PLAIN {}", house.joe), "235 2.7.0").await;
}

#[tokio::test]
async fn a_second_connection_of_a_client_resumes_the_first() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let config = Arc::new(trusting(&house.certificate).with_no_client_auth());
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let stream = house.client().await.into_stream();
        let connect = TlsConnector::from(Arc::clone(&config)).connect(name(), stream);
        let mut stream = timeout(SOON, connect).await.unwrap().unwrap();
        // The tickets come before the greeting.
        stream.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn a_login_can_be_bound_to_the_connection() {
    let house = House::open(MANY, ListenerTls::Implicit);
    let mut client = house.client().await.secure(&house.certificate).await;
    client.expect("220 ").await;
    client.ask("EHLO client.example.net", "250 ").await;
    let first = base64(b"p=tls-exporter,,n=joe,r=0123456789abcdef");
    client.ask(&format!("AUTH SCRAM-SHA-256-PLUS {first}"), "334 ").await;
}

/// A listener with an authority of clients, and a client's configuration with its certificate.
fn house_with_clients(certificates: ClientCertificates) -> (House, ClientConfig) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["app.example.net".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();

    let house = House::open_as(MANY, ListenerTls::Implicit, |config| {
        let path = config.tls.certificate.with_file_name("client-ca");
        std::fs::write(&path, pem).unwrap();
        config.tls.client_ca = Some(path);
        config.listeners[0].client_certificates = certificates;
    });
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let client = trusting(&house.certificate);
    let client = client.with_client_auth_cert(vec![leaf.der().clone()], key).unwrap();
    (house, client)
}

#[tokio::test]
async fn a_required_certificate_is_a_login_and_nobody_is_greeted_without_one() {
    let (house, shown) = house_with_clients(ClientCertificates::Required);
    let client = house.client().await.secure_by(shown).await;
    let mut client = client.expect("a connection");
    client.expect("220 ").await;
    client.ask("EHLO client.example.net", "250 ").await;
    client.ask("AUTH EXTERNAL =", "235 2.7.0").await;
    drop(client);
    // Under TLS 1.3 the client hears of it after its own last word.
    if let Ok(mut client) = house.client().await.secure_as(&house.certificate, &[]).await {
        assert_eq!(client.read_to_close().await, "");
    }
    no_sessions(&house).await;
}

#[tokio::test]
async fn a_listener_that_asks_for_certificates_greets_a_client_without_one() {
    let (house, shown) = house_with_clients(ClientCertificates::Optional);
    let mut client = house.client().await.secure(&house.certificate).await;
    client.expect("220 ").await;
    client.ask("EHLO client.example.net", "250 ").await;
    client.ask("AUTH EXTERNAL =", "504 5.5.4").await;
    house.client().await.secure_by(shown).await.expect("a connection").expect("220 ").await;
}
