//! `sallyport tls init`: a small private CA, a server certificate, and the file that clients need.
//!
//! Teams without a CA otherwise switch verification off. The CA's key signs one certificate and is
//! never written, so nobody can sign a second with it: a renewal is a new CA and a new file for
//! the clients.

/// When the timer tries again.
pub mod again;
mod due;
/// Certificates by ACME.
pub mod obtain;
mod pair;
/// Who has the port of an authority's proofs.
pub mod port;

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use zeroize::Zeroizing;

use super::print;
use crate::appliance::folders;
use crate::appliance::privilege::Identity;
use crate::config::Config;
use crate::smtp::address::is_domain;

/// How long the certificates are valid: 825 days, the most that common TLS clients accept.
const VALID: Duration = Duration::from_secs(825 * 86_400);

/// The files that are written.
#[derive(Debug)]
pub struct Files {
    /// The server certificate and the CA's, PEM.
    pub certificate: PathBuf,
    /// The server's private key, PEM, readable by owner and group.
    pub key: PathBuf,
    /// The CA's certificate, PEM: what clients must trust.
    pub ca: PathBuf,
}

impl Files {
    /// Returns the files for a certificate and a key, with the CA's beside the certificate.
    #[must_use]
    pub fn new(certificate: &Path, key: &Path) -> Self {
        let ca = certificate.with_file_name("ca.pem");
        Self { certificate: certificate.into(), key: key.into(), ca }
    }
}

/// Makes the files for `names`, which are domain names or IP addresses; the first is the subject.
///
/// # Errors
///
/// If a file exists already (nothing is overwritten), a name is malformed, or a folder cannot be
/// written.
pub fn init(names: &[String], files: &Files) -> anyhow::Result<()> {
    for file in [&files.certificate, &files.key, &files.ca] {
        if file.exists() {
            bail!("{} exists: move it away first, nothing is overwritten", file.display());
        }
    }
    let made = make(names).context("the certificate could not be made")?;
    for file in [&files.certificate, &files.key] {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
    }
    write(&files.key, 0o640, &made.key)?;
    write(&files.certificate, 0o644, &made.chain)?;
    write(&files.ca, 0o644, &made.ca)?;
    print::say(format!(
        "wrote {} and {}\nclients trust {}: give it to them (curl --cacert, Python \
         ssl.create_default_context(cafile=…), swaks --tls-ca-path)",
        files.certificate.display(),
        files.key.display(),
        files.ca.display()
    ));
    Ok(())
}

/// `sallyport tls init`: the files that the configuration names, or those below `into`, for `names`
/// or the configured hostname. The key is given to the relay's group.
///
/// # Errors
///
/// As [`init`], and if the relay's user does not exist.
pub fn for_config(
    config: &Config,
    names: Vec<String>,
    into: Option<PathBuf>,
) -> anyhow::Result<()> {
    let relay = Identity::of(&config.relay.user)?;
    let names = if names.is_empty() { vec![config.hostname.clone()] } else { names };
    let files = match into {
        None => Files::new(&config.tls.certificate, &config.tls.key),
        Some(folder) => Files::new(&folder.join("fullchain.pem"), &folder.join("key.pem")),
    };
    init(&names, &files)?;
    folders::readable_by_relay(&files.key, relay)
}

/// PEM texts of a new CA and a certificate that it signed.
pub struct Made {
    /// The server certificate, then the CA's.
    pub chain: String,
    /// The server's private key. It is wiped when dropped.
    pub key: Zeroizing<String>,
    /// The CA's certificate.
    pub ca: String,
}

/// Makes a CA that signs one certificate for `names`; the CA's key is forgotten.
///
/// # Errors
///
/// If `names` is empty or holds what is neither a domain name nor an address.
pub fn make(names: &[String]) -> anyhow::Result<Made> {
    let subject = names.first().context("a certificate needs at least one name")?;
    for name in names {
        let is_name = is_domain(name.strip_prefix("*.").unwrap_or(name));
        ensure!(
            is_name || name.parse::<IpAddr>().is_ok(),
            "\"{name}\" is neither a domain name nor an IP address"
        );
    }
    let now = std::time::SystemTime::now();
    // An hour back, for clients whose clock is behind.
    let (begin, end) = (now - Duration::from_secs(3600), now + VALID);

    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named(&format!("Sallyport private CA for {subject}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (begin.into(), end.into());
    let ca_certificate = ca.self_signed(&ca_key)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name = named(subject);
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (begin.into(), end.into());
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;

    Ok(Made {
        chain: certificate.pem() + &ca_certificate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
        ca: ca_certificate.pem(),
    })
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // A common name holds at most 64 characters (RFC 5280, appendix A.1).
    name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    name
}

fn write(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = file.with_context(|| format!("{} cannot be made", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_and_the_key_is_not_for_everybody() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(&folder.path().join("a/full.pem"), &folder.path().join("a/key.pem"));
        let names = ["relay.example.net".to_owned(), "192.0.2.1".to_owned()];
        init(&names, &files).unwrap();
        for name in ["bad name!", "", "a..b", "*."] {
            let said = make(&[name.to_owned()]).map(|_| ()).unwrap_err().to_string();
            assert!(said.contains("neither a domain name nor an IP address"), "{name}: {said}");
        }
        let key = fs::read_to_string(&files.key).unwrap();
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o007, 0);
        let refusal = init(&names, &files).unwrap_err().to_string();
        assert!(refusal.contains("exists: move it away first"), "{refusal}");
        assert_eq!(fs::read_to_string(&files.key).unwrap(), key);
    }

    #[test]
    fn the_certificate_verifies_for_its_names_only_by_its_ca() {
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier as _;
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

        let verify = |made: &Made, ca: &Made, name: &str| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.ca.as_bytes()).unwrap()).unwrap();
            let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .unwrap();
            let leaf = CertificateDer::from_pem_slice(made.chain.as_bytes()).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok()
        };
        let names = ["relay.example.net".to_owned(), "192.0.2.1".to_owned()];
        let (made, other) = (make(&names).unwrap(), make(&names).unwrap());
        assert!(verify(&made, &made, "relay.example.net"));
        assert!(verify(&made, &made, "192.0.2.1"));
        assert!(!verify(&made, &made, "other.example.net"));
        assert!(!verify(&made, &other, "relay.example.net"));
    }
}
