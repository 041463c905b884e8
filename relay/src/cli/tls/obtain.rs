//! `sallyport tls obtain` and `tls renew`: a certificate by ACME, in place when it is whole, or not at all.
//!
//! The key stays unless a new one is wanted, so a renewal exchanges one file at one moment, and clients that pin the
//! key never notice. The relay reads the files again by itself.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::Timestamp;
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::due::{Due, due};
use crate::acme::{AcmeError, Authority, Wanted};
use crate::appliance::privilege::Identity;
use crate::cli::init::steps::{Existing, Readers, Steps};
use crate::cli::print;
use crate::config::Config;
use crate::config::acme::Acme;
use crate::doctor::certificates::{self, Seen};
use crate::doctor::holders::holders;
use crate::file;
use crate::gate::clients::listening;

/// The largest file of a key or an account, octets.
const FILE_MAX: u64 = 64 << 10;
/// What the predecessor of a renewed file is called: the one before it, and no older ones.
const BEFORE: &str = ".before";

/// Whether the operator agrees to the authority's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// He does.
    Agreed,
    /// He has not said so.
    Unsaid,
}

/// Which key the certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The one that is there; if there is none, a new one.
    Same,
    /// A new one.
    New,
}

impl Key {
    /// Returns what the flag says.
    #[must_use]
    pub const fn of(new_key: bool) -> Self {
        if new_key { Self::New } else { Self::Same }
    }
}

/// `sallyport tls obtain`: has a certificate signed now, and makes the account first if there is none. What it
/// replaces stays beside it under the time of the day.
///
/// # Errors
///
/// If the configuration names no authority, the terms are not agreed to, or there is no certificate in the end; then
/// the old files are as they were. The account stays once it is made.
pub fn obtain(config: &Config, terms: Terms, key: Key) -> anyhow::Result<()> {
    let acme = config.tls.acme.as_ref().context(
        "the configuration names no authority: add [tls.acme], and `sallyport tls obtain` again; sallyport.toml(5) \
         explains its keys",
    )?;
    root()?;
    if !acme.account.exists() {
        let mut steps = Steps::default();
        account(&mut steps, acme, terms)?;
        steps.keep();
        print::say(format!("made an account at {}: {}", acme.directory, acme.account.display()));
    }
    let ending = Timestamp::now().strftime(".%Y-%m-%dT%H-%M-%SZ").to_string();
    exchange(config, acme, key, &ending)
}

/// `sallyport tls renew`: has the certificate signed anew if less than a third of its time is left, or if it cannot be
/// used; the timer runs it daily. The file before it stays beside it.
///
/// # Errors
///
/// If it is due and there is no new one in the end; then the old files are as they were.
pub fn renew(config: &Config, key: Key) -> anyhow::Result<()> {
    let Some(acme) = &config.tls.acme else {
        print::say("nothing to renew: the configuration has no [tls.acme]");
        return Ok(());
    };
    root()?;
    let tls = &config.tls;
    let file = tls.certificate.display();
    ensure!(
        acme.account.exists(),
        "{}: there is no account at {} yet: `sallyport tls obtain --agree-terms` makes it",
        acme.account.display(),
        acme.directory
    );
    let read = certificates::read(&tls.certificate, &tls.key);
    let read = read.and_then(|seen| seen.ok_or_else(|| "it may not be read".to_owned()));
    let names = acme.names(&config.hostname);
    match due(read.as_ref().map_err(String::as_str), &names, Timestamp::now()) {
        Due::From(from) => {
            let until = read.map(|seen| format!("{:.0}", seen.until)).unwrap_or_default();
            print::say(format!("{file} is good until {until}: it is renewed from {from:.0} on"));
            return Ok(());
        }
        Due::Now(why) => print::say(format!("{file} is renewed: {why}")),
    }
    exchange(config, acme, key, BEFORE)
}

/// Takes away what an earlier renewal put aside, so that there is one predecessor and no more.
fn forget(file: &Path) -> anyhow::Result<()> {
    let before = PathBuf::from(format!("{}{BEFORE}", file.display()));
    match fs::remove_file(&before) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", before.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn root() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "it writes files of root and listens on port 80: run it by sudo"
    );
    Ok(())
}

/// Orders and puts in place; says until when it is good.
fn exchange(config: &Config, acme: &Acme, key: Key, ending: &str) -> anyhow::Result<()> {
    let relay = Identity::of(&config.relay.user)?;
    let tls = &config.tls;
    let placed = order(config, acme, key).and_then(|signed| {
        for file in [&tls.certificate, &tls.key] {
            forget(file)?;
        }
        let mut steps = Steps::default();
        place(&mut steps, config, relay, &signed, ending)?;
        steps.keep();
        Ok(signed.seen)
    });
    let seen = placed.context("the certificate and its key are as they were")?;
    print::say(format!(
        "wrote {} for {}, good until {:.0}; the relay shows it within seconds",
        tls.certificate.display(),
        seen.names.join(", "),
        seen.until
    ));
    Ok(())
}

