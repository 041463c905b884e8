//! What the kernel is to be told, and what people are.

use relay_common::state::{OwnHost, Scope};

use super::lists::Lists;
use crate::config::Config;
use crate::gate::{GateError, InterfaceState, Ruleset};

/// Returns what the kernel is to be told.
#[must_use]
pub fn ruleset(config: &Config, lists: &Lists) -> Ruleset {
    Ruleset {
        ports: guarded_ports(config),
        scope: if config.gate.strict { Scope::EverySegment } else { Scope::SynOnly },
        own_host: if config.gate.loopback { OwnHost::Admitted } else { OwnHost::Judged },
        entries: lists.allow.entries().map(crate::gate::entry::Entry::for_kernel).collect(),
        bans: lists.bans.iter().map(|ban| (ban.net, ban.until_ns)).collect(),
    }
}

/// Returns the guarded ports in order.
pub fn guarded_ports(config: &Config) -> Vec<u16> {
    let guarded = config.listeners.iter().filter(|listener| listener.gate);
    let mut ports: Vec<u16> = guarded.map(|listener| listener.address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Returns whether an interface is as it should be.
pub const fn stands(state: &InterfaceState) -> bool {
    match state {
        InterfaceState::Guarded { .. } | InterfaceState::Off => true,
        InterfaceState::Missing
        | InterfaceState::Foreign { .. }
        | InterfaceState::NoInterface
        | InterfaceState::Unknown { .. } => false,
    }
}

/// Says what is wrong with an interface.
pub fn problem(state: &InterfaceState) -> String {
    match state {
        InterfaceState::Guarded { .. } => String::new(),
        InterfaceState::Off => "UNGUARDED: there is no gate".into(),
        InterfaceState::Missing => "the gate's program is missing".into(),
        InterfaceState::Foreign { program_id } => {
            format!("another program is in its place; see `bpftool prog show id {program_id}`")
        }
        InterfaceState::NoInterface => "there is no such interface; see `ip link`".into(),
        InterfaceState::Unknown { problem } => problem.clone(),
    }
}

/// Says an error with its cause.
pub fn told(error: &GateError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
