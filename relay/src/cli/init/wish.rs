//! What the operator wants, from flags, answers and defaults.

use std::fs;
use std::io::{self, BufRead as _, Read as _};
use std::net::SocketAddr;
use std::path::{self, Path};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::certificate::{Certificate, certificate};
use super::client::is_plain;
use super::draft::{Draft, Next, Places};
use super::hidden;
use super::host::{self, Seen};
use super::question::{Answers, Interview, Question};
use super::refusal::{Before, refusals};
use crate::cli::args::InitFlags;
use crate::config::unit;

/// The longest file of a password that is read, octets.
const SECRET_MAX: u64 = 4096;
/// The word for none of something.
pub(super) const NONE: &str = "none";
/// The word for mail that is not sent on.
const KEEP: &str = "keep";

/// What the operator wants.
#[derive(Debug)]
pub struct Wish {
    /// The configuration.
    pub draft: Draft,
    /// Whose certificate clients see.
    pub certificate: Certificate,
    /// Our password at the smarthost.
    pub secret: Option<Zeroizing<String>>,
}

/// Collects what is wanted: asks what no flag says, if somebody can answer.
///
/// # Errors
///
/// With every flag that is missing or wrong, or if the terminal goes away.
pub fn wish(file: &Path, flags: &InitFlags, before: Before) -> anyhow::Result<Wish> {
    let (mut input, mut output) = ((!flags.yes).then(|| io::stdin().lock()), io::stdout());
    let answers = match &mut input {
        Some(input) => Answers::Asked { input, output: &mut output },
        None => Answers::Defaults,
    };
    let mut interview = Interview::new(answers);
    let mut draft = stand_in(file, flags)?;
    who(&mut interview, &mut draft, flags)?;
    door(&mut interview, &mut draft, flags, before)?;
    let certificate = certificate(&mut interview, &mut draft, flags)?;
    login(&mut interview, &mut draft, flags)?;
    let secret = next(&mut interview, &mut draft, flags)?;
    let spool = flags.spool.as_deref().map(Path::to_string_lossy);
    let asked = Question {
        flag: "--spool",
        words: "Folder of messages",
        default: Some(draft.places.spool.display().to_string()),
        check: &|answer| try_out(&draft, |draft| draft.places.spool = answer.into()),
    };
    let spool = interview.answer(spool.as_deref(), &asked)?;
    draft.places.spool = path::absolute(&spool).unwrap_or_else(|_| spool.into());
    interview.end()?;
    Ok(Wish { draft, certificate, secret })
}

/// Returns a draft in which what is not known yet is something that can stand.
fn stand_in(file: &Path, flags: &InitFlags) -> anyhow::Result<Draft> {
    let absolute =
        |path: &Path| path::absolute(path).with_context(|| format!("{}", path.display()));
    let state = absolute(&flags.state)?;
    let config = absolute(file)?;
    let tls = config.with_file_name("tls");
    Ok(Draft {
        hostname: "relay.invalid".into(),
        postmaster: "postmaster@relay.invalid".into(),
        interfaces: vec!["eth0".into()],
        listen: host::every_address(),
        login: "app".into(),
        senders: vec!["@relay.invalid".into()],
        allow: Vec::new(),
        next: Next::Capture,
        acme: None,
        user: flags.user.clone(),
        admin_group: flags.admin_group.clone(),
        places: Places {
            config,
            certificate: tls.join("fullchain.pem"),
            key: tls.join("key.pem"),
            spool: state.join("spool"),
            state,
            sockets: absolute(&flags.sockets)?,
            pins: absolute(&flags.pins)?,
        },
    })
}

/// Says what the check of the configuration has against a change.
pub(super) fn try_out(draft: &Draft, change: impl FnOnce(&mut Draft)) -> Result<(), String> {
    let mut changed = draft.clone();
    change(&mut changed);
    changed.config().map(drop).map_err(|problems| {
        let first = problems.lines().next().unwrap_or_default();
        // The key is known: it was asked for.
        first.split_once(": ").map_or(first, |(_, problem)| problem).to_owned()
    })
}

