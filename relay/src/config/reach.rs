//! What running processes are found by, which can be read of a file that has problems, too.

use super::{Config, Gate, History, Relay, read};

/// The part of a configuration by which running processes are found and asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// The name of the host, for people.
    pub hostname: String,
    /// The gate process; its entries are left out.
    pub gate: Gate,
    /// The relay process.
    pub relay: Relay,
    /// What is kept of the life of each message.
    pub history: History,
}

impl Reach {
    /// Reads what can be read of a text that has problems; the rest is as if it did not stand there. If it is not sure
    /// that the host has no gate, one is taken to be required.
    #[must_use]
    pub fn salvaged(text: &str) -> Self {
        read::salvaged(text)
    }
}

impl From<&Config> for Reach {
    fn from(config: &Config) -> Self {
        Self {
            hostname: config.hostname.clone(),
            gate: Gate { allow: Vec::new(), ..config.gate.clone() },
            relay: config.relay.clone(),
            history: config.history.clone(),
        }
    }
}
