//! `sallyport user …`: logins and their stored keys.

use std::io::BufRead as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::args::UserVerb;
use super::print::{self, Output};
use crate::appliance::folders;
use crate::appliance::privilege::Identity;
use crate::config::Config;
use crate::users::{self, Password, Store, UsersError};

/// Room for the line that a password stands in, octets: it has 256 at most.
const LINE_ROOM: usize = 1024;

/// Does what a verb says to the file that the configuration names. The relay sees the change at the
/// next login.
///
/// # Errors
///
/// If the file cannot be read or written, or the login or the password is refused.
pub fn user(config: &Config, verb: UserVerb) -> anyhow::Result<()> {
    let file = &config.relay.users;
    match verb {
        UserVerb::Add { login, stdin } => {
            told(users::add(file, &login, password(stdin)?)?);
            readable(config)?;
        }
        UserVerb::Passwd { login, stdin } => {
            told(users::change(file, &login, password(stdin)?)?);
            readable(config)?;
        }
        UserVerb::Remove { login } => {
            users::remove(file, &login)?;
            readable(config)?;
            print::say(format!("{login} removed"));
        }
        UserVerb::List { output } => list(file, output.form())?,
    }
    Ok(())
}

/// Gives the file to the relay's group. Who is not root edits a file of its own.
fn readable(config: &Config) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        folders::readable_by_relay(&config.relay.users, Identity::of(&config.relay.user)?)?;
    }
    Ok(())
}

/// Reads the first line of standard input, or asks for a password to be made.
fn password(from_stdin: bool) -> anyhow::Result<Password> {
    if !from_stdin {
        return Ok(Password::Made);
    }
    // A line that grows would leave copies of the password behind.
    let mut line = Zeroizing::new(String::with_capacity(LINE_ROOM));
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    Ok(Password::Chosen(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())))
}

/// Shows a password that was made: nobody will see it again.
fn told(made: Option<Zeroizing<String>>) {
    match made {
        Some(password) => print::say(Zeroizing::new(["password: ", &password].concat())),
        None => print::say("the password is set"),
    }
}

fn list(file: &Path, output: Output) -> anyhow::Result<()> {
    let store = match Store::load(file) {
        Err(UsersError::Missing(_)) => Store::empty(),
        read => read?,
    };
    let rows: Vec<[String; 1]> = store.logins().map(|login| [login.to_owned()]).collect();
    match output {
        Output::Json => {
            let logins: Vec<_> = rows.iter().map(|[login]| json!({ "login": login })).collect();
            print::json(&logins);
        }
        Output::Text => print::table(["LOGIN"], &rows),
    }
    Ok(())
}