fn who(interview: &mut Interview<'_>, draft: &mut Draft, flags: &InitFlags) -> anyhow::Result<()> {
    let own = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
    let asked = Question {
        flag: "--hostname",
        words: "Name of this host, as clients call it",
        default: own.filter(|name| name.contains('.') && !name.ends_with(".localdomain")),
        check: &|answer| try_out(draft, |draft| draft.hostname = answer.into()),
    };
    draft.hostname = interview.answer(flags.hostname.as_deref(), &asked)?;
    let asked = Question {
        flag: "--postmaster",
        words: "Address for reports that reach nobody else",
        default: Some(format!("postmaster@{}", domain(&draft.hostname))),
        check: &|answer| try_out(draft, |draft| draft.postmaster = answer.into()),
    };
    draft.postmaster = interview.answer(flags.postmaster.as_deref(), &asked)?;
    Ok(())
}

/// Returns the domain that a host's users have: its own name without the host, if something is left of it.
fn domain(hostname: &str) -> &str {
    match hostname.split_once('.') {
        Some((_, domain)) if domain.contains('.') => domain,
        _ => hostname,
    }
}

fn door(
    interview: &mut Interview<'_>,
    draft: &mut Draft,
    flags: &InitFlags,
    before: Before,
) -> anyhow::Result<()> {
    let found = host::default_interfaces();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let look = |interfaces: &[String], listen| {
        let seen = Seen::look(interfaces, listen, &draft.places.pins)
            .map_err(|error| format!("cannot be looked at: {error}"))?;
        refusals(listen, &seen, before).into_iter().next().map_or(Ok(()), |refusal| {
            // The flag is known: it was asked for.
            Err(refusal.split_once(": ").map_or(refusal.clone(), |(_, why)| why.to_owned()))
        })
    };
    let asked = Question {
        flag: "--interface",
        words: "Interfaces to guard",
        default: (!found.is_empty()).then(|| found.join(" ")),
        check: &|answer| {
            try_out(draft, |draft| draft.interfaces = vec![answer.into()])?;
            look(&[answer.to_owned()], loopback)
        },
    };
    draft.interfaces = interview.list(&flags.interfaces, &asked)?;
    let given = flags.listen.map(|address| address.to_string());
    let asked = Question {
        flag: "--listen",
        words: "Address and port to listen on",
        default: Some(draft.listen.to_string()),
        check: &|answer| look(&[], address(answer)?),
    };
    let listen = interview.answer(given.as_deref(), &asked)?;
    draft.listen = address(&listen).unwrap_or(draft.listen);
    let network = host::session().and_then(host::network_of).map(|network| network.to_string());
    // Nobody is let in unseen.
    let offered = network.filter(|_| interview.is_asked()).unwrap_or_else(|| NONE.into());
    let given: Vec<String> = flags.allow.iter().map(ToString::to_string).collect();
    let asked = Question {
        flag: "--allow",
        words: "Networks that may connect, or none",
        default: Some(offered),
        check: &|answer| if answer == NONE { Ok(()) } else { unit::network(answer).map(drop) },
    };
    let allow = interview.list_or(&given, &asked, NONE)?;
    draft.allow = allow.iter().filter_map(|one| unit::network(one).ok()).collect();
    draft.allow.dedup();
    Ok(())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no address with a port: write [::]:2525"))?;
    if address.port() == 0 { Err("the port must not be 0".to_owned()) } else { Ok(address) }
}