/// Makes an account at the authority, which agrees to its terms, and writes it for root alone.
///
/// # Errors
///
/// If the terms are not agreed to, the authority refuses, or the file cannot be written.
pub fn account(steps: &mut Steps, acme: &Acme, terms: Terms) -> anyhow::Result<()> {
    let authority = authority(acme)?;
    if terms == Terms::Unsaid {
        let at = authority.terms()?;
        let at = at.map(|at| format!(" ({at})")).unwrap_or_default();
        bail!(
            "an account at {} takes that you agree to its terms{at}: --agree-terms says so",
            acme.directory
        );
    }
    let account = authority.register(acme.contact.as_ref())?;
    steps.folder(acme.account.parent().unwrap_or(Path::new("/")), Readers::Root)?;
    steps.file(&acme.account, &account, Readers::Root, Existing::Refuse)
}

/// Returns the authority of a configuration.
///
/// # Errors
///
/// As [`Authority::new`].
pub fn authority(acme: &Acme) -> Result<Authority, AcmeError> {
    Authority::new(&acme.directory, acme.ca_file.as_deref())
}

/// What an authority signed.
pub struct Signed {
    /// The certificate with its chain, PEM.
    chain: String,
    /// Its key, PEM; none: it is for the one that is there.
    key: Option<Zeroizing<String>>,
    /// What it says.
    seen: Seen,
}

/// Orders a certificate by the account that is there. Nothing is written.
///
/// # Errors
///
/// If the authority does not sign, or what it signed is of no use.
pub fn order(config: &Config, acme: &Acme, key: Key) -> anyhow::Result<Signed> {
    let tls = &config.tls;
    let account = text(&acme.account)?;
    let is_new = key == Key::New || !tls.key.exists();
    let key = if is_new {
        Zeroizing::new(KeyPair::generate().context("no key can be made")?.serialize_pem())
    } else {
        text(&tls.key)?
    };
    let names = acme.names(&config.hostname);
    let wanted = Wanted { names: &names, key: &key, listen: acme.address };
    let chain = authority(acme)?.order(&account, wanted).map_err(told)?;
    let seen = certificates::of_pem(chain.as_bytes(), key.as_bytes());
    let seen = seen.map_err(|problem| anyhow!("what {} signed: {problem}", acme.directory))?;
    if let Due::Now(why) = due(Ok(&seen), &names, Timestamp::now()) {
        bail!("what {} signed is of no use: {why}", acme.directory);
    }
    Ok(Signed { chain, key: is_new.then_some(key), seen })
}

/// Puts a certificate in place, with its key if that is a new one. What was there stays beside it, with `ending` behind
/// its name.
///
/// # Errors
///
/// If a file cannot be written.
pub fn place(
    steps: &mut Steps,
    config: &Config,
    relay: Identity,
    signed: &Signed,
    ending: &str,
) -> anyhow::Result<()> {
    let tls = &config.tls;
    // Between the two a relay that runs keeps the old pair, since the new key does not fit the old certificate.
    if let Some(key) = &signed.key {
        steps.folder(tls.key.parent().unwrap_or(Path::new("/")), Readers::All)?;
        steps.file(&tls.key, key, Readers::Relay(relay), Existing::Keep(ending))?;
    }
    steps.folder(tls.certificate.parent().unwrap_or(Path::new("/")), Readers::All)?;
    steps.file(&tls.certificate, &signed.chain, Readers::All, Existing::Keep(ending))
}

fn text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let octets = file::read(path, FILE_MAX).with_context(|| format!("{}", path.display()))?;
    let text = String::from_utf8(octets.to_vec());
    Ok(Zeroizing::new(text.map_err(|_| anyhow!("{} is no text", path.display()))?))
}

/// Says who has the port, if that is why.
fn told(error: AcmeError) -> anyhow::Error {
    let AcmeError::Port { address, .. } = &error else { return error.into() };
    let remedy = held(address.port()).map_or_else(
        || "name an address of this host by tls.acme.address".to_owned(),
        |held| format!("{held}: {PASS_ON}"),
    );
    anyhow!("{error}; {remedy}")
}

/// What to do about another server on port 80.
const PASS_ON: &str = "stop it for the time of the order, or have it pass /.well-known/acme-challenge/ on to another \
                       port of this host, and name that by tls.acme.address";

/// Says which programs listen on a port; none: nobody does.
pub fn held(port: u16) -> Option<String> {
    let all = listening().unwrap_or_default();
    let all: Vec<_> = all.into_iter().filter(|one| one.address.port() == port).collect();
    let names: Vec<_> = holders(&all).into_values().flatten().map(|one| one.to_string()).collect();
    match (all.first(), names.is_empty()) {
        (None, _) => None,
        (Some(one), true) => {
            Some(format!("a program that only root sees listens on {}", one.address))
        }
        (Some(one), false) => Some(format!("{} listens on {}", names.join(", "), one.address)),
    }
}

/// Says why proofs cannot be answered at an address, and what to do; none: they can.
#[must_use]
pub fn port_trouble(port: u16) -> Option<String> {
    held(port).map(|held| format!("{held}, where the authority asks for its proofs: {PASS_ON}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn whoever_has_the_port_is_named_with_what_to_do() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let cause = TcpListener::bind(address).unwrap_err();
        let said = told(AcmeError::Port { address, cause }).to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(said.contains(&pid) && said.contains("tls.acme.address"), "{said}");
        assert!(port_trouble(address.port()).unwrap().contains(&pid));
        drop(held);
        assert_eq!(port_trouble(address.port()), None);
    }
}
