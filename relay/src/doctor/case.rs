//! What all checks are about: the configuration, what is asked, and what was seen at once.

use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entries::Entries;
use super::firewall::Reading;
use super::links::Links;
use crate::config::Config;
use crate::control::client::{AskError, ask_soon, lives};
use crate::control::wire::{GateRequest, GateStatus, RelayRequest, RelayStatus};

/// How long gate and relay may take to say how they are, and then that they live at all.
const STATUS: Duration = Duration::from_secs(3);
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How long both may take together.
#[cfg(test)]
pub(super) const PATIENCE: Duration = STATUS.saturating_add(SIGN_OF_LIFE);

/// What is looked for besides everything that can be wrong on the host alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A client to follow in.
    pub from: Option<IpAddr>,
    /// A route by its name, or a recipient's domain, to follow mail out by.
    pub to: Option<String>,
}

/// What all checks are about.
pub(super) struct Case {
    pub config: Config,
    pub asked: Asked,
    pub links: Links,
    pub gate: Process<GateStatus>,
    pub relay: Process<RelayStatus>,
    /// The rules of the host's firewall.
    pub rules: Reading,
    /// The entries of the allowlist, once somebody has asked for them.
    pub listed: OnceLock<Entries>,
}

/// What a process of ours says of itself.
#[derive(Debug)]
pub(super) enum Process<T> {
    Says(Box<T>),
    /// Nobody serves its socket.
    Dead,
    /// It serves its socket and answers nothing in time, not even that it lives: in words.
    Silent(String),
    /// It may run, and cannot be asked, or says no more than that it lives: why.
    Unasked(String),
}

impl<T> Process<T> {
    pub(super) const fn says(&self) -> Option<&T> {
        match self {
            Self::Says(status) => Some(status),
            Self::Dead | Self::Silent(_) | Self::Unasked(_) => None,
        }
    }
}

impl<T: DeserializeOwned> Process<T> {
    /// Asks a process how it is. One that has much to do does not hang: it says that it lives.
    fn asked<Q: Serialize + Sync>(socket: &Path, process: &'static str, question: &Q) -> Self {
        match ask_soon(STATUS, socket, process, question) {
            Ok(status) => Self::Says(Box::new(status)),
            Err(AskError::NotRunning { .. }) => Self::Dead,
            Err(error @ (AskError::Silent { .. } | AskError::Hangs { .. })) => {
                if lives(SIGN_OF_LIFE, socket) {
                    Self::Unasked(format!("{error}; it says that it lives, so it has much to do"))
                } else {
                    Self::Silent(error.to_string())
                }
            }
            Err(error) => Self::Unasked(error.to_string()),
        }
    }
}

impl Case {
    /// Asks both processes and the kernel, side by side.
    pub(super) fn open(config: Config, asked: Asked) -> Self {
        let (gate, relay) = (&config.gate.socket, &config.relay.socket);
        let (gate, relay, links) = thread::scope(|scope| {
            let gate = scope.spawn(|| Process::asked(gate, "gate", &GateRequest::Status));
            let relay = scope.spawn(|| Process::asked(relay, "relay", &RelayRequest::Status));
            let links = Links::read();
            let never = "asking does not panic";
            (gate.join().expect(never), relay.join().expect(never), links)
        });
        let (rules, listed) = (Reading::begin(), OnceLock::new());
        Self { config, asked, links, gate, relay, rules, listed }
    }

    /// Returns the entries of the allowlist. Asks for them once, for every check; blocks until they are there.
    pub(super) fn entries(&self) -> &Entries {
        self.listed.get_or_init(|| Entries::ask(self))
    }

    /// Returns whether a gate is meant to stand.
    pub(super) const fn is_guarded(&self) -> bool {
        !self.config.gate.interfaces.is_empty()
    }

    /// Returns one of a host on which nothing runs.
    #[cfg(test)]
    pub(super) fn of_the_dead(config: Config) -> Self {
        let (gate, relay) = (Process::Dead, Process::Dead);
        let (asked, links) = (Asked::default(), Links::default());
        let (rules, listed) = (Reading::of_nothing(), OnceLock::new());
        Self { config, asked, links, gate, relay, rules, listed }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::control::wire::PING;

    /// Serves a socket for one look, and answers nothing but what `says` answers to the question for a sign of life.
    fn seen(says: &'static [u8]) -> Process<RelayStatus> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                let mut stream = BufReader::new(stream);
                let mut line = Vec::new();
                let _ = stream.read_until(b'\n', &mut line);
                if line == PING {
                    let _ = stream.get_mut().write_all(says);
                }
                held.push(stream);
            }
        });
        Process::asked(&path, "relay", &RelayRequest::Status)
    }

    #[test]
    fn a_process_that_says_that_it_lives_does_not_hang() {
        let (busy, hanging) = thread::scope(|scope| {
            let busy = scope.spawn(|| seen(b"{\"ok\":null}\n"));
            let hanging = seen(b"");
            (busy.join().unwrap(), hanging)
        });
        let Process::Unasked(why) = busy else { panic!("{busy:?}") };
        assert!(why.contains("so it has much to do"), "{why}");
        assert!(matches!(hanging, Process::Silent(_)), "{hanging:?}");
    }
}
