//! What all checks are about: the configuration, what is asked, and what was seen at once.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::firewall::Reading;
use super::links::Links;
use crate::config::Config;
use crate::control::client::{AskError, ask_soon};
use crate::control::wire::{GateRequest, GateStatus, RelayRequest, RelayStatus};

/// How long gate and relay may take to say how they are.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

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
}

/// What a process of ours says of itself.
#[derive(Debug)]
pub(super) enum Process<T> {
    Says(Box<T>),
    /// Nobody serves its socket.
    Dead,
    /// It serves its socket and does not answer in time, as it says.
    Silent(String),
    /// It may run, and cannot be asked: why.
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

impl<T> From<Result<T, AskError>> for Process<T> {
    fn from(answer: Result<T, AskError>) -> Self {
        match answer {
            Ok(status) => Self::Says(Box::new(status)),
            Err(AskError::NotRunning { .. }) => Self::Dead,
            Err(error @ (AskError::Silent { .. } | AskError::Hangs { .. })) => {
                Self::Silent(error.to_string())
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
            let gate = scope
                .spawn(|| ask_soon::<_, GateStatus>(PATIENCE, gate, "gate", &GateRequest::Status));
            let relay = scope.spawn(|| {
                ask_soon::<_, RelayStatus>(PATIENCE, relay, "relay", &RelayRequest::Status)
            });
            let links = Links::read();
            let never = "asking does not panic";
            (gate.join().expect(never).into(), relay.join().expect(never).into(), links)
        });
        Self { config, asked, links, gate, relay, rules: Reading::begin() }
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
        Self { config, asked, links, gate, relay, rules: Reading::of_nothing() }
    }
}
