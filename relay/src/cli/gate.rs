//! `sallyport allow|ban …`: what changes the lists.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::args::{AllowVerb, BanVerb};
use super::explain::NO_GATE;
use super::print::{self, Output};
use super::queue::at;
use super::users::Users;
use crate::config::Gate;
use crate::control::client::{AskError, ask, ask_with};
use crate::control::wire::{Applied, Ban, Change, Confirmed, Did, Entry, GateRequest};
use crate::gate::listfile;

/// Tells whether the configuration wants a gate on this host.
pub(super) const fn is_wanted(gate: &Gate) -> bool {
    gate.required || !gate.interfaces.is_empty()
}

/// Returns what became of a question to the gate. Where none runs and none is wanted, nobody is told to start
/// one.
///
/// # Errors
///
/// As `result`, or that this host has no gate.
pub fn asked<E: Into<anyhow::Error>>(gate: &Gate, result: Result<(), E>) -> anyhow::Result<()> {
    let error = match result.map_err(Into::into) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let is_absent = matches!(error.downcast_ref(), Some(AskError::NotRunning { .. }));
    if is_absent && !is_wanted(gate) {
        anyhow::bail!("{NO_GATE} (name the configuration with --config if it is another)");
    }
    Err(error)
}

/// Does what a verb of `sallyport allow` says.
///
/// # Errors
///
/// If a file cannot be read, or the gate does not run or refuses; then nothing was changed.
pub fn allow(socket: &Path, verb: AllowVerb) -> anyhow::Result<()> {
    match verb {
        AllowVerb::Add { networks, tag, ttl, note, connect_rate, source_rate } => {
            let ttl_ms = ttl.map(millis);
            change(
                socket,
                &GateRequest::AllowAdd { networks, tag, note, ttl_ms, connect_rate, source_rate },
            )?;
        }
        AllowVerb::Remove { networks } => {
            change(socket, &GateRequest::AllowRemove { networks })?;
        }
        AllowVerb::List { file, output } => {
            let entries: Vec<Entry> = ask(socket, "gate", &GateRequest::AllowList)?;
            if file { print_file(&entries) } else { list(&entries, output.form()) }
        }
        AllowVerb::Apply { path, dry_run, confirm_within, force, output } => {
            let text = read(&path)?;
            let confirm_within_ms = confirm_within.map(millis);
            let bytes = text.len();
            let request = GateRequest::AllowApply { bytes, dry_run, confirm_within_ms, force };
            let applied = ask_with(socket, "gate", &request, &text);
            let applied = applied.with_context(|| format!("{}", path.display()))?;
            match output.form() {
                Output::Json => print::json(&applied),
                Output::Text => report(&applied),
            }
        }
        AllowVerb::Confirm => {
            let done: Confirmed = ask(socket, "gate", &GateRequest::AllowConfirm)?;
            print::say(format!("confirmed: {}", print::count(done.entries, "entry")));
        }
        AllowVerb::Rollback => {
            let done: Confirmed = ask(socket, "gate", &GateRequest::AllowRollback)?;
            print::say(format!("the former list is back: {}", print::count(done.entries, "entry")));
        }
        AllowVerb::Shadow { path: None, .. } => {
            let _: usize = ask(socket, "gate", &GateRequest::AllowShadow { bytes: 0 })?;
            print::say("no list stands in shadow");
        }
        AllowVerb::Shadow { path: Some(path), .. } => {
            let text = read(&path)?;
            let request = GateRequest::AllowShadow { bytes: text.len() };
            let entries = ask_with::<_, usize>(socket, "gate", &request, &text);
            let entries = entries.with_context(|| format!("{}", path.display()))?;
            print::say(format!(
                "{} in shadow; WOULD-DROP of `sallyport allow list` counts what would be dropped",
                print::count(entries, "entry")
            ));
        }
    }
    Ok(())
}

/// Reads a list; an empty file would say nothing else than "nobody", and is more likely a mistake.
fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = listfile::BYTES_MAX as u64 + 1;
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text))
    };
    read.with_context(|| format!("{}", path.display()))?;
    anyhow::ensure!(text.len() < listfile::BYTES_MAX, "{}: too large", path.display());
    anyhow::ensure!(
        !text.is_empty(),
        "{}: empty; for a list of nobody write a line with a # in it",
        path.display()
    );
    Ok(text)
}

/// Says what a list did, or would do.
fn report(applied: &Applied) {
    for change in &applied.changes {
        print::say(change_line(change));
    }
    let all: usize = applied.counts.values().sum();
    if all > applied.changes.len() {
        print::say(format!("and {} more", all - applied.changes.len()));
    }
    let count = |did| applied.counts.get(&did).copied().unwrap_or(0);
    let (verb, has) = if applied.is_applied { ("", "has") } else { ("would be ", "would have") };
    print::say(format!(
        "{} {verb}added, {} {verb}updated, {} {verb}removed; the list {has} {}",
        print::count(count(Did::Added), "entry"),
        count(Did::Updated),
        count(Did::Removed),
        print::count(applied.entries, "entry")
    ));
    print::say(format!(
        "{} of {} connected clients {verb}cut{}",
        applied.cut.len(),
        applied.connected,
        if applied.cut.is_empty() { "" } else { ":" }
    ));
    for (client, connections) in &applied.cut {
        print::say(format!("  {client} ({})", print::count(*connections, "connection")));
    }
    if let Some(until) = applied.confirm_until
        && applied.is_applied
    {
        print::say(format!(
            "the former list comes back at {} unless you run: sallyport allow confirm",
            at(until)
        ));
    }
}

