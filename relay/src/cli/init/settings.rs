//! What clients must be told, read from a configuration.

use std::path::Path;

use anyhow::Context as _;

use super::client::{Settings, Trust, is_plain};
use crate::config::{AddressPattern, Config, ListenerTls, SenderPattern, Who};

/// Reads what the samples are filled with, for `login`, or for the first login that has a policy.
///
/// # Errors
///
/// If no listener begins with STARTTLS, or a login or sender is one that the samples cannot hold.
pub fn of_config(config: &Config, login: Option<&str>) -> anyhow::Result<Settings> {
    let listener = config.listeners.iter().find(|listener| listener.tls == ListenerTls::Starttls);
    let listener =
        listener.context("no [[listener]] takes clients by STARTTLS, as the samples do")?;
    let policies = || {
        config.policies.iter().filter_map(|policy| match &policy.who {
            Who::Login(login) => Some((login.as_str(), policy)),
            Who::Tag(_) => None,
        })
    };
    let login = login.or_else(|| policies().map(|(login, _)| login).next()).unwrap_or("app");
    let policy = policies().find(|(name, _)| *name == login).map(|(_, policy)| policy);
    let policy = policy.or_else(|| config.policies.first());
    let from = match policy.and_then(|policy| policy.senders.first()) {
        Some(SenderPattern::Address(AddressPattern::Mailbox(mailbox))) => mailbox.to_string(),
        Some(SenderPattern::Address(AddressPattern::Domain(domain))) => {
            let local = login.split('@').next().unwrap_or(login);
            format!("{local}@{domain}")
        }
        Some(SenderPattern::Address(AddressPattern::Any) | SenderPattern::Null) | None => {
            config.postmaster.to_string()
        }
    };
    for text in [login, &from] {
        if !is_plain(text) {
            anyhow::bail!(
                "\"{text}\" cannot stand in the samples as it is: name another by --login"
            );
        }
    }
    let ca = config.tls.certificate.with_file_name("ca.pem");
    Ok(Settings {
        host: config.hostname.clone(),
        port: listener.address.port(),
        login: login.to_owned(),
        from,
        trust: if ca.exists() && config.tls.acme.is_none() { Trust::Own } else { Trust::Public },
    })
}

/// Returns what every client must know, for people.
#[must_use]
pub fn table(settings: &Settings, certificate: &Path) -> String {
    let Settings { host, port, login, from, trust } = settings;
    let trusts = match trust {
        Trust::Own => format!("give clients {}", certificate.with_file_name("ca.pem").display()),
        Trust::Public => "by an authority that clients know".to_owned(),
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
            assert_eq!((settings.port, settings.trust), (2525, Trust::Public));
        }
        let hostile = policy("login = \"a'b\"", "@example.org");
        let said = of_config(&config(&hostile), None).unwrap_err().to_string();
        assert!(said.contains("cannot stand in the samples"), "{said}");
    }
}
