//! `sallyport mode|detach|reload|audit`: what is done to the gate as a whole.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::args::ModeVerb;
use super::gate::{asked, is_wanted};
use super::print::{self, Output};
use super::queue::at;
use super::users::Users;
use crate::config::{Config, Gate, OnLoss};
use crate::control::client::{AskError, ask};
use crate::control::wire::{GateRequest, RelayRequest};
use crate::gate::audit::{Change, Page};

/// The networks that a line of the audit log shows; `--json` shows all.
const NETWORKS_SHOWN: usize = 4;

/// Enforces or observes.
///
/// # Errors
///
/// If the gate does not run, or refuses.
pub fn mode(socket: &Path, verb: &ModeVerb) -> Result<(), AskError> {
    let observe_ms = match verb {
        ModeVerb::Enforce => None,
        ModeVerb::Observe { time } => Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    let until: Option<Timestamp> = ask(socket, "gate", &GateRequest::Mode { observe_ms })?;
    print::say(match until {
        None => "the gate enforces".to_owned(),
        Some(until) => format!(
            "the gate only observes until {}: everybody reaches the guarded ports, and `sallyport \
             status` counts what should have been dropped",
            at(until)
        ),
    });
    Ok(())
}

/// Takes the gate away, with its process or, where that does not run, without it.
///
/// # Errors
///
/// If the gate refuses, or this process may not.
pub fn detach(gate: &Gate) -> anyhow::Result<()> {
    match ask::<_, ()>(&gate.socket, "gate", &GateRequest::Detach) {
        Ok(()) => {}
        // One that an earlier configuration left is taken away as well.
        Err(error @ AskError::NotRunning { .. }) => {
            if !is_wanted(gate) && !gate.pins.exists() {
                return asked(gate, Err(error));
            }
            crate::gate::detach(&gate.pins)?;
        }
        Err(error) => return Err(error.into()),
    }
    print::say(match gate.on_loss {
        OnLoss::Refuse => {
            "the host is open: nothing keeps strangers from the ports. The relay serves nobody meanwhile, as \
             gate.on-loss = \"refuse\" wants it; start the gate to guard the host"
        }
        OnLoss::SecondDoor => {
            "the host is open: nothing keeps strangers from the ports; start the gate to guard it"
        }
    });
    Ok(())
}

/// Has the gate, if this host has one, and the relay read the configuration again.
///
/// # Errors
///
/// If one of them does not run, or the file has problems; then that one stays as it was. If something that
/// the file names cannot be used; then the rest counts.
pub fn reload(config: &Config) -> Result<(), AskError> {
    if is_wanted(&config.gate) {
        let left_out = ask(&config.gate.socket, "gate", &GateRequest::Reload)?;
        print::say(reloaded("gate", left_out));
    }
    let left_out = ask(&config.relay.socket, "relay", &RelayRequest::Reload)?;
    print::say(reloaded("relay", left_out));
    Ok(())
}

fn reloaded(process: &str, left_out: Option<String>) -> String {
    left_out.map_or_else(
        || format!("{process}: reloaded"),
        |left| format!("{process}: reloaded, but {left}"),
    )
}

/// Shows the audit log.
///
/// # Errors
///
/// If the gate does not run, or refuses.
pub fn audit(socket: &Path, since: Duration, limit: usize, output: Output) -> anyhow::Result<()> {
    let since = Timestamp::now().checked_sub(since)?;
    let page: Page = ask(socket, "gate", &GateRequest::Audit { since, limit })?;
    if output == Output::Json {
        print::json(&page);
        return Ok(());
    }
    let mut users = Users::default();
    let rows: Vec<_> = page.changes.iter().map(|change| row(change, &mut users)).collect();
    print::table(["TIME", "BY", "WHAT", "NETWORKS", "DETAIL"], &rows);
    for line in page.broken_lines {
        print::say(format!("WARNING: line {line} of the log does not follow the line before it"));
    }
    Ok(())
}

fn row(change: &Change, users: &mut Users) -> [String; 5] {
    let shown = |networks: &[String], sign: &str| {
        let first = networks.iter().take(NETWORKS_SHOWN);
        let mut text: Vec<String> = first.map(|network| format!("{sign}{network}")).collect();
        if networks.len() > NETWORKS_SHOWN {
            text.push(format!("and {} more", networks.len() - NETWORKS_SHOWN));
        }
        text.join(" ")
    };
    let added = shown(&change.networks, "");
    let removed = shown(&change.removed, "-");
    [
        at(change.at),
        change.uid.map_or_else(|| "-".to_owned(), |uid| users.name(uid)),
        change.verb.clone(),
        [added, removed].join(" ").trim().to_owned(),
        change.detail.clone().unwrap_or_default(),
    ]
}