fn login(
    interview: &mut Interview<'_>,
    draft: &mut Draft,
    flags: &InitFlags,
) -> anyhow::Result<()> {
    let asked = Question {
        flag: "--login",
        words: "First login",
        default: Some("app".into()),
        check: &|answer| {
            if !is_plain(answer) {
                return Err(
                    "a login has letters, digits and . _ + - @ = here; `user add` takes others"
                        .into(),
                );
            }
            try_out(draft, |draft| draft.login = answer.into())
        },
    };
    draft.login = interview.answer(flags.login.as_deref(), &asked)?;
    let asked = Question {
        flag: "--sender",
        words: "What it may send as: addresses, or @domains",
        default: Some(format!("@{}", domain(&draft.hostname))),
        check: &|answer| try_out(draft, |draft| draft.senders = vec![answer.into()]),
    };
    draft.senders = interview.list(&flags.senders, &asked)?;
    Ok(())
}

/// Asks where mail goes next; returns our password there.
fn next(
    interview: &mut Interview<'_>,
    draft: &mut Draft,
    flags: &InitFlags,
) -> anyhow::Result<Option<Zeroizing<String>>> {
    let smarthosts = |hosts: Vec<String>| Next::Smarthosts { hosts, ca: None, login: None };
    let given = if flags.capture { vec![KEEP.to_owned()] } else { flags.smarthosts.clone() };
    let asked = Question {
        flag: "--smarthost (or --capture)",
        words: "Where mail goes next: HOST:PORT of a smarthost, or keep to keep it here",
        default: None,
        check: &|answer| match answer {
            KEEP => Ok(()),
            host => try_out(draft, |draft| draft.next = smarthosts(vec![host.into()])),
        },
    };
    let hosts = interview.list_or(&given, &asked, KEEP)?;
    if hosts.iter().any(|host| host == KEEP) {
        return Ok(None);
    }
    let with = |login: Option<&str>| Next::Smarthosts {
        hosts: hosts.clone(),
        ca: flags
            .smarthost_ca
            .as_deref()
            .map(|ca| path::absolute(ca).unwrap_or_else(|_| ca.into())),
        login: login.map(str::to_owned),
    };
    let asked = Question {
        flag: "--smarthost-login",
        words: "Our login there, or none",
        default: Some(NONE.into()),
        check: &|answer| match answer {
            NONE => Ok(()),
            login => try_out(draft, |draft| draft.next = with(Some(login))),
        },
    };
    let login = interview.answer(flags.smarthost_login.as_deref(), &asked)?;
    let login = Some(login.as_str()).filter(|login| *login != NONE);
    draft.next = with(login);
    match (login, &flags.smarthost_password) {
        (None, _) => Ok(None),
        (Some(_), Some(file)) if !interview.is_asked() || file != Path::new("-") => {
            secret_of(file).map(Some)
        }
        (Some(_), _) => interview.secret("Our password there (not shown)", hidden::line),
    }
}

/// Reads the first line of a file, or of standard input.
fn secret_of(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let name = || format!("--smarthost-password-file: {}", file.display());
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        io::stdin().lock().take(SECRET_MAX).read_line(&mut text).with_context(name)?;
    } else {
        fs::File::open(file)
            .and_then(|file| file.take(SECRET_MAX).read_to_string(&mut text))
            .with_context(name)?;
    }
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("{}: its first line is empty", name());
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_domain_of_their_host() {
        for (host, wanted) in [
            ("relay.example.net", "example.net"),
            ("relay.mail.example.net", "mail.example.net"),
            ("example.net", "example.net"),
            ("relay", "relay"),
        ] {
            assert_eq!(domain(host), wanted);
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, wanted) in [
            ("secret\nmore\n", Some("secret")),
            ("secret", Some("secret")),
            ("\nsecret\n", None),
            ("", None),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(
                secret_of(file.path()).ok().as_deref().map(String::as_str),
                wanted,
                "{text:?}"
            );
        }
        let absent = format!("{:#}", secret_of(Path::new("/nowhere/at-all")).unwrap_err());
        assert!(absent.starts_with("--smarthost-password-file: /nowhere/at-all"), "{absent}");
    }
}
