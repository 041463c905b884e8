//! Certificates of clients, and what tickets remember of them.

use rustls::{CertificateError, Error, HandshakeKind};

use super::*;

/// Files with an authority of clients, and that authority.
fn with_clients() -> (Files, Authority) {
    let mut files = Files::new();
    let authority = Authority::new("clients");
    files.config.tls.client_ca = Some(files.put("ca.pem", &authority.pem));
    (files, authority)
}

fn showing(
    files: &Files,
    signed: &Signed,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let client = files.authority.trusted_with(&[version]);
    let key = signed.key.clone_key();
    Arc::new(client.with_client_auth_cert(vec![signed.der.clone()], key).unwrap())
}

fn app(authority: &Authority) -> Signed {
    authority.sign(&["app.example.net"], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "app");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn a_client_is_whom_its_verified_certificate_names() {
    use ClientCertificates::{None as Silent, Optional, Required};
    let (files, authority) = with_clients();
    let server = files.load().unwrap();
    let strangers = Authority::new("strangers");
    let server_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let certificates = [
        ("good", app(&authority)),
        ("foreign", app(&strangers)),
        ("expired", authority.sign(&["app.example.net"], expired)),
        ("for servers", authority.sign(&["app.example.net"], server_only)),
    ];
    for version in VERSIONS {
        for (kind, signed) in &certificates {
            let client = showing(&files, signed, version);
            for mode in [Silent, Optional, Required] {
                let met = meet(&client, server.current(mode), NAME);
                let identity = met.map(|met| client_identity(&met.server));
                match (mode, *kind) {
                    (Silent, _) => assert_eq!(identity, Ok(None), "{kind}"),
                    (Optional | Required, "good") => {
                        let identity = identity.unwrap().expect("a name");
                        assert_eq!(identity.into_logins(), ["app.example.net", "app"]);
                    }
                    (Optional | Required, _) => {
                        let refused = matches!(identity, Err(Error::InvalidCertificate(_)));
                        assert!(refused, "{kind} {mode:?}: {identity:?}");
                    }
                }
            }
        }
        let nobody = Arc::new(files.authority.trusted_with(&[version]).with_no_client_auth());
        for mode in [Silent, Optional] {
            let met = meet(&nobody, server.current(mode), NAME).unwrap();
            assert_eq!(client_identity(&met.server), None);
        }
        let refusal = meet(&nobody, server.current(Required), NAME).map(|_| ()).unwrap_err();
        assert_eq!(refusal, Error::NoCertificatesPresented);
    }
}

#[test]
fn a_resumed_client_is_who_it_was() {
    let (files, authority) = with_clients();
    let server = files.load().unwrap();
    for version in VERSIONS {
        let client = showing(&files, &app(&authority), version);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let met = meet(&client, server.current(ClientCertificates::Required), NAME).unwrap();
            assert_eq!(met.server.handshake_kind(), Some(kind));
            assert!(client_identity(&met.server).is_some());
        }
    }
}

#[test]
fn a_ticket_of_a_listener_that_does_not_ask_is_none_where_certificates_are_required() {
    let (files, _) = with_clients();
    let server = files.load().unwrap();
    for version in VERSIONS {
        let client = Arc::new(files.authority.trusted_with(&[version]).with_no_client_auth());
        for mode in [ClientCertificates::None, ClientCertificates::Optional] {
            meet(&client, server.current(mode), NAME).unwrap();
            let required = server.current(ClientCertificates::Required);
            let refusal = meet(&client, required, NAME).map(|_| ()).unwrap_err();
            assert_eq!(refusal, Error::NoCertificatesPresented);
        }
    }
}

#[test]
fn a_ticket_does_not_outlive_the_authority_that_it_came_from() {
    let (files, authority) = with_clients();
    for version in VERSIONS {
        files.put("ca.pem", &authority.pem);
        let server = files.load().unwrap();
        let client = showing(&files, &app(&authority), version);
        let mode = ClientCertificates::Optional;
        let mut living = meet(&client, server.current(mode), NAME).unwrap();

        files.put("ca.pem", &Authority::new("others").pem);
        look_again(&server);
        let refusal = meet(&client, server.current(mode), NAME).map(|_| ()).unwrap_err();
        assert_eq!(refusal, Error::InvalidCertificate(CertificateError::UnknownIssuer));

        let identity = client_identity(&living.server).expect("who it was");
        assert_eq!(identity.into_logins()[0], "app.example.net");
        living.client.send_close_notify();
        living.talk().unwrap();
    }
}
