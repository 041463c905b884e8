//! `sallyport tls obtain` and `tls renew`: a certificate by ACME, in place when it is whole, or not at all.
//!
//! The key stays unless a new one is wanted, so a renewal exchanges one file at one moment, and clients that pin the
//! key never notice. The relay reads the files again by itself.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use super::again::{self, Caller};
use super::due::{Due, due};
use super::pair::{self, Signed, text};
use super::port::told;
use crate::acme::failed::Failed;
use crate::acme::{AcmeError, Authority, Wanted};
use crate::appliance::privilege::Identity;
use crate::cli::init::steps::{Existing, Readers, Steps, rehearse};
use crate::cli::print;
use crate::config::Config;
use crate::config::acme::Acme;
use crate::doctor::certificates::{self, listed};

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
    let ending = Timestamp::now().strftime(".%Y-%m-%dT%H-%M-%SZ").to_string();
    writable(config, acme, key, &ending)?;
    if !is_there(&acme.account)? {
        let mut steps = Steps::default();
        account(&mut steps, acme, terms)?;
        steps.keep();
        print::say(format!("made an account at {}: {}", acme.directory, acme.account.display()));
    }
    let _alone = alone(acme)?;
    pair::settle(config)?;
    exchange(config, acme, key, &ending)
}

/// `sallyport tls renew`: has the certificate signed anew if less than a third of its time is left, or if it cannot be
/// used; the timer runs it hourly. The file before it stays beside it. After a try that failed the timer waits, longer
/// where more time is left.
///
/// # Errors
///
/// If it is due and there is no new one in the end; then the old files are as they were.
pub fn renew(config: &Config, key: Key, caller: Caller) -> anyhow::Result<()> {
    let Some(acme) = &config.tls.acme else {
        print::say("nothing to renew: the configuration has no [tls.acme]");
        return Ok(());
    };
    root()?;
    let tls = &config.tls;
    let file = tls.certificate.display();
    ensure!(
        is_there(&acme.account)?,
        "{}: there is no account at {} yet: `sallyport tls obtain --agree-terms` makes it",
        acme.account.display(),
        acme.directory
    );
    let _alone = alone(acme)?;
    pair::settle(config)?;
    let read = certificates::read(&tls.certificate, &tls.key);
    if read == Ok(None) {
        let key = tls.key.display();
        bail!("{file} or {key} may not be read, and nothing was ordered: {RIGHTS}");
    }
    let read = read.and_then(|seen| seen.ok_or_else(|| "it may not be read".to_owned()));
    let names = acme.names(&config.hostname);
    let now = Timestamp::now();
    match due(read.as_ref().map_err(String::as_str), &names, now) {
        Due::From(from) => {
            // Whoever put it there, what failed before is over.
            forget_failed(config)?;
            let until = read.map(|seen| format!("{:.0}", seen.until)).unwrap_or_default();
            print::say(format!("{file} is good until {until}: it is renewed from {from:.0} on"));
            return Ok(());
        }
        Due::Now(why) => print::say(format!("{file} is renewed: {why}")),
    }
    let is_timer = caller == Caller::Timer;
    let waits = |failed: &Failed| is_timer && again::waits(failed, now);
    if let Some(failed) = Failed::read(&tls.certificate).filter(waits) {
        bail!(
            "the try before failed, and the timer waits until {:.0} (`sallyport tls renew` does not): {}",
            failed.until,
            failed.why
        );
    }
    let left = read.map_or(SignedDuration::ZERO, |seen| seen.until.duration_since(now));
    let tried = match writable(config, acme, key, BEFORE) {
        // Nobody was asked: the timer's next look is a try.
        Err(error) => Err((error, SignedDuration::ZERO)),
        Ok(()) => exchange(config, acme, key, BEFORE).map_err(|error| {
            let wait = if error.is::<InVain>() { again::LONGEST } else { again::wait(left) };
            (error, wait)
        }),
    };
    tried.map_err(|(error, wait)| {
        let (now, why) = (Timestamp::now(), format!("{error:#}"));
        let note = || Failed::note(&tls.certificate, now, now + wait, &why);
        let noted = if is_timer { note() } else { Ok(()) };
        noted.map_or_else(|problem| not_noted(&why, &tls.certificate, &problem), |()| error)
    })
}

/// Returns why a renewal failed, and behind it that this could not be noted: the cause is what somebody can mend.
fn not_noted(why: &str, certificate: &Path, problem: &io::Error) -> anyhow::Error {
    anyhow!("{why}; that is not noted in {}.failed: {problem}", certificate.display())
}

