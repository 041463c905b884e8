//! Reading the configuration file, for every process and verb.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::{Config, Gate, Listener, Problem, Shown};

/// Reads and checks a configuration file.
///
/// # Errors
///
/// If the file cannot be read, or with every problem in it, one a line: `FILE: line 3, column 1: …`.
pub fn load(file: &Path) -> anyhow::Result<Config> {
    read_as(file, Config::parse)
}

/// Reads a configuration file as [`load`] does, and returns every key of it with what it comes to.
///
/// # Errors
///
/// As [`load`].
pub fn shown(file: &Path) -> anyhow::Result<Shown> {
    read_as(file, Config::shown)
}

fn read_as<T>(
    file: &Path,
    read: impl FnOnce(&str) -> Result<T, Vec<Problem>>,
) -> anyhow::Result<T> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{name}: cannot be read (name another with --config)"))?;
    read(&text).or_else(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{name}: {problem}")).collect();
        bail!("{}", lines.join("\n"))
    })
}

/// A configuration file that was read again by a running process.
#[derive(Debug)]
pub struct Reloaded {
    /// What is in force from now on.
    pub config: Config,
    /// A sentence about the keys that the file changes and a running process cannot.
    pub left_out: Option<String>,
}

/// Reads the file again for a process that runs by `old`. What only a restart can change stays: a
/// port whose socket still listens must stay guarded, whatever the file says of it now.
///
/// # Errors
///
/// As [`load`].
pub fn reload(file: &Path, old: &Config) -> anyhow::Result<Reloaded> {
    let written = load(file)?;
    let config = with_what_stays(written.clone(), old);
    let keys = changed(&config, &written);
    let left_out = (!keys.is_empty())
        .then(|| format!("this changes with a restart only: {}", keys.join(", ")));
    Ok(Reloaded { config, left_out })
}

/// Answers whoever had `process` read the file again.
///
/// # Errors
///
/// With every problem, if the process goes on without something that the file says.
pub(super) fn answer(
    process: &str,
    left_out: Option<String>,
    problems: &[String],
) -> Result<Option<String>, String> {
    if problems.is_empty() {
        return Ok(left_out);
    }
    let all: Vec<_> = left_out.iter().chain(problems).map(String::as_str).collect();
    Err(format!("{process}: reloaded, but: {}", all.join("\n  and: ")))
}

/// Names the keys that differ, of those that stay while a process runs.
fn changed(kept: &Config, written: &Config) -> Vec<&'static str> {
    let (gate, new) = (&kept.gate, &written.gate);
    [
        ("sandbox", kept.sandbox != written.sandbox),
        ("gate.interfaces", gate.interfaces != new.interfaces),
        ("gate.state", gate.state != new.state),
        ("gate.pins", gate.pins != new.pins),
        ("gate.socket", gate.socket != new.socket),
        ("gate.admin-group", gate.admin_group != new.admin_group),
        ("relay.user", kept.relay.user != written.relay.user),
        ("relay.socket", kept.relay.socket != written.relay.socket),
        ("relay.users", kept.relay.users != written.relay.users),
        ("listener", kept.listeners != written.listeners),
        ("spool.path", kept.spool.path != written.spool.path),
        ("spool.reserve", kept.spool.reserve_bytes != written.spool.reserve_bytes),
        ("spool.messages", kept.spool.messages != written.spool.messages),
        ("history", kept.history != written.history),
        ("log", kept.log != written.log),
        ("traces", kept.traces != written.traces),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

fn with_what_stays(new: Config, old: &Config) -> Config {
    let stays = old.gate.clone();
    let gate = Gate {
        interfaces: stays.interfaces,
        state: stays.state,
        pins: stays.pins,
        socket: stays.socket,
        admin_group: stays.admin_group,
        ..new.gate
    };
    Config {
        gate,
        sandbox: old.sandbox,
        relay: old.relay.clone(),
        listeners: old.listeners.iter().map(|old| listener(old, &new.listeners)).collect(),
        spool: old.spool.clone(),
        history: old.history.clone(),
        log: old.log,
        traces: old.traces.clone(),
        ..new
    }
}

/// A listener as it goes on: where it is and what guards it stays, whom it believes does not.
fn listener(old: &Listener, new: &[Listener]) -> Listener {
    let old = old.clone();
    match new.iter().find(|new| new.address == old.address) {
        Some(Listener { proxy, xclient, .. }) => {
            Listener { proxy: proxy.clone(), xclient: xclient.clone(), ..old }
        }
        None => old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::signing::Keys;

    fn written(text: &str) -> Config {
        let whole =
            format!("hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n{text}");
        Config::parse(&whole).unwrap()
    }

    #[test]
    fn a_reload_takes_what_can_change_and_names_what_cannot() {
        let old = written("[gate]\ninterfaces = [\"a\"]\n[[listener]]\naddress = \"[::]:2525\"\n");
        let rows = [
            ("strict = false", "[::]:2525", None),
            ("on-loss = \"second-door\"", "[::]:2525", None),
            ("required = false", "[::]:2525", None),
            ("pins = \"/other\"", "[::]:2525", Some("gate.pins")),
            (
                "socket = \"/o\"\nadmin-group = \"o\"",
                "[::]:2525",
                Some("gate.socket, gate.admin-group"),
            ),
            ("", "[::]:2526", Some("listener")),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        for (gate, address, left_out) in rows {
            let new = format!(
                "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n[gate]\n\
                 interfaces = [\"a\"]\n{gate}\n[[listener]]\naddress = \"{address}\"\n"
            );
            std::fs::write(&file, new).unwrap();
            let reloaded = reload(file.path(), &old).unwrap();
            let named = reloaded.left_out.as_deref().and_then(|text| text.split_once(": "));
            assert_eq!(named.map(|(_, keys)| keys), left_out, "{gate} {address}");
            assert_eq!(reloaded.config.listeners, old.listeners);
            assert_eq!(reloaded.config.gate.pins, old.gate.pins);
            let changed = reloaded.config != old;
            assert_eq!(changed, left_out.is_none(), "{gate} {address}");
        }
    }

    #[test]
    fn a_reload_takes_who_is_believed() {
        let listener = "[gate]\ninterfaces = [\"a\"]\n[[listener]]\naddress = \"[::]:2525\"\n";
        let old = written(&format!("{listener}proxy = [\"192.0.2.8\"]\n"));
        let new = written(&format!("{listener}xclient = [\"192.0.2.9\"]\n"));
        assert_eq!(with_what_stays(new.clone(), &old), new);
    }

    #[test]
    fn who_asks_for_a_reload_hears_of_all_that_did_not_follow() {
        let left = || Some("this changes with a restart only: listener".to_owned());
        assert_eq!(answer("relay", left(), &[]), Ok(left()));
        assert_eq!(answer("relay", None, &[]), Ok(None));
        let config = written(
            "[gate]\ninterfaces = [\"a\"]\n[[listener]]\naddress = \"[::]:2525\"\n[[dkim]]\n\
             domain = \"a.example\"\nselector = \"s\"\nkey-file = \"/nowhere/key\"\n",
        );
        let unsigned: Vec<_> = Keys::load(&config).unsigned().collect();
        let said = answer("relay", left(), &unsigned).unwrap_err();
        let start = "relay: reloaded, but: this changes with a restart only: listener\n  and: the DKIM \
                     key of a.example, /nowhere/key: ";
        assert!(said.starts_with(start), "{said}");
        assert!(said.ends_with("; the mail that it signs waits"), "{said}");
    }
}
