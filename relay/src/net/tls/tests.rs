//! Whole handshakes in memory: what is shown, what is believed, and what a change of the files does.

mod clients;
mod endings;
mod protocol;

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConnection,
    SupportedProtocolVersion,
};

use super::*;
use crate::config::Also;

const SMALL: &str = include_str!("../../../tests/session/sallyport.toml");
const NAME: &str = "relay.example.net";

/// An authority that signs what it is asked to.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    root: CertificateDer<'static>,
}

/// A certificate and its key.
struct Signed {
    pem: String,
    key_pem: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), root: made.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for `names`, changed by `change`.
    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            pem: made.pem(),
            key_pem: key.serialize_pem(),
            der: made.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// Begins the configuration of a client that trusts this authority.
    fn trusted_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }

    fn trusted(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        self.trusted_with(&[&rustls::version::TLS13])
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

/// The files of a relay whose default certificate is for [`NAME`].
struct Files {
    folder: tempfile::TempDir,
    config: Config,
    authority: Authority,
    journal: Journal,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::parse(SMALL).unwrap();
        config.tls.certificate = folder.path().join("chain.pem");
        config.tls.key = folder.path().join("key.pem");
        let authority = Authority::new("servers");
        let files = Self { folder, config, authority, journal: Journal::memory() };
        files.renew();
        files
    }

    /// Puts a text in the place of a file, which so becomes another file.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.folder.path().join(name), self.folder.path().join("new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    fn show(&self, signed: &Signed) {
        self.put("chain.pem", &signed.pem);
        self.put("key.pem", &signed.key_pem);
    }

    fn renew(&self) -> CertificateDer<'static> {
        let signed = self.authority.sign(&[NAME], |_| {});
        self.show(&signed);
        signed.der
    }

    /// Adds a certificate under this name of a file.
    fn also(&mut self, name: &str, signed: &Signed) {
        let certificate = self.put(&format!("{name}.pem"), &signed.pem);
        let key = self.put(&format!("{name}.key"), &signed.key_pem);
        self.config.tls.also.push(Also { certificate, key });
    }

    fn load(&self) -> Result<ServerTls, TlsError> {
        ServerTls::load(&self.config, self.journal.clone())
    }

    fn problem(&self) -> TlsError {
        self.load().map(|_| ()).unwrap_err()
    }
}

/// Looks at the files again as if the time had come.
fn look_again(server: &ServerTls) -> Arc<ServerConfig> {
    server.current.lock().unwrap().looked_at -= LOOK_EVERY;
    server.current(ClientCertificates::None).unwrap()
}

/// Both ends after a handshake, and what the server said of it.
struct Met {
    client: ClientConnection,
    server: ServerConnection,
}

impl Met {
    /// Carries octets between both until neither has more to say.
    fn talk(&mut self) -> Result<(), rustls::Error> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut said = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut said).unwrap();
            }
            let mut said = &said[..];
            while !said.is_empty() {
                self.server.read_tls(&mut said).unwrap();
                self.server.process_new_packets()?;
            }
            let mut said = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut said).unwrap();
            }
            let mut said = &said[..];
            while !said.is_empty() {
                self.client.read_tls(&mut said).unwrap();
                self.client.process_new_packets()?;
            }
        }
        Ok(())
    }
}

fn meet(
    client: &Arc<ClientConfig>,
    server: Option<Arc<ServerConfig>>,
    name: &str,
) -> Result<Met, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let server = ServerConnection::new(server.expect("a state that serves")).unwrap();
    let mut met = Met { client, server };
    met.talk()?;
    assert!(!met.client.is_handshaking() && !met.server.is_handshaking());
    Ok(met)
}

#[test]
fn what_cannot_be_used_is_named_with_its_file() {
    let mut files = Files::new();
    files.put("key.pem", "nothing");
    assert!(matches!(files.problem(), TlsError::Empty { what: "private key", .. }));
    files.renew();
    let key = std::fs::read_to_string(&files.config.tls.key).unwrap();
    files.renew();
    files.put("key.pem", &key);
    assert!(matches!(files.problem(), TlsError::Mismatch { .. }));
    files.renew();
    std::fs::remove_file(&files.config.tls.certificate).unwrap();
    let problem = files.problem().to_string();
    assert!(problem.contains("chain.pem") && problem.contains("tls init"), "{problem}");

    files.renew();
    let nameless = files.authority.sign(&[], |_| {});
    files.also("nameless", &nameless);
    let problem = files.problem().to_string();
    assert!(problem.contains("nameless.pem: the certificate is for no DNS name"), "{problem}");
    files.config.tls.also.clear();

    files.config.listeners[0].client_certificates = ClientCertificates::Optional;
    assert!(matches!(files.problem(), TlsError::NoClientCa));
    files.config.tls.client_ca = Some(files.folder.path().join("ca.pem"));
    let problem = files.problem().to_string();
    assert!(problem.contains("ca.pem") && problem.contains("client-ca"), "{problem}");
    files.put("ca.pem", "nothing");
    assert!(matches!(files.problem(), TlsError::Empty { what: "certificate", .. }));
}