/// Prints the entries that were added at run time as `allow apply` reads them.
fn print_file(entries: &[Entry]) {
    let added = entries.iter().filter(|entry| entry.declared_in_line.is_none());
    for entry in added {
        let ttl = entry.until.map(|until| until.duration_since(jiff::Timestamp::now()));
        let ttl = ttl.map(|left| format!("{}ms", left.as_millis().max(1)));
        let words = [
            ("tag", &entry.tag),
            ("connect-rate", &entry.connect_rate),
            ("source-rate", &entry.source_rate),
            ("ttl", &ttl),
            ("note", &entry.note),
        ];
        print::say(listfile::line(&entry.cidr, &words));
    }
}

/// Does what a verb of `sallyport ban` says.
///
/// # Errors
///
/// As [`allow`].
pub fn ban(socket: &Path, verb: BanVerb) -> Result<(), AskError> {
    match verb {
        BanVerb::Add { networks, ttl, note } => {
            let ttl_ms = ttl.map(millis);
            change(socket, &GateRequest::BanAdd { networks, ttl_ms, note })?;
        }
        BanVerb::Remove { networks } => {
            let changes: Vec<Change> = ask(socket, "gate", &GateRequest::BanRemove { networks })?;
            for change in &changes {
                print::say(lifted_line(change));
            }
        }
        BanVerb::List { output } => {
            let bans: Vec<Ban> = ask(socket, "gate", &GateRequest::BanList)?;
            list_bans(&bans, output.form());
        }
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks for a change and prints a line a network.
fn change(socket: &Path, request: &GateRequest) -> Result<(), AskError> {
    let changes: Vec<Change> = ask(socket, "gate", request)?;
    for change in &changes {
        print::say(change_line(change));
    }
    Ok(())
}

pub(super) fn change_line(change: &Change) -> String {
    let did = match change.did {
        Did::Added => "added",
        Did::Updated => "updated",
        Did::Unchanged => "unchanged",
        Did::Removed => "removed",
    };
    let remark = change.remark.as_ref().map(|remark| format!(" ({remark})"));
    format!("{} {did}{}", change.cidr, remark.unwrap_or_default())
}

/// Says of one network what became of its ban, and what keeps it out or may.
fn lifted_line(Change { cidr, did, remark }: &Change) -> String {
    let did = match did {
        Did::Removed => "the ban was lifted",
        Did::Unchanged | Did::Added | Did::Updated => "no ban of this very network",
    };
    let remark = remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
    format!("{cidr}: {did}{remark}")
}

fn list(entries: &[Entry], output: Output) {
    if output == Output::Json {
        print::json(&entries);
        return;
    }
    let mut users = Users::default();
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                entry.cidr.to_string(),
                entry.tag.clone().unwrap_or_else(none),
                entry.until.map_or_else(none, at),
                entry.connections.to_string(),
                entry.over_rate.to_string(),
                entry.would_drop.to_string(),
                origin(entry, &mut users),
                entry.note.clone().unwrap_or_else(none),
            ]
        })
        .collect();
    print::table(
        ["NETWORK", "TAG", "UNTIL", "CONNECTS", "OVER-RATE", "WOULD-DROP", "FROM", "NOTE"],
        &rows,
    );
}

fn none() -> String {
    "-".to_owned()
}

fn origin(entry: &Entry, users: &mut Users) -> String {
    match (entry.declared_in_line, entry.added_by_uid, entry.added_at) {
        (Some(line), _, _) => format!("configuration, line {line}"),
        (None, Some(uid), Some(time)) => format!("{}, {}", users.name(uid), at(time)),
        (None, _, _) => none(),
    }
}

fn list_bans(bans: &[Ban], output: Output) {
    if output == Output::Json {
        print::json(&bans);
        return;
    }
    let mut users = Users::default();
    let rows: Vec<_> = bans
        .iter()
        .map(|ban| {
            let note = ban.note.clone().unwrap_or_else(none);
            let before = ban.repeats.to_string();
            [ban.cidr.to_string(), at(ban.until), before, users.name(ban.by_uid), note]
        })
        .collect();
    print::table(["NETWORK", "UNTIL", "BEFORE", "BY", "NOTE"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_ban_that_is_lifted_says_so_and_what_still_keeps_the_network_out() {
        let line = |did, remark: Option<&str>| {
            let (cidr, remark) = ("192.0.2.7/32".parse().unwrap(), remark.map(str::to_owned));
            lifted_line(&Change { cidr, did, remark })
        };
        assert_eq!(line(Did::Removed, None), "192.0.2.7/32: the ban was lifted");
        assert_eq!(
            line(Did::Unchanged, Some("still banned by 192.0.2.0/24")),
            "192.0.2.7/32: no ban of this very network (still banned by 192.0.2.0/24)"
        );
    }

    #[test]
    fn who_asks_a_gate_that_is_not_wanted_is_told_that_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let config = |gate: &str| {
            let text = format!(
                "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[gate]\n{gate}\n\
                 socket = '{0}/gate.sock'\npins = '{0}/pins'\n[[listener]]\naddress = '[::]:2525'\n",
                folder.path().display()
            );
            Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        for (gate, words) in [
            ("required = false", "This host has no gate (gate.required = false, no interfaces)"),
            ("required = false\ninterfaces = ['eth0']", "the gate does not run"),
            ("interfaces = ['eth0']", "the gate does not run"),
        ] {
            let config = config(gate);
            let verb = AllowVerb::Confirm;
            let said =
                asked(&config.gate, allow(&config.gate.socket, verb)).unwrap_err().to_string();
            assert!(said.starts_with(words), "{gate}: {said}");
        }
        let config = config("required = false");
        let said = crate::cli::operate::detach(&config.gate).unwrap_err().to_string();
        assert!(said.starts_with("This host has no gate"), "{said}");
    }
}
