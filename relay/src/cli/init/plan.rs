//! What would be done, in sentences, and what stands in the way.

use std::path::Path;

use super::accounts::Account;
use super::certificate::Certificate;
use super::draft::{Draft, Next};
use super::folders;
use super::host::Seen;
use super::refusal::{Before, refusals};
use super::settings;
use super::units::{self, DropIn};
use super::unseen;
use super::wish::Wish;
use crate::cli::tls::port::port_trouble;
use crate::doctor::{certificates, files};
use crate::gate::local_ports;
use crate::users::{Store, UsersError};

/// Whether something is made or is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is made.
    Make,
    /// It is there, and stays as it is.
    Keep,
}

/// What becomes of the first login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLogin {
    /// It is added.
    Add,
    /// It is there, made by a set-up that was cut off, and gets another password: nobody has seen the one that it has.
    Renew,
    /// It is there, and stays as it is.
    Keep,
}

impl FirstLogin {
    /// Returns what becomes of a login that is there. Where a configuration is, its password was shown.
    fn of_one_that_is_there(before: Before, users: &Path, login: &str) -> Self {
        match before {
            Before::Nothing if unseen::is_unseen(users, login) => Self::Renew,
            Before::Nothing | Before::SetUp => Self::Keep,
        }
    }
}

/// What would be done.
#[derive(Debug)]
pub struct Plan {
    /// What is wanted.
    pub wish: Wish,
    /// The text of the configuration.
    pub text: String,
    /// The accounts that are not there.
    pub accounts: Vec<Account>,
    /// The certificate and its key.
    pub certificate: Need,
    /// The first login.
    pub login: FirstLogin,
    /// Whether a configuration is replaced.
    pub before: Before,
    /// What systemd is told.
    pub drop_ins: Vec<DropIn>,
}

impl Plan {
    /// Looks at the host and plans.
    ///
    /// # Errors
    ///
    /// With everything that stands in the way, one a line.
    pub fn new(wish: Wish, before: Before) -> Result<Self, String> {
        let draft = &wish.draft;
        let (text, meant) = draft.config()?;
        let seen = Seen::look(&draft.interfaces, draft.listen, &draft.places.pins)
            .map_err(|error| format!("interfaces and listeners cannot be looked at: {error}"))?;
        let mut problems = refusals(draft.listen, &seen, before);
        problems.extend(folders::refusals(draft, &meant));
        // Nobody is given a password that the samples then keep for themselves.
        if let Err(problem) = settings::of_config(&meant, Some(&draft.login)) {
            problems.push(format!("{}: {problem}", problem.flag()));
        }
        if units::are_for(&draft.places.config) {
            problems.extend(hidden(draft));
        }
        let certificate = match certificate(&wish) {
            Ok(need) => need,
            Err(faults) => {
                problems.extend(faults);
                Need::Keep
            }
        };
        let users = draft.places.users();
        let login = match Store::load(&users) {
            Ok(store) if store.logins().any(|login| login == draft.login) => {
                FirstLogin::of_one_that_is_there(before, &users, &draft.login)
            }
            Ok(_) | Err(UsersError::Missing(_)) => FirstLogin::Add,
            Err(problem) => {
                problems.push(problem.to_string());
                FirstLogin::Keep
            }
        };
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let accounts = Account::missing(&draft.user, &draft.admin_group);
        let drop_ins = units::drop_ins(draft, &meant);
        Ok(Self { wish, text, accounts, certificate, login, before, drop_ins })
    }

    /// Returns what keeps the relay from files that were there before it, once its user is there: a sentence each.
    #[must_use]
    pub fn unreadable(&self) -> Vec<String> {
        let draft = &self.wish.draft;
        let mut given: Vec<&Path> = Vec::new();
        if self.certificate == Need::Keep {
            given.extend([draft.places.certificate.as_path(), draft.places.key.as_path()]);
        }
        if let Next::Smarthosts { ca: Some(ca), .. } = &draft.next {
            given.push(ca);
        }
        let trouble = |path: &Path| {
            Some(format!("{} {}", path.display(), files::trouble_for(path, &draft.user)?))
        };
        given.into_iter().filter_map(trouble).collect()
    }

    /// Says what would be done: a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let (draft, mut lines) = (&self.wish.draft, Vec::new());
        let places = &draft.places;
        lines.extend(self.accounts.iter().map(|account| account.command().join(" ")));
        let certificate = places.certificate.display();
        lines.push(match (&self.wish.certificate, self.certificate) {
            (Certificate::Own(names), Need::Make) => format!(
                "make a private authority, and by it {certificate} for {}; clients are to trust {}",
                names.join(", "),
                places.certificate.with_file_name("ca.pem").display()
            ),
            (Certificate::Acme, Need::Make) => {
                let directory = draft.acme.as_ref().map(|acme| acme.directory.as_str());
                format!(
                    "order {certificate} of {}, whose proofs are answered on port 80 as long as that takes",
                    directory.unwrap_or_default()
                )
            }
            (Certificate::Own(_) | Certificate::Acme, Need::Keep) => format!("keep {certificate}, which is there"),
            (Certificate::Given, _) => format!("show clients {certificate}, which stays as it is"),
        });
        let (login, users) = (&draft.login, places.users());
        lines.push(match self.login {
            FirstLogin::Add => {
                format!("add the login {login} to {} and show its password once", users.display())
            }
            FirstLogin::Renew => format!(
                "give the login {login}, which a set-up that was cut off left in {}, another password and show that \
                 once",
                users.display()
            ),
            FirstLogin::Keep => {
                format!("keep the login {login} and its password in {}", users.display())
            }
        });
        if self.wish.secret.is_some() {
            lines.push(format!(
                "write the password for the smarthost to {}",
                places.secret().display()
            ));
        }
        lines.push(format!("make the folder {} for messages", places.spool.display()));
        for DropIn { file, .. } in &self.drop_ins {
            lines.push(format!("tell systemd by {} what is not as its unit says", file.display()));
        }
        let verb = match self.before {
            Before::SetUp => "replace",
            Before::Nothing => "write",
        };
        lines.push(format!("{verb} {}", places.config.display()));
        lines
    }

    /// Says what somebody should know before it is done: a line each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let (draft, mut notes) = (&self.wish.draft, Vec::new());
        if draft.allow.is_empty() {
            notes.push(
                "nobody but this host itself may connect: `sallyport allow add CIDR` admits others"
                    .to_owned(),
            );
        }
        if self.wish.secret.is_none() && matches!(&draft.next, Next::Smarthosts { login: None, .. })
        {
            notes.push("the smarthost must take mail of this host without a login".to_owned());
        }
        if self.wish.certificate == Certificate::Acme && self.certificate == Need::Keep {
            notes.push(
                "the certificate that is there stays: `sallyport tls obtain --agree-terms` has one signed in its \
                 place"
                    .to_owned(),
            );
        }
        notes.extend(local_ports::problem(&[draft.listen.port()]));
        notes
    }
}

