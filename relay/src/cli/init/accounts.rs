//! The accounts that the processes need: the relay's user, and the group of its operators.

use std::process::{Command, Output};

use anyhow::{Context as _, bail};

use crate::appliance::privilege::{Identity, group};

/// An account that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A user, with a group of the same name.
    User(String),
    /// A group.
    Group(String),
}

impl Account {
    /// Returns those that are not there, of the relay's user and the group of its operators. A number needs no
    /// account.
    #[must_use]
    pub fn missing(user: &str, admin_group: &str) -> Vec<Self> {
        let made = Identity::of(user).is_err().then(|| Self::User(user.to_owned()));
        // The user's own group comes with the user.
        let comes = made.is_some() && user == admin_group;
        let is_missing = !comes && group(admin_group).is_none();
        let group = is_missing.then(|| Self::Group(admin_group.to_owned()));
        made.into_iter().chain(group).collect()
    }

    /// Returns the command that makes it.
    #[must_use]
    pub fn command(&self) -> Vec<&str> {
        match self {
            Self::User(name) => vec![
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir",
                "/nonexistent",
                "--shell",
                "/usr/sbin/nologin",
                name,
            ],
            Self::Group(name) => vec!["groupadd", "--system", name],
        }
    }

    /// Makes it.
    ///
    /// # Errors
    ///
    /// If there is no program for it, or it refuses; the command is in the error.
    pub fn make(&self) -> anyhow::Result<()> {
        run(&self.command())
    }

    /// Takes it away again.
    ///
    /// # Errors
    ///
    /// As [`Account::make`].
    pub fn remove(&self) -> anyhow::Result<()> {
        match self {
            // Its group goes with it.
            Self::User(name) => run(&["userdel", name]),
            Self::Group(name) => run(&["groupdel", name]),
        }
    }
}

/// Runs a program of the system, which may lie where the PATH of its caller does not lead.
fn run(words: &[&str]) -> anyhow::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let line = words.join(" ");
    let Output { status, stderr, .. } = command
        .output()
        .with_context(|| format!("`{line}` cannot be run; make the account by hand"))?;
    if !status.success() {
        bail!("`{line}` failed ({status}): {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accounts_that_are_not_there_are_missing() {
        assert!(Account::missing("root", "root").is_empty());
        assert!(Account::missing("3999999999", "root").is_empty());
        let missing = Account::missing("no-such-user", "no-such-group");
        let wanted = [Account::User("no-such-user".into()), Account::Group("no-such-group".into())];
        assert_eq!(missing, wanted);
        assert_eq!(Account::missing("no-such-user", "no-such-user"), wanted[..1]);
        assert_eq!(missing[1].command(), ["groupadd", "--system", "no-such-group"]);
    }

    #[test]
    fn what_fails_names_the_command() {
        let failed = run(&["false", "--system", "x"]).unwrap_err().to_string();
        assert!(failed.starts_with("`false --system x` failed"), "{failed}");
        let absent = format!("{:#}", run(&["no-such-program-here", "x"]).unwrap_err());
        assert!(absent.contains("make the account by hand"), "{absent}");
    }
}
