//! `sallyport alert …`: what is wrong, and who is told.

mod listed;
mod replay;

use std::path::Path;
use std::process::ExitCode;

use super::args::AlertVerb;
use super::print::{self, Output};
use super::reach::reach;
use crate::alert::listing::{Listing, Tested};
use crate::appliance::load::load;
use crate::control::client::ask;
use crate::control::wire::RelayRequest;
use crate::event::wording::word;

/// Does what a verb says, through the relay's socket. A test that a channel did not take is exit code 1.
///
/// # Errors
///
/// If the relay does not run, or refuses; if recorded samples cannot be read.
pub fn alert(file: &Path, verb: AlertVerb) -> anyhow::Result<ExitCode> {
    let socket = || reach(file).map(|found| found.reach.relay.socket);
    match verb {
        // The relay need not run for this one, but the file must be good.
        AlertVerb::Replay { files, usual, output } => {
            let replayed = replay::replay(&files, usual.as_deref(), load(file)?.spikes)?;
            replay::print(&replayed, output.form());
        }
        AlertVerb::List { output } => {
            let listing: Listing = ask(&socket()?, "relay", &RelayRequest::AlertList)?;
            match output.form() {
                Output::Json => print::json(&listing),
                Output::Text => print::say(listed::text(&listing, print::room().columns)),
            }
        }
        AlertVerb::Test { channel, output } => {
            let tested: Vec<Tested> =
                ask(&socket()?, "relay", &RelayRequest::AlertTest { channel })?;
            match output.form() {
                Output::Json => print::json(&tested),
                Output::Text if tested.is_empty() => {
                    print::say("no channels: name one in [alerts]");
                }
                Output::Text => {
                    let rows: Vec<_> = tested.iter().map(tested_row).collect();
                    print::table(["CHANNEL", "KIND", "TEST", "WHAT IT SAID"], &rows);
                }
            }
            if !tested.iter().all(|tested| tested.taken) {
                return Ok(ExitCode::FAILURE);
            }
        }
        AlertVerb::Silence { pattern, remove: true, .. } => {
            let gone = format!("the silence of {pattern} is over");
            ask::<_, ()>(&socket()?, "relay", &RelayRequest::AlertUnsilence { pattern })?;
            print::say(gone);
        }
        AlertVerb::Silence { pattern, time, note, remove: false } => {
            let time = time.unwrap_or_default();
            let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let silent = format!(
                "nothing is told of {pattern} for {}. To end that: sallyport alert silence --remove {}",
                crate::config::unit::written(time),
                word(&pattern.to_string())
            );
            ask::<_, ()>(
                &socket()?,
                "relay",
                &RelayRequest::AlertSilence { pattern, for_ms, note },
            )?;
            print::say(silent);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tested_row(tested: &Tested) -> [String; 4] {
    let Tested { channel, kind, taken, words } = tested;
    let taken = if *taken { "taken" } else { "FAILED" };
    [channel.clone(), kind.clone(), taken.to_owned(), words.clone()]
}
