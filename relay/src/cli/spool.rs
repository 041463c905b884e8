//! `sallyport spool …`: the log of messages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::SpoolVerb;
use super::print::{self, Output};
use super::reach::reach;
use crate::appliance::load::load;
use crate::control::client::ask;
use crate::control::wire::RelayRequest;
use crate::spool::{self, Compacted, Mended, Report, StoreError};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Mending needs the spool for itself.
    #[error("the relay runs: stop it first (systemctl stop sallyport-relay)")]
    InUse,
    /// Nothing was written there yet.
    #[error(
        "there is no spool at {} yet: the relay makes it at its first start (name the configuration \
         with --config if it is another)",
        .0.display()
    )]
    Nowhere(PathBuf),
    /// The log could not be read, or not be written.
    #[error("the spool: {0}")]
    Spool(StoreError),
}

impl From<StoreError> for SpoolError {
    fn from(problem: StoreError) -> Self {
        if problem == StoreError::Locked { Self::InUse } else { Self::Spool(problem) }
    }
}

/// Does what a verb says. The code is 1 if something is damaged, and stays so.
///
/// # Errors
///
/// [`SpoolError`], or that the configuration `file` cannot be read.
pub fn spool(file: &Path, verb: &SpoolVerb) -> anyhow::Result<ExitCode> {
    match verb {
        SpoolVerb::Check { mend: false, output } => {
            let report = spool::check(there(&load(file)?.spool.path)?).map_err(SpoolError::from)?;
            match output.form() {
                Output::Json => print::json(&report),
                Output::Text => print::say(checked(&report)),
            }
            Ok(code(&report))
        }
        SpoolVerb::Check { mend: true, output } => {
            let mended = spool::mend(there(&load(file)?.spool.path)?).map_err(SpoolError::from)?;
            match output.form() {
                Output::Json => print::json(&mended),
                Output::Text => print::say(mended_words(&mended)),
            }
            Ok(code(&mended.after))
        }
        SpoolVerb::Compact { output } => {
            let done: Compacted =
                ask(&reach(file)?.reach.relay.socket, "relay", &RelayRequest::SpoolCompact)?;
            match output.form() {
                Output::Json => print::json(&done),
                Output::Text => print::say(compacted(done)),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns the folder of the spool if there is one, or if only the attempt can tell.
fn there(path: &Path) -> Result<&Path, SpoolError> {
    match path.try_exists() {
        Ok(false) => Err(SpoolError::Nowhere(path.into())),
        Ok(true) | Err(_) => Ok(path),
    }
}

fn code(report: &Report) -> ExitCode {
    if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was found, and what mending would do about it.
fn checked(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} in {}{}",
        print::count(report.messages, "message"),
        print::count(report.segments.len(), "file"),
        if report.in_use { ", read while the relay runs" } else { "" }
    )];
    for segment in &report.segments {
        let spool::Segment { file, sound_bytes, dead_bytes, damaged_bytes, heads } = segment;
        let worn = if *heads < 2 { "  one copy of its head is lost" } else { "" };
        lines.push(format!(
            "  {file}  sound {sound_bytes}  dead {dead_bytes}  damaged {damaged_bytes}{worn}"
        ));
    }
    for spool::Fault { place, problem, message: _ } in &report.faults {
        lines.push(format!("damaged: {place}: {problem}"));
    }
    if report.unnamed_faults > 0 {
        lines.push(format!("damaged: {} more stretches", report.unnamed_faults));
    }
    for file in &report.set_aside {
        lines.push(format!("set aside before: {file}"));
    }
    if report.is_sound() {
        lines.push("sound".to_owned());
        return lines.join("\n");
    }
    for segment in report.segments.iter().filter(|segment| segment.is_damaged()) {
        let (file, sound) = (&segment.file, segment.sound_bytes);
        lines.push(format!("--mend would copy {sound} octets of {file} on and set the file aside"));
    }
    for file in headless(report) {
        lines.push(format!("--mend would set {file} aside whole, with the messages in it"));
    }
    for id in &report.damaged {
        lines.push(format!(
            "--mend would take {id} out of the queue and keep what is left of it in {id}.damaged"
        ));
    }
    lines.join("\n")
}

/// Returns the files of the log of which nothing can be read: they are named as damaged, and not
/// among the files that were read.
fn headless(report: &Report) -> impl Iterator<Item = &str> {
    let is_read = |place: &str| report.segments.iter().any(|segment| segment.file == place);
    let faults = report.faults.iter().filter(|fault| fault.message.is_none());
    faults.map(|fault| fault.place.as_str()).filter(move |place| !is_read(place))
}

fn mended_words(mended: &Mended) -> String {
    if mended.before.is_sound() {
        return format!("{}\nnothing to mend", checked(&mended.before));
    }
    let mut lines: Vec<_> = mended
        .after
        .set_aside
        .iter()
        .filter(|file| !mended.before.set_aside.contains(file))
        .map(|file| format!("set aside: {file}"))
        .collect();
    for file in headless(&mended.before) {
        lines.push(format!(
            "set aside whole: {file}; the messages in it are no longer in the queue"
        ));
    }
    for spool::GivenUp { id, file } in &mended.given_up {
        lines.push(format!("no longer in the queue: {id}; what is left of it is in {file}"));
    }
    lines.push(checked(&mended.after));
    lines.join("\n")
}

fn compacted(done: Compacted) -> String {
    let Compacted { before_bytes, after_bytes, is_done } = done;
    let rest = if is_done { "" } else { "; it goes on, `sallyport status` shows the log" };
    format!("the log was {before_bytes} octets and is {after_bytes}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::message::MessageId;

    fn report() -> Report {
        let segment = |file: &str, damaged_bytes| spool::Segment {
            file: file.to_owned(),
            sound_bytes: 500,
            dead_bytes: 20,
            damaged_bytes,
            heads: 2,
        };
        Report {
            in_use: false,
            messages: 2,
            damaged: Vec::new(),
            segments: vec![segment("00000001.log", 0)],
            faults: Vec::new(),
            unnamed_faults: 0,
            set_aside: Vec::new(),
        }
    }

    #[test]
    fn what_is_damaged_is_named_with_what_mending_would_do() {
        assert_eq!(
            checked(&report()),
            "2 messages in 1 file\n  00000001.log  sound 500  dead 20  damaged 0\nsound"
        );
        let id = MessageId(7);
        let mut damaged = Report { damaged: vec![id], unnamed_faults: 3, ..report() };
        damaged.segments[0].damaged_bytes = 9;
        let problem = "9 octets at 1024: the payload fails its check".to_owned();
        let place = "00000001.log".to_owned();
        damaged.faults.push(spool::Fault { place, problem, message: Some(id) });
        let text = checked(&damaged);
        for line in [
            "damaged: 00000001.log: 9 octets at 1024: the payload fails its check",
            "damaged: 3 more stretches",
            "--mend would copy 500 octets of 00000001.log on and set the file aside",
            "--mend would take 0000000000007 out of the queue and keep what is left of it in 0000000000007.damaged",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        assert!(!text.contains("\nsound"), "{text}");
        let given_up = vec![spool::GivenUp { id, file: format!("{id}.damaged") }];
        let after = Report { set_aside: vec!["00000001.damaged".to_owned()], ..report() };
        let text = mended_words(&Mended { before: damaged, after, given_up });
        assert!(
            text.starts_with(
                "set aside: 00000001.damaged\nno longer in the queue: 0000000000007; "
            )
        );
        assert!(text.ends_with("\nsound"), "{text}");
    }

    #[test]
    fn a_file_that_lost_one_copy_of_its_head_can_be_mended() {
        let problem = "one of the two copies of its head fails the check".to_owned();
        let fault = spool::Fault { place: "00000001.log".to_owned(), problem, message: None };
        let mut worn = Report { faults: vec![fault], ..report() };
        worn.segments[0].heads = 1;
        let text = checked(&worn);
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            [
                "  00000001.log  sound 500  dead 20  damaged 0  one copy of its head is lost",
                "damaged: 00000001.log: one of the two copies of its head fails the check",
                "--mend would copy 500 octets of 00000001.log on and set the file aside",
            ]
        );
    }

    #[test]
    fn a_file_that_goes_whole_is_named_before_and_after() {
        let problem = "no copy of its head passes the check".to_owned();
        let place = "00000002.log".to_owned();
        let fault = spool::Fault { place, problem, message: None };
        let before = Report { faults: vec![fault], ..report() };
        let line = "--mend would set 00000002.log aside whole, with the messages in it";
        assert!(checked(&before).ends_with(line), "{}", checked(&before));
        let mended = Mended { before, after: report(), given_up: Vec::new() };
        let line = "set aside whole: 00000002.log; the messages in it are no longer in the queue\n";
        assert!(mended_words(&mended).starts_with(line), "{}", mended_words(&mended));
    }

    #[test]
    fn before_the_first_start_there_is_no_spool_yet() {
        let folder = tempfile::tempdir().unwrap();
        let said = there(&folder.path().join("spool")).unwrap_err().to_string();
        assert!(said.starts_with("there is no spool at /") && said.contains(" yet: "), "{said}");
        assert_eq!(there(folder.path()).unwrap(), folder.path());
    }
}