/// Returns what processes that systemd starts would not see: a sentence each.
fn hidden(draft: &Draft) -> Vec<String> {
    let places = &draft.places;
    let next_ca = match &draft.next {
        Next::Smarthosts { ca: Some(ca), .. } => Some(("--smarthost-ca", ca)),
        Next::Smarthosts { ca: None, .. } | Next::Capture => None,
    };
    let acme_ca = draft.acme.as_ref().and_then(|acme| acme.ca.as_ref());
    let named = [
        ("--certificate", &places.certificate),
        ("--key", &places.key),
        ("--spool", &places.spool),
        ("--state", &places.state),
        ("--sockets", &places.sockets),
    ];
    let trouble = |(flag, path): (&str, &std::path::PathBuf)| {
        let hidden = units::hides(path)?;
        Some(format!(
            "{flag}: {} is below {hidden}, which the units hide from their processes: name another place",
            path.display()
        ))
    };
    let ca = next_ca.into_iter().chain(acme_ca.map(|ca| ("--acme-ca", ca)));
    named.into_iter().chain(ca).filter_map(trouble).collect()
}

/// Tells whether a certificate is made, or what is wrong with the one that is there.
fn certificate(wish: &Wish) -> Result<Need, Vec<String>> {
    let places = &wish.draft.places;
    let (certificate, key) = (&places.certificate, &places.key);
    let ca = certificate.with_file_name("ca.pem");
    match wish.certificate {
        Certificate::Own(_) if !certificate.exists() && !key.exists() => {
            if !ca.exists() {
                return Ok(Need::Make);
            }
            return Err(vec![format!(
                "{} is there without the certificate that it signed: move it away first",
                ca.display()
            )]);
        }
        Certificate::Acme if !certificate.exists() && !key.exists() => {
            let address = wish.draft.acme.as_ref().map(|acme| acme.address);
            return address.and_then(port_trouble).map_or(Ok(Need::Make), |trouble| {
                Err(vec![format!("--acme: {trouble} (--acme-address)")])
            });
        }
        Certificate::Own(_) | Certificate::Acme | Certificate::Given => {}
    }
    let faults = certificates::faults(certificate, key, &wish.draft.hostname);
    let remedy = "name another by --certificate and --key, or move it away to have one made";
    let faults: Vec<_> = faults.into_iter().map(|fault| format!("{fault}; {remedy}")).collect();
    if faults.is_empty() { Ok(Need::Keep) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::draft::Acme;
    use crate::cli::init::draft::tests::usual;

    #[test]
    fn each_file_that_the_units_hide_is_told_by_its_flag() {
        let ca = Some(Path::new("/root").join("ca.pem"));
        let mut draft = usual();
        assert_eq!(hidden(&draft), [""; 0]);
        draft.next = Next::Smarthosts { hosts: Vec::new(), ca: ca.clone(), login: None };
        draft.acme = Some(Acme {
            directory: "https://ca.example/directory".into(),
            ca,
            names: Vec::new(),
            contact: None,
            address: "[::]:80".parse().unwrap(),
        });
        draft.places.key = Path::new("/home").join("key.pem");
        let told = hidden(&draft);
        let flags: Vec<_> = told.iter().filter_map(|said| said.split(": ").next()).collect();
        assert_eq!(flags, ["--key", "--smarthost-ca", "--acme-ca"], "{told:?}");
    }

    #[test]
    fn a_login_of_a_set_up_that_did_not_come_to_its_end_gets_a_password_that_somebody_sees() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.toml");
        let becomes = |before, login| FirstLogin::of_one_that_is_there(before, &users, login);
        // Of another configuration in the same folder, perhaps.
        assert_eq!(becomes(Before::Nothing, "app"), FirstLogin::Keep);
        std::fs::write(unseen::mark(&users), "app\n").unwrap();
        assert_eq!(becomes(Before::Nothing, "app"), FirstLogin::Renew);
        assert_eq!(becomes(Before::Nothing, "web"), FirstLogin::Keep);
        assert_eq!(becomes(Before::SetUp, "app"), FirstLogin::Keep);
        unseen::forget(&users).unwrap();
        assert_eq!(becomes(Before::Nothing, "app"), FirstLogin::Keep);
    }
}
