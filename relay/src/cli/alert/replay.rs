//! `sallyport alert replay`: recorded samples, through the watch again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::print::{self, Output};
use crate::config::Spikes;
use crate::event::alert::{self, Alert};
use crate::gate::store::{Store, StoreError};
use crate::watch::memory::{self, Record};
use crate::watch::series::{LINE_MAX, Reader};
use crate::watch::{Sample, Stage, Watch};

/// The alerts that are shown; a series that gives more is not one to be read.
const SHOWN_MAX: usize = 100_000;

/// How far the clock on the wall may be set: by more, and it is taken for another boot.
const STEP: SignedDuration = SignedDuration::from_mins(5);

/// Why a series cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no sample.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// What is usual cannot be read.
    #[error(transparent)]
    Usual(#[from] StoreError),
}

/// What a series gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// How many samples there were.
    pub samples: usize,
    /// The first and the last of them.
    pub from: Option<Timestamp>,
    /// The time of the last.
    pub until: Option<Timestamp>,
    /// The alerts, at most 100,000.
    pub alerts: Vec<Alert>,
}

/// Gives every sample of the files to a watch that knows what `usual` says, or nothing yet.
///
/// Where the clock of the samples goes back, or both clocks differ by [`STEP`] from before, the host was booted anew: as the gate does then, the watch goes on with
/// what it learned, and with nothing else.
///
/// # Errors
///
/// [`ReplayError`]: the first file or line that cannot be read.
pub fn replay(
    files: &[PathBuf],
    usual: Option<&Path>,
    spikes: Spikes,
) -> Result<Replayed, ReplayError> {
    let mut watch = Watch::new(spikes.clone());
    if let Some(path) = usual {
        let store = Store::new(path.to_owned(), memory::KIND, memory::VERSION);
        let missing = || ReplayError::Io {
            path: path.to_owned(),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        watch.recall(store.load::<Record>()?.ok_or_else(missing)?);
    }
    let mut replayed = Replayed::default();
    let mut last: Option<(Duration, SignedDuration)> = None;
    for path in files {
        read(path, |sample| {
            let began = began(&sample);
            let is_anew = |(at, before): (Duration, SignedDuration)| {
                sample.at < at || (began - before).abs() > STEP
            };
            if last.replace((sample.at, began)).is_some_and(is_anew) {
                let learned = watch.usual();
                watch = Watch::new(spikes.clone());
                watch.recall(learned);
            }
            replayed.samples += 1;
            replayed.from.get_or_insert(sample.wall);
            replayed.until = Some(sample.wall);
            for found in watch.take(&sample) {
                if replayed.alerts.len() < SHOWN_MAX {
                    replayed.alerts.push(told(&found, &sample));
                }
            }
        })?;
    }
    Ok(replayed)
}

/// Returns when the clock of a sample began, since 1970: when the host was booted.
fn began(sample: &Sample) -> SignedDuration {
    let at = SignedDuration::try_from(sample.at).unwrap_or(SignedDuration::MAX);
    sample.wall.as_duration().saturating_sub(at)
}

fn read(path: &Path, mut take: impl FnMut(Sample)) -> Result<(), ReplayError> {
    let io = |source| ReplayError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut reader = Reader::default();
    let (mut text, mut line) = (String::new(), 0);
    loop {
        text.clear();
        let limit = LINE_MAX as u64;
        if file.by_ref().take(limit).read_line(&mut text).map_err(io)? == 0 {
            return Ok(());
        }
        line += 1;
        // The gate may be writing the last line.
        if !text.ends_with('\n') && text.len() < LINE_MAX {
            return Ok(());
        }
        let read = if text.ends_with('\n') {
            reader.read(&text)
        } else {
            Err(format!("longer than {LINE_MAX} octets"))
        };
        let wrong = |problem| ReplayError::Line { path: path.to_owned(), line, problem };
        read.map_err(wrong)?.into_iter().for_each(&mut take);
    }
}

fn told(found: &crate::watch::Alert, sample: &Sample) -> Alert {
    let ago = sample.at.saturating_sub(found.since);
    let since = sample.wall.checked_sub(ago).unwrap_or(Timestamp::MIN);
    let stage = match found.stage {
        Stage::Opened => alert::Stage::Opened,
        Stage::Grew(times) => alert::Stage::Grew(times),
        Stage::Closed => alert::Stage::Closed,
    };
    found.spike(since).alert(stage, sample.wall)
}

/// Prints what a series gave.
pub fn print(replayed: &Replayed, output: Output) {
    match output {
        Output::Json => print::json(replayed),
        Output::Text => {
            replayed.alerts.iter().for_each(|alert| print::say(line(alert)));
            let span = match (replayed.from, replayed.until) {
                (Some(from), Some(until)) => format!(" from {from:.0} to {until:.0}"),
                _ => String::new(),
            };
            let alerts = print::count(replayed.alerts.len(), "alert");
            let samples = print::count(replayed.samples, "sample");
            print::say(format!("{samples}{span}: {alerts}"));
        }
    }
}

fn line(alert: &Alert) -> String {
    let stage = match alert.stage {
        alert::Stage::Opened => "opened".to_owned(),
        alert::Stage::Grew(times) => format!("grew {times}x"),
        alert::Stage::Closed => "closed".to_owned(),
        alert::Stage::Noted => "noted".to_owned(),
    };
    let first =
        alert.command.as_ref().map_or_else(String::new, |first| format!("; first: {first}"));
    format!("{:.1} {stage:<8} {:<13} {}{first}", alert.at, alert.class, alert.summary)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::slice::from_ref;

    use super::*;
    use crate::watch::samples::world::{Extra, World};
    use crate::watch::samples::{accustomed, settings};
    use crate::watch::series::{HEAD, Writer};

    fn replayed(lines: &str) -> Result<Replayed, ReplayError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.txt");
        std::fs::write(&path, lines).unwrap();
        replay(&[path], None, settings())
    }

    #[test]
    fn a_recorded_flood_gives_its_alerts_each_time() {
        let mut lines = format!("{HEAD}\n@0 1800000000000 r0 a0 b0 m0 c0 f0\n");
        for tick in 0..1_000 {
            let _ = writeln!(lines, "100 r{}", if (100..200).contains(&tick) { 300 } else { 1 });
        }
        // The gate is at it.
        lines.push_str("100 r5");
        let first = replayed(&lines).unwrap();
        assert_eq!(first, replayed(&lines).unwrap());
        let stages: Vec<_> = first.alerts.iter().map(|alert| alert.stage).collect();
        assert_eq!(stages, [alert::Stage::Opened, alert::Stage::Closed]);
        assert_eq!((first.samples, first.alerts[0].class.as_str()), (1_001, "spike-refused"));
        let opened = first.alerts[0].at.as_millisecond() - 1_800_000_010_000;
        assert!((0..=500).contains(&opened), "{opened} ms after it began");
        assert!(line(&first.alerts[0]).contains("opened   spike-refused 3000 refused attempts"));
        let commands = first.alerts.iter().map(|alert| alert.command.as_deref());
        assert_eq!(commands.collect::<Vec<_>>(), [Some("sallyport status"); 2]);
    }

    #[test]
    fn what_was_recorded_after_a_boot_is_judged_by_what_was_learned_before() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["samples.before.txt", "samples.txt"].map(|name| folder.path().join(name));
        // Three quarters of an hour of forty a second, up for ten days; then the host is booted.
        let mut before = format!("{HEAD}\n@900000000 1800000000000 r5 a0 b0 m0 n\n");
        (0..2_700).for_each(|_| before.push_str("1000 r40 n\n"));
        let mut newest = format!("{HEAD}\n@20000 1800002800000 r700000 a0 b0 m0 n\n");
        let burst = |tick| if (300..310).contains(&tick) { 5_000 } else { 80 };
        (0..600).for_each(|tick| _ = writeln!(newest, "1000 r{} n", burst(tick)));
        std::fs::write(&files[0], &before).unwrap();
        std::fs::write(&files[1], &newest).unwrap();
        let stages = |files: &[PathBuf]| {
            let replayed = replay(files, None, settings()).unwrap();
            let stages: Vec<_> = replayed.alerts.iter().map(|alert| alert.stage).collect();
            (replayed.samples, stages)
        };
        let (flood, tail) = ([alert::Stage::Opened, alert::Stage::Closed], 601);
        assert_eq!(stages(&files), (2_701 + tail, flood.to_vec()), "eighty are not unusual");
        let alone = stages(&files[1..]).1;
        assert_eq!(alone[..1], flood[..1], "to who knows nothing they are");
        assert_ne!(alone, flood);
    }

    /// Up for longer than before when it is recorded again: the clock of the samples does not go back.
    #[test]
    fn a_boot_shows_by_both_clocks() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["samples.before.txt", "samples.txt"].map(|name| folder.path().join(name));
        let mut before = format!("{HEAD}\n@1000 1800000000000 r5 a0 b0 m0 n\n");
        (0..100).for_each(|_| before.push_str("1000 r1 n\n"));
        let mut newest = format!("{HEAD}\n@120000 1800003600000 r700000 a0 b0 m0 n\n");
        (0..100).for_each(|_| newest.push_str("1000 r1 n\n"));
        std::fs::write(&files[0], &before).unwrap();
        std::fs::write(&files[1], &newest).unwrap();
        let replayed = replay(&files, None, settings()).unwrap();
        assert_eq!((replayed.samples, replayed.alerts), (202, vec![]));
    }

    #[test]
    fn a_recorded_week_with_day_and_night_gives_no_alert() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["samples.before.txt", "samples.txt"].map(|name| folder.path().join(name));
        let mut world = World::new(11);
        let half = Duration::from_secs(7 * 86_400 / 2);
        for (until, path) in [half, half * 2].into_iter().zip(&files) {
            let (mut writer, mut text) = (Writer::default(), format!("{HEAD}\n"));
            while world.now.at < until {
                world.pass(Duration::from_secs(2), Extra::default());
                writer.write(&world.now, &mut text);
            }
            std::fs::write(path, text).unwrap();
        }
        let replayed = replay(&files, None, settings()).unwrap();
        assert_eq!((replayed.samples, replayed.alerts), (7 * 86_400 / 2, vec![]));
    }

    #[test]
    fn a_host_that_knows_its_usual_is_replayed_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (samples, usual) =
            (folder.path().join("samples.txt"), folder.path().join("usual.jsonl"));
        let mut lines = format!("{HEAD}\n@5000 5000 r0 a0 b0 m0 n\n");
        (0..600).for_each(|_| lines.push_str("1000 r400 n\n"));
        std::fs::write(&samples, lines).unwrap();
        let told =
            |usual| replay(from_ref(&samples), usual, settings()).map(|all| all.alerts.len());
        assert_eq!(told(None).unwrap(), 1);
        let missing = told(Some(usual.as_path())).unwrap_err().to_string();
        assert!(missing.starts_with(&format!("{}: ", usual.display())), "{missing}");
        let mut store = Store::new(usual.clone(), memory::KIND, memory::VERSION);
        store.save(accustomed(400.0).usual()).unwrap();
        assert_eq!(told(Some(usual.as_path())).unwrap(), 0);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        let problem = replayed(&format!("{HEAD}\n@0 0 r0\n100 q\n")).unwrap_err().to_string();
        assert!(problem.ends_with("samples.txt:3: q is not known here"), "{problem}");
        let problem = replayed("nonsense\n").unwrap_err().to_string();
        assert!(problem.contains("samples.txt:1: the first line must be"), "{problem}");
        let long = format!("{HEAD}\n@0 0 {}\n", "r1 ".repeat(LINE_MAX));
        let problem = replayed(&long).unwrap_err().to_string();
        assert!(problem.contains(":2: longer than"), "{problem}");
        let missing = replay(&["/no/such/file".into()], None, settings()).unwrap_err().to_string();
        assert!(missing.starts_with("/no/such/file: "), "{missing}");
    }
}