#[test]
fn changed_files_are_shown_and_bad_ones_are_not() {
    let files = Files::new();
    let server = files.load().unwrap();
    let first = server.current(ClientCertificates::None).unwrap();
    assert!(Arc::ptr_eq(&first, &look_again(&server)), "nothing has changed");
    let renewed = files.renew();
    let second = look_again(&server);
    assert!(!Arc::ptr_eq(&first, &second));
    let client = Arc::new(files.authority.trusted().with_no_client_auth());
    let met = meet(&client, Some(second.clone()), NAME).unwrap();
    assert_eq!(met.client.peer_certificates().unwrap(), [renewed]);

    files.put("key.pem", "nothing");
    assert!(Arc::ptr_eq(&second, &look_again(&server)));
    assert!(Arc::ptr_eq(&second, &look_again(&server)));
    let events = files.journal.take();
    let [Event::Trouble { problem, .. }] = &events[..] else { panic!("once: {events:?}") };
    assert!(problem.starts_with("the old certificates stay in use: "), "{problem}");
}

#[test]
fn a_change_of_any_file_is_seen() {
    let mut files = Files::new();
    let other = files.authority.sign(&["mail.example.org"], |_| {});
    files.also("other", &other);
    files.config.tls.client_ca = Some(files.put("ca.pem", &files.authority.pem));
    let server = files.load().unwrap();
    for name in ["ca.pem", "other.pem", "other.key", "chain.pem", "key.pem"] {
        let before = look_again(&server);
        let text = std::fs::read_to_string(files.folder.path().join(name)).unwrap();
        files.put(name, &text);
        assert!(!Arc::ptr_eq(&before, &look_again(&server)), "{name}");
    }
    assert_eq!(files.journal.take(), []);
}

#[test]
fn the_name_that_a_client_asks_for_picks_its_certificate() {
    let mut files = Files::new();
    let default = files.authority.sign(&[NAME, "both.example.org"], |_| {});
    files.show(&default);
    let named = files.authority.sign(&["Mail.example.org", "both.example.org"], |_| {});
    files.also("named", &named);
    let wide = files.authority.sign(&["*.example.org", "*.example.net"], |_| {});
    files.also("wide", &wide);
    let server = files.load().unwrap();
    let client = Arc::new(files.authority.trusted().with_no_client_auth());
    let rows = [
        ("mail.example.org", &named),
        ("MAIL.example.org", &named),
        ("a.example.org", &wide),
        (NAME, &default),
        ("both.example.org", &default),
    ];
    for (name, expected) in rows {
        let met = meet(&client, server.current(ClientCertificates::None), name).unwrap();
        assert_eq!(met.client.peer_certificates().unwrap()[0], expected.der, "{name}");
    }
    // The client does not believe the default for these, but it was shown it.
    let shown = shown::Shown::load(&files.config.tls).unwrap();
    for name in
        [None, Some("example.org"), Some("a.b.example.org"), Some("other.example"), Some("")]
    {
        assert_eq!(shown.find(name).cert[0], default.der, "{name:?}");
    }
    assert_eq!(shown.out_of_time(Timestamp::now()).count(), 0);
}

#[test]
fn what_is_wrong_now_is_known_for_as_long_as_it_is() {
    let files = Files::new();
    let last = files.authority.sign(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    });
    files.show(&last);
    let server = files.load().unwrap();
    let at = |time: &str| server.troubles(time.parse().unwrap());
    assert_eq!(at("2099-12-29T00:00:00Z"), [""; 0]);
    for (time, words) in [
        ("2099-12-29T00:00:01Z", "the certificate ends at 2100-01-01T00:00:00Z"),
        ("2100-01-01T00:00:01Z", "the certificate expired at 2100-01-01T00:00:00Z"),
        ("2019-12-31T00:00:00Z", "the certificate is not valid before 2020-01-01T00:00:00Z"),
    ] {
        let [told] = &at(time)[..] else { panic!("{time}") };
        assert!(told.contains(words), "{told}");
    }
    files.put("key.pem", "nothing");
    look_again(&server);
    let now = Timestamp::now();
    let told = server.troubles(now);
    assert!(told[0].starts_with("the old certificates stay in use: "), "{told:?}");
    files.renew();
    look_again(&server);
    assert_eq!(server.troubles(now), [""; 0]);
}

#[test]
fn an_expired_certificate_is_shown_and_told() {
    let files = Files::new();
    let old = files.authority.sign(&[NAME], expired);
    files.show(&old);
    let server = files.load().unwrap();
    let told = || server.endings(Timestamp::now()).pop().map(|ending| ending.problem);
    let expected = "chain.pem: the certificate expired at 2021-01-01T00:00:00Z and is shown";
    assert!(told().is_some_and(|problem| problem.contains(expected)), "{:?}", told());

    files.renew();
    look_again(&server);
    assert_eq!(told(), None);
    files.show(&old);
    let shown = look_again(&server);
    assert!(told().is_some());
    let client = Arc::new(files.authority.trusted().with_no_client_auth());
    let refusal = meet(&client, Some(shown), NAME).map(|_| ()).unwrap_err();
    assert!(refusal.to_string().contains("expired"), "{refusal}");
}
