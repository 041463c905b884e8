//! What clients must be told, read from a configuration.

use std::path::Path;

use super::client::{Settings, Trust, is_plain};
use super::trust;
use crate::config::{AddressPattern, Config, ListenerTls, SenderPattern, Who};

/// Why there are no samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSamples {
    /// No listener is for clients as they are.
    #[error("no [[listener]] takes clients by STARTTLS, as the samples do")]
    Listener,
    /// The login would break out of its quotes.
    #[error("\"{0}\" cannot stand in the samples as it is: name another login by --login")]
    Login(String),
    /// Its first sender would.
    #[error(
        "\"{0}\" cannot stand in the samples as it is: let a sender come first that has only letters, digits and \
         . _ + - @ ="
    )]
    Sender(String),
    /// The postmaster would, who stands in for a sender.
    #[error(
        "\"{0}\" cannot stand in the samples as it is: name a sender or a postmaster that has only letters, digits \
         and . _ + - @ ="
    )]
    Postmaster(String),
}

impl NoSamples {
    /// Returns the flag of `init` that names it.
    #[must_use]
    pub const fn flag(&self) -> &'static str {
        match self {
            Self::Listener => "--listen",
            Self::Login(_) => "--login",
            Self::Sender(_) => "--sender",
            Self::Postmaster(_) => "--postmaster",
        }
    }
}

/// Reads what the samples are filled with, for `login`, or for the first login that has a policy.
///
/// # Errors
///
/// If no listener begins with STARTTLS, or a login or sender is one that the samples cannot hold.
pub fn of_config(config: &Config, login: Option<&str>) -> Result<Settings, NoSamples> {
    let listener = config.listeners.iter().find(|listener| listener.tls == ListenerTls::Starttls);
    let listener = listener.ok_or(NoSamples::Listener)?;
    let policies = || {
        config.policies.iter().filter_map(|policy| match &policy.who {
            Who::Login(login) => Some((login.as_str(), policy)),
            Who::Tag(_) => None,
        })
    };
    let login = login.or_else(|| policies().map(|(login, _)| login).next()).unwrap_or("app");
    let policy = policies().find(|(name, _)| *name == login).map(|(_, policy)| policy);
    let policy = policy.or_else(|| config.policies.first());
    let (from, of_sender): (String, fn(String) -> NoSamples) =
        match policy.and_then(|policy| policy.senders.first()) {
            Some(SenderPattern::Address(AddressPattern::Mailbox(mailbox))) => {
                (mailbox.to_string(), NoSamples::Sender)
            }
            Some(SenderPattern::Address(AddressPattern::Domain(domain))) => {
                let local = login.split('@').next().unwrap_or(login);
                (format!("{local}@{domain}"), NoSamples::Sender)
            }
            Some(SenderPattern::Address(AddressPattern::Any) | SenderPattern::Null) | None => {
                (config.postmaster.to_string(), NoSamples::Postmaster)
            }
        };
    if !is_plain(login) {
        return Err(NoSamples::Login(login.to_owned()));
    }
    if !is_plain(&from) {
        return Err(of_sender(from));
    }
    Ok(Settings {
        host: config.hostname.clone(),
        port: listener.address.port(),
        login: login.to_owned(),
        from,
        trust: trust::of(&config.tls.certificate),
    })
}

/// Returns what every client must know, for people.
#[must_use]
pub fn table(settings: &Settings, certificate: &Path) -> String {
    let Settings { host, port, login, from, trust } = settings;
    let trusts = match trust {
        Trust::Own => format!("give clients {}", certificate.with_file_name("ca.pem").display()),
        Trust::Public => "by an authority that clients know".to_owned(),
        Trust::Unknown => "clients must know the authority that signed its certificate".to_owned(),
    };
    format!(
        "server:     {host}, port {port}\nTLS:        STARTTLS, required; {trusts}\nlogin:      {login}, by SCRAM or \
         PLAIN\nsender:     {from}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(policy: &str) -> Config {
        let text = format!(
            "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n[gate]\ninterfaces = [\"eth0\"]\n\
             [[listener]]\naddress = \"[::]:465\"\ntls = \"implicit\"\n[[listener]]\naddress = \"[::]:2525\"\n{policy}"
        );
        Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn the_samples_are_for_a_login_and_a_sender_that_work() {
        let policy =
            |who: &str, sender: &str| format!("[[policy]]\n{who}\nsenders = [\"{sender}\"]\n");
        for (policy, login, wanted) in [
            (policy("login = \"news\"", "@example.org"), None, ("news", "news@example.org")),
            (
                policy("login = \"news@a.example\"", "@example.org"),
                None,
                ("news@a.example", "news@example.org"),
            ),
            (policy("login = \"news\"", "list@example.org"), None, ("news", "list@example.org")),
            (policy("login = \"news\"", "*"), None, ("news", "ops@example.net")),
            (policy("tag = \"apps\"", "@example.org"), Some("web"), ("web", "web@example.org")),
            (String::new(), None, ("app", "ops@example.net")),
        ] {
            let settings = of_config(&config(&policy), login).unwrap();
            assert_eq!((settings.login.as_str(), settings.from.as_str()), wanted, "{policy}");
            assert_eq!((settings.port, settings.trust), (2525, Trust::Unknown));
        }
        for (policy, flag) in [
            (policy("login = \"a'b\"", "@example.org"), "--login"),
            (policy("login = \"news\"", "o'brien@example.org"), "--sender"),
        ] {
            let refused = of_config(&config(&policy), None).unwrap_err();
            assert_eq!(refused.flag(), flag);
            assert!(refused.to_string().contains("cannot stand in the samples"), "{refused}");
        }
        let text = "hostname = \"relay.example.net\"\npostmaster = \"r&d@example.net\"\n[gate]\nrequired = false\n\
                    [[listener]]\naddress = \"[::]:2525\"\n";
        let postmaster = Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(of_config(&postmaster, None).unwrap_err().flag(), "--postmaster");
    }
}
