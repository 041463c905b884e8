//! Handshakes on loopback: who is believed, what is shown, and what is said about those who are not.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Config, Pin, RouteCertificate};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut issuer = CertificateParams::new(Vec::new()).unwrap();
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    issuer.distinguished_name.push(DnType::CommonName, "an authority");
    CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key.
struct Signed {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

fn sign(by: Option<&Authority>, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let made = match by {
        Some(authority) => params.signed_by(&key, authority).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Signed { certificate: made.der().clone(), pem: made.pem(), key }
}

/// Returns a route to localhost whose `ca-file` lies in `folder`.
fn route(folder: &Path) -> Route {
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n\
         [[route]]\nname = 'r'\nhosts = ['localhost:587']\nca-file = '{}'\n",
        folder.join("ca.pem").display()
    );
    Config::parse(&text).unwrap().routes.remove(0)
}

/// Shakes hands with a server that shows `shown`; returns whether the server was shown a
/// certificate. `clients` sign those that it demands.
async fn shake(
    client: &TlsClient,
    shown: &Signed,
    clients: Option<&Authority>,
) -> Result<bool, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
    let config = config.with_single_cert(vec![shown.certificate.clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
        let has_shown = stream.get_ref().1.peer_certificates().is_some();
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(has_shown)
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = client.handshake("localhost", stream).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    // Under TLS 1.3 a server's verdict on our certificate comes after our side of the handshake.
    stream.read_exact(&mut [0]).await.map_err(|error| error.to_string())?;
    let says_so =
        client.describe(stream.get_ref().1) == "TLSv1.3, TLS13_AES_256_GCM_SHA384, not verified";
    assert_eq!(says_so, matches!(client.trusts, Trusts::Anybody));
    Ok(server.await.unwrap().unwrap())
}

#[tokio::test]
async fn who_is_believed_and_what_is_said_about_those_who_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority();
    fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    let good = sign(Some(&ca), "localhost", |_| {});
    let elsewhere = sign(Some(&ca), "mx.example.net", |_| {});
    let old = sign(Some(&ca), "localhost", |old| {
        old.not_before = date_time_ymd(2019, 1, 1);
        old.not_after = date_time_ymd(2020, 1, 2);
    });
    let early = sign(Some(&ca), "localhost", |early| early.not_before = date_time_ymd(2999, 1, 2));
    let own = sign(None, "mx.example.net", |_| {});
    let signer = sign(None, "localhost", |signer| {
        signer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let pin = |signed: &Signed| verifier::pin_of(&signed.certificate).unwrap();
    let plain = || route(folder.path());
    let pinned = |signed: &Signed| Route { pins: vec![pin(signed)], ca_file: None, ..plain() };
    let named = || Route { server_name: Some("mx.example.net".into()), ..plain() };
    let both = |signed: &Signed| Route { pins: vec![Pin([0; 32]), pin(signed)], ..plain() };
    let any = || Route { tls: RouteTls::Opportunistic, ca_file: None, ..plain() };
    let public = || Route { ca_file: None, ..plain() };
    let seen = format!("localhost has the key {}, which is not among the `pin`s", pin(&own));
    let rows = [
        ("good", plain(), &good, Ok(())),
        (
            "another name",
            plain(),
            &elsewhere,
            Err("is for mx.example.net, and localhost was wanted: ask its operator"),
        ),
        ("the name of server-name", named(), &elsewhere, Ok(())),
        (
            "not the name of server-name",
            named(),
            &good,
            Err("is for localhost, and mx.example.net was wanted"),
        ),
        ("expired", plain(), &old, Err("has expired on 2020-01-02T00:00:00Z: it must be renewed")),
        (
            "too early",
            plain(),
            &early,
            Err("not valid before 2999-01-02T00:00:00Z: are the clocks"),
        ),
        ("unknown", plain(), &own, Err("signed by nobody we trust: set `ca-file` of route r")),
        (
            "an authority's own",
            plain(),
            &signer,
            Err(
                "self-signed or an authority's own, and such a one is never verified as a server's: set \
                 `pin` of route r to its key and leave out `ca-file`, or",
            ),
        ),
        ("an authority's own, pinned", pinned(&signer), &signer, Ok(())),
        ("not public", public(), &good, Err("signed by nobody we trust")),
        ("pinned", pinned(&own), &own, Ok(())),
        ("pinned and old", pinned(&old), &old, Ok(())),
        ("another key than the pinned", pinned(&good), &own, Err(seen.as_str())),
        ("pinned and by the authority", both(&good), &good, Ok(())),
        ("pinned and not by the authority", both(&own), &own, Err("signed by nobody we trust")),
        ("by the authority and not pinned", both(&own), &good, Err("not among the `pin`s")),
        ("anybody", any(), &own, Ok(())),
        ("anybody, old", any(), &old, Ok(())),
    ];
    for (row, route, shown, expected) in rows {
        let client = TlsClient::for_route(&route).unwrap();
        match (shake(&client, shown, None).await, expected) {
            (Ok(_), Ok(())) => {}
            (Err(words), Err(expected)) => assert!(words.contains(expected), "{row}: {words}"),
            (got, _) => panic!("{row}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn our_certificate_is_shown_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let ca = authority();
    let (server, ours) = (sign(Some(&ca), "localhost", |_| {}), sign(Some(&ca), "us", |_| {}));
    fs::write(file("ca.pem"), ca.pem()).unwrap();
    fs::write(file("us.pem"), &ours.pem).unwrap();
    fs::write(file("key.pem"), ours.key.serialize_pem()).unwrap();
    fs::write(file("other-key.pem"), server.key.serialize_pem()).unwrap();
    let with = |certificate: &str, key: &str| {
        let certificate = Some(RouteCertificate { certificate: file(certificate), key: file(key) });
        TlsClient::for_route(&Route { certificate, ..route(folder.path()) })
    };
    // As an exchange of the key that was cut off leaves it.
    let both = server.key.serialize_pem() + &ours.key.serialize_pem();
    fs::write(file("both-keys.pem"), both).unwrap();
    for key in ["key.pem", "both-keys.pem"] {
        let ours = with("us.pem", key).unwrap();
        assert_eq!(shake(&ours, &server, Some(&ca)).await, Ok(true), "{key}");
    }
    let ours = with("us.pem", "key.pem").unwrap();
    assert_eq!(shake(&ours, &server, None).await, Ok(false), "nobody asked");
    let none = TlsClient::for_route(&route(folder.path())).unwrap();
    let words = shake(&none, &server, Some(&ca)).await.unwrap_err();
    assert!(words.contains("CertificateRequired"), "{words}");
    for (certificate, key, expected) in [
        ("us.pem", "other-key.pem", "do not fit"),
        ("us.pem", "missing.pem", "client-key"),
        ("missing.pem", "key.pem", "client-certificate"),
        ("key.pem", "key.pem", "it holds no certificate"),
    ] {
        let words = with(certificate, key).err().expect("it is refused").to_string();
        assert!(words.contains(expected), "{certificate} {key}: {words}");
    }
}

#[tokio::test]
async fn a_changed_file_counts_at_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (authority(), authority());
    let trust = Trust::of(&route(folder.path()), &Journal::memory());
    let words = trust.now().await.err().expect("there is no file");
    assert!(words.contains("ca-file") && words.contains("of route r cannot be read"), "{words}");
    let shown = sign(Some(&second), "localhost", |_| {});
    for (authority, is_good) in [(&first, false), (&second, true), (&first, false)] {
        let new = folder.path().join("ca.pem.new");
        fs::write(&new, authority.pem()).unwrap();
        fs::rename(&new, folder.path().join("ca.pem")).unwrap();
        let client = trust.now().await.unwrap();
        assert_eq!(shake(&client, &shown, None).await.is_ok(), is_good);
    }
    fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
    let words = trust.now().await.err().expect("nobody is trusted");
    assert!(words.contains("holds no usable certificate"), "{words}");
}