/// Forgets that a renewal failed.
fn forget_failed(config: &Config) -> anyhow::Result<()> {
    let certificate = &config.tls.certificate;
    Failed::forget(certificate).with_context(|| format!("{}.failed", certificate.display()))
}

/// Waits until no other verb exchanges files by this account: what it reads of a key would be old when it writes the
/// certificate for it.
fn alone(acme: &Acme) -> anyhow::Result<File> {
    let name = || format!("{}", acme.account.display());
    let file = File::open(&acme.account).with_context(name)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).with_context(name)?;
    Ok(file)
}

/// Something was signed, and is lost.
#[derive(Debug, thiserror::Error)]
#[error("what {0} signed is of no use")]
struct InVain(String);

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
        let mut steps = Steps::default();
        let placed = [&tls.certificate, &tls.key].into_iter().try_for_each(|file| forget(file));
        let placed = placed.and_then(|()| signed.place(&mut steps, config, relay, ending));
        placed.with_context(|| InVain(acme.directory.clone()))?;
        steps.keep();
        Ok(signed.seen)
    });
    let seen = placed.context("the certificate and its key are as they were")?;
    forget_failed(config)?;
    print::say(format!(
        "wrote {} for {}, good until {:.0}; the relay shows it within seconds",
        tls.certificate.display(),
        listed(&seen.names),
        seen.until
    ));
    Ok(())
}

/// What to do about a file that root may not touch.
const RIGHTS: &str = "give its folder and it to root, the key with mode 0640 and the relay's group; the timer's unit \
                      needs CAP_DAC_OVERRIDE and, by ReadWritePaths=, each folder outside of /etc/sallyport \
                      (systemctl edit sallyport-certificate)";

/// Tries whether all that an order brings could be written: what is signed and not written is lost, and an authority
/// signs few for the same names.
///
/// # Errors
///
/// If a file could not be written: which, and what to do.
pub fn writable(config: &Config, acme: &Acme, key: Key, ending: &str) -> anyhow::Result<()> {
    let (tls, existing) = (&config.tls, Existing::Keep(ending));
    let relay = Readers::Relay(Identity::of(&config.relay.user)?);
    let is_new = key == Key::New || !is_there(&tls.key)?;
    let tried = if is_new { rehearse(&tls.key, relay, existing) } else { Ok(()) };
    let tried = tried
        .and_then(|()| rehearse(&tls.certificate, Readers::All, existing))
        .and_then(|()| rehearse(&acme.account, Readers::Root, Existing::Refuse));
    tried.map_err(|error| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind.is_some_and(|kind| REFUSALS.contains(&kind)) {
            anyhow!("nothing was ordered: {error:#}; {RIGHTS}")
        } else {
            error.context("nothing was ordered")
        }
    })
}

/// What the operating system says where rights are missing.
const REFUSALS: [ErrorKind; 2] = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];

/// Tells whether a file is there. One that cannot be looked at is neither there nor missing: a new one in its place
/// would be a mistake.
fn is_there(file: &Path) -> anyhow::Result<bool> {
    file.try_exists().map_err(|error| anyhow!("{}: {error}; {RIGHTS}", file.display()))
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

/// Orders a certificate by the account that is there. Nothing is written.
///
/// # Errors
///
/// If the authority does not sign, or what it signed is of no use.
pub fn order(config: &Config, acme: &Acme, key: Key) -> anyhow::Result<Signed> {
    let tls = &config.tls;
    let account = text(&acme.account)?;
    let is_new = key == Key::New || !is_there(&tls.key)?;
    let key = if is_new {
        Zeroizing::new(KeyPair::generate().context("no key can be made")?.serialize_pem())
    } else {
        text(&tls.key)?
    };
    let names = acme.names(&config.hostname);
    let wanted = Wanted { names: &names, key: &key, listen: acme.address };
    let chain = authority(acme)?.order(&account, wanted).map_err(told)?;
    let seen = certificates::of_pem(chain.as_bytes(), key.as_bytes());
    let seen = seen.and_then(|seen| match due(Ok(&seen), &names, Timestamp::now()) {
        Due::From(_) => Ok(seen),
        Due::Now(why) => Err(why),
    });
    let seen = seen.map_err(|why| anyhow!(why).context(InVain(acme.directory.clone())))?;
    Ok(Signed { chain, key: is_new.then_some(key), seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_renewal_failed_is_told_before_that_it_could_not_be_noted() {
        let problem = io::Error::from(ErrorKind::ReadOnlyFilesystem);
        let told = not_noted("the authority is away", Path::new("/etc/chain.pem"), &problem);
        assert_eq!(
            told.to_string(),
            "the authority is away; that is not noted in /etc/chain.pem.failed: read-only filesystem or storage medium"
        );
    }
}
