//! A certificate and its key on the disk, of which one is never there without the other.
//!
//! They are two files, and a loss of power may come between the moments at which they are replaced. So a new key does
//! not replace the old one at once: for as long as the certificate is exchanged, its file holds both, the new one
//! first, and [`MARK`] between them. The relay shows a certificate with whichever of two keys fits it, so each state in
//! between can be served, by a relay that runs and by one that starts. What a crash left of that [`settle`] ends.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use zeroize::Zeroizing;

use crate::appliance::privilege::Identity;
use crate::cli::init::steps::{Existing, Readers, Steps};
use crate::cli::print;
use crate::config::{self, Config};
use crate::doctor::certificates::{self, Seen};
use crate::file;

/// The largest file of a key or an account, octets.
const FILE_MAX: u64 = 64 << 10;
/// What stands between two keys while they are exchanged: of two that somebody else put into a file none is taken away.
/// Text outside of the blocks means nothing (RFC 7468, section 2).
const MARK: &str = "# sallyport: the key below is exchanged for the one above";
/// How the block of a private key begins and ends (RFC 7468, section 10).
const KEY: [(&str, &str); 3] = [
    ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"),
    ("-----BEGIN EC PRIVATE KEY-----", "-----END EC PRIVATE KEY-----"),
    ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"),
];

/// What an authority signed.
pub struct Signed {
    /// The certificate with its chain, PEM.
    pub(super) chain: String,
    /// Its key, PEM; none: it is for the one that is there.
    pub(super) key: Option<Zeroizing<String>>,
    /// What it says.
    pub(super) seen: Seen,
}

impl Signed {
    /// Puts it in place, with its key if that is a new one. What was there stays beside it, with `ending` behind its
    /// name. Whenever this is cut off, the files can be served.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn place(
        &self,
        steps: &mut Steps,
        config: &Config,
        relay: Identity,
        ending: &str,
    ) -> anyhow::Result<()> {
        let (tls, relay) = (&config.tls, Readers::Relay(relay));
        let above = |file: &Path| file.parent().unwrap_or(Path::new("/")).to_owned();
        let mut both = None;
        if let Some(key) = &self.key {
            steps.folder(&above(&tls.key), Readers::All)?;
            both = former(tls).map(|former| {
                Zeroizing::new([key.trim_end(), "\n", MARK, "\n", &*former].concat())
            });
            steps.file(&tls.key, both.as_ref().unwrap_or(key), relay, Existing::Keep(ending))?;
        }
        steps.folder(&above(&tls.certificate), Readers::All)?;
        steps.file(&tls.certificate, &self.chain, Readers::All, Existing::Keep(ending))?;
        match (&self.key, both) {
            (Some(key), Some(_)) => steps.again(&tls.key, key, relay),
            (Some(_) | None, None) | (None, Some(_)) => Ok(()),
        }
    }
}

/// Ends an exchange of the key that was cut off: of two keys in the file the one that fits the certificate stays.
///
/// # Errors
///
/// If the file cannot be written.
pub(super) fn settle(config: &Config) -> anyhow::Result<()> {
    let tls = &config.tls;
    // What cannot be read is told by whoever needs it.
    let Ok(all) = text(&tls.key) else { return Ok(()) };
    if keys(&all).count() != 2 || !all.lines().any(|line| line == MARK) {
        return Ok(());
    }
    let Some(one) = former(tls) else { return Ok(()) };
    let relay = Readers::Relay(Identity::of(&config.relay.user)?);
    Steps::default().again(&tls.key, &one, relay)?;
    print::say(format!(
        "{}: an exchange of the key was cut off: the one that fits {} stays",
        tls.key.display(),
        tls.certificate.display()
    ));
    Ok(())
}

/// Returns the key that the certificate is for now, PEM; none: there is none.
fn former(tls: &config::Tls) -> Option<Zeroizing<String>> {
    let (chain, all) = (file::read(&tls.certificate, FILE_MAX).ok()?, text(&tls.key).ok()?);
    let fits = |key: &&str| {
        certificates::of_pem(&chain, key.as_bytes()).is_ok_and(|seen| seen.key.is_ok())
    };
    keys(&all).find(fits).map(|key| Zeroizing::new([key, "\n"].concat()))
}

/// Returns the blocks of the private keys of a text in PEM.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begins = KEY.iter().filter_map(|(begin, end)| Some((rest.find(begin)?, end)));
        let (from, end) = begins.min()?;
        let until = from + rest[from..].find(end)? + end.len();
        let block = &rest[from..until];
        rest = &rest[until..];
        Some(block)
    })
}

