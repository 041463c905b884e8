//! `sallyport alert …`: what is wrong, and who is told.

mod replay;

use std::process::ExitCode;

use super::args::AlertVerb;
use super::print::{self, Output};
use super::queue::at;
use crate::alert::listing::{ChannelState, Listing, Tested};
use crate::alert::silences::Silence;
use crate::alert::troubles::Trouble;
use crate::config::Config;
use crate::control::client::ask;
use crate::control::wire::RelayRequest;
use crate::event::alert::{Alert, Severity};

/// The alerts of the past that the text shows; `--json` has more.
const RECENT_SHOWN: usize = 10;

/// Does what a verb says, through the relay's socket. A test that a channel did not take is exit code 1.
///
/// # Errors
///
/// If the relay does not run, or refuses; if recorded samples cannot be read.
pub fn alert(config: &Config, verb: AlertVerb) -> anyhow::Result<ExitCode> {
    let socket = &config.relay.socket;
    match verb {
        AlertVerb::Replay { files, usual, output } => {
            let replayed = replay::replay(&files, usual.as_deref(), config.spikes.clone())?;
            replay::print(&replayed, output.form());
        }
        AlertVerb::List { output } => {
            let listing: Listing = ask(socket, "relay", &RelayRequest::AlertList)?;
            match output.form() {
                Output::Json => print::json(&listing),
                Output::Text => list(&listing),
            }
        }
        AlertVerb::Test { channel, output } => {
            let tested: Vec<Tested> = ask(socket, "relay", &RelayRequest::AlertTest { channel })?;
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
            ask::<_, ()>(socket, "relay", &RelayRequest::AlertUnsilence { pattern })?;
            print::say(gone);
        }
        AlertVerb::Silence { pattern, time, note, remove: false } => {
            let time = time.unwrap_or_default();
            let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let silent = format!(
                "nothing is told of {pattern} for {}: `sallyport alert silence --remove {pattern}` ends that",
                crate::config::unit::written(time)
            );
            ask::<_, ()>(socket, "relay", &RelayRequest::AlertSilence { pattern, for_ms, note })?;
            print::say(silent);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(listing: &Listing) {
    if listing.open.is_empty() {
        print::say("no open troubles");
    } else {
        let rows: Vec<_> = listing.open.iter().map(open_row).collect();
        print::table(["OPEN", "SEVERITY", "SINCE", "TOLD", "WHAT", "FIRST"], &rows);
    }
    if !listing.recent.is_empty() {
        print::say("");
        let rows: Vec<_> = listing.recent.iter().take(RECENT_SHOWN).map(recent_row).collect();
        print::table(["TOLD LAST", "STAGE", "ALERT", "WHAT"], &rows);
    }
    if !listing.silences.is_empty() {
        print::say("");
        let rows: Vec<_> = listing.silences.iter().map(silence_row).collect();
        print::table(["SILENCED", "UNTIL", "BY", "NOTE"], &rows);
    }
    print::say("");
    let rows: Vec<_> = listing.channels.iter().map(channel_row).collect();
    print::table(["CHANNEL", "KIND", "WAITING", "LAST TAKEN", "LAST FAULT"], &rows);
    if listing.lost > 0 {
        let lost = print::count(usize::try_from(listing.lost).unwrap_or(usize::MAX), "alert");
        print::say(format!("WARNING: {lost} found no room since the relay's start"));
    }
}

fn none() -> String {
    "-".to_owned()
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn open_row(trouble: &Trouble) -> [String; 6] {
    let alert = &trouble.alert;
    [
        alert.key(),
        severity(alert.severity).to_owned(),
        at(alert.since),
        trouble.told.map_or_else(|| "no".to_owned(), at),
        alert.summary.clone(),
        alert.command.clone().unwrap_or_else(none),
    ]
}

fn recent_row(alert: &Alert) -> [String; 4] {
    [at(alert.at), alert.stage.name().to_owned(), alert.key(), alert.summary.clone()]
}

fn silence_row(silence: &Silence) -> [String; 4] {
    let Silence { pattern, until, note, uid } = silence;
    [pattern.to_string(), at(*until), format!("uid {uid}"), note.clone().unwrap_or_else(none)]
}

fn channel_row(channel: &ChannelState) -> [String; 5] {
    let fault = match (&channel.fault, channel.last_fault) {
        (Some(why), Some(last)) => format!("{}: {why}", at(last)),
        (Some(why), None) => why.clone(),
        (None, Some(last)) => format!("{}, and it took another after that", at(last)),
        (None, None) => none(),
    };
    [
        channel.name.clone(),
        channel.kind.clone(),
        channel.waiting.to_string(),
        channel.last_taken.map_or_else(none, at),
        fault,
    ]
}

fn tested_row(tested: &Tested) -> [String; 4] {
    let Tested { channel, kind, taken, words } = tested;
    let taken = if *taken { "taken" } else { "FAILED" };
    [channel.clone(), kind.clone(), taken.to_owned(), words.clone()]
}