/// Reads a file of text, which is wiped when dropped.
pub(super) fn text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let octets = file::read(path, FILE_MAX).with_context(|| format!("{}", path.display()))?;
    let text = std::str::from_utf8(&octets);
    Ok(Zeroizing::new(text.map_err(|_| anyhow!("{} is no text", path.display()))?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::journal::Journal;
    use crate::net::tls::ServerTls;

    const NAME: &str = "relay.example.net";

    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn signed() -> Signed {
        let (chain, key) = made();
        let seen = certificates::of_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        Signed { chain, key: Some(Zeroizing::new(key)), seen }
    }

    /// A folder with a pair, and the configuration that names it.
    struct Laid(tempfile::TempDir, Config);

    impl Laid {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = folder.path().display();
            let text = format!(
                "hostname = '{NAME}'\npostmaster = 'ops@example.net'\n[relay]\nuser = '{}'\n[tls]\n\
                 certificate = '{at}/chain.pem'\nkey = '{at}/key.pem'\n\
                 [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n",
                rustix::process::getuid().as_raw()
            );
            let config = Config::parse(&text).unwrap();
            let laid = Self(folder, config);
            let (chain, key) = made();
            laid.put(&chain, &key);
            laid
        }

        fn put(&self, chain: &str, key: &str) {
            fs::write(&self.1.tls.certificate, chain).unwrap();
            fs::write(&self.1.tls.key, key).unwrap();
        }

        fn read(&self) -> [String; 2] {
            [&self.1.tls.certificate, &self.1.tls.key].map(|file| fs::read_to_string(file).unwrap())
        }

        fn place(&self, steps: &mut Steps, signed: &Signed) -> anyhow::Result<()> {
            let own = Identity {
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
            };
            signed.place(steps, &self.1, own, ".before")
        }

        /// Starts a relay, as far as its certificate goes.
        fn serves(&self) {
            ServerTls::load(&self.1, Journal::memory()).unwrap();
        }
    }

    #[test]
    fn an_exchange_that_is_cut_off_anywhere_leaves_a_pair_that_a_start_can_show() {
        let laid = Laid::new();
        let [chain, key] = laid.read();
        let next = signed();
        // What the certificate before is to be called is taken: it is cut off at the second of three moments.
        let taken = laid.0.path().join("chain.pem.before");
        fs::create_dir(&taken).unwrap();
        let mut steps = Steps::default();
        laid.place(&mut steps, &next).unwrap_err();
        let cut = laid.read();
        assert_eq!(cut[0], chain);
        assert!(cut[1].contains(key.trim()) && cut[1].contains(next.key.as_ref().unwrap().trim()));
        laid.serves();
        drop(steps);
        assert_eq!(laid.read(), [chain.clone(), key.clone()], "it is not undone");

        // The third moment never came.
        laid.put(&next.chain, &cut[1]);
        laid.serves();
        settle(&laid.1).unwrap();
        assert_eq!(laid.read(), [next.chain.clone(), next.key.as_ref().unwrap().to_string()]);
        laid.serves();

        // The second one never came.
        laid.put(&chain, &cut[1]);
        settle(&laid.1).unwrap();
        assert_eq!(laid.read(), [chain.clone(), key.clone()]);

        fs::remove_dir(&taken).unwrap();
        fs::remove_file(laid.0.path().join("key.pem.before")).unwrap_or_default();
        let mut steps = Steps::default();
        laid.place(&mut steps, &next).unwrap();
        steps.keep();
        assert_eq!(laid.read(), [next.chain.clone(), next.key.as_ref().unwrap().to_string()]);
        let kept = ["chain.pem.before", "key.pem.before"].map(|name| laid.0.path().join(name));
        assert_eq!(kept.map(|file| fs::read_to_string(file).unwrap()), [chain, key]);
    }

    #[test]
    fn what_is_no_cut_off_exchange_stays_as_it_is() {
        let laid = Laid::new();
        let ([chain, key], (_, other)) = (laid.read(), made());
        for text in [key.clone(), other.clone(), format!("{other}{other}"), "x".into()] {
            laid.put(&chain, &text);
            settle(&laid.1).unwrap();
            assert_eq!(laid.read()[1], text);
        }
        // Several of somebody else's, one of which fits.
        for text in [
            format!("{key}{other}{other}"),
            format!("{key}{other}"),
            format!("{other}{key}"),
            format!("{other}# mine\n{key}"),
        ] {
            laid.put(&chain, &text);
            settle(&laid.1).unwrap();
            assert_eq!(laid.read()[1], text);
        }
    }
}
