//! Two files of the gate's state: what is usual, kept over a restart, and what was sampled, for a replay.
//!
//! What is usual is written once an hour and at the end, beside the keeper's work: it may be some megabytes. A
//! file that is damaged, or that a later version wrote, is set aside, and the watch learns anew: the floors alone make a spike until it has.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::recorder::Recorder;
use crate::event::Event;
use crate::gate::store::{Store, StoreError};
use crate::journal::Journal;
use crate::watch::memory::{KIND, Record, VERSION};
use crate::watch::{Sample, Watch};

const FILE: &str = "usual.jsonl";
/// How often it is written.
const EVERY: Duration = Duration::from_secs(3600);

/// The files.
#[derive(Debug)]
pub(super) struct Learned {
    path: std::path::PathBuf,
    written: Option<Duration>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
    recorder: Recorder,
}

impl Learned {
    /// Tells the watch what was usual. What is wrong with the file is said, and is no reason not to start.
    pub fn recall(state: &Path, watch: &mut Watch, journal: &Journal) -> Self {
        let path = state.join(FILE);
        let store = Store::new(path.clone(), KIND, VERSION);
        match store.load::<Record>() {
            Ok(records) => watch.recall(records.unwrap_or_default()),
            Err(error) => {
                let aside = match &error {
                    // Else it would be written over within the hour.
                    StoreError::Damaged { .. } | StoreError::Version { .. } => {
                        store.set_aside(&error, Timestamp::now().as_second()).ok()
                    }
                    StoreError::Io { .. } => None,
                };
                let aside = aside.map(|path| format!("; it is {} now", path.display()));
                let problem =
                    format!("what is usual is learned anew: {error}{}", aside.unwrap_or_default());
                journal.write(Event::Trouble { room: "gate", problem });
            }
        }
        let recorder = Recorder::within(state);
        Self { path, written: None, writer: None, recorder }
    }

    /// Writes what is usual if it is time, on a thread of its own. Returns what went wrong the time before.
    pub fn keep(&mut self, watch: &Watch, at: Duration) -> Option<String> {
        let mut problem = self.recorder.problem();
        if self.writer.as_ref().is_some_and(JoinHandle::is_finished) {
            problem = problem.or(self.outcome());
        }
        let written = *self.written.get_or_insert(at);
        if at.saturating_sub(written) >= EVERY && self.writer.is_none() {
            self.written = Some(at);
            let (path, records) = (self.path.clone(), watch.usual());
            let save = move || Store::new(path, KIND, VERSION).save(records);
            match std::thread::Builder::new().name("usual".into()).spawn(save) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => problem = Some(format!("what is usual is not kept: {error}")),
            }
        }
        problem
    }

    /// Writes what is usual now; returns what went wrong.
    pub fn keep_now(&mut self, watch: &Watch) -> Option<String> {
        self.recorder.flush();
        let before = self.outcome();
        let saved = Store::new(self.path.clone(), KIND, VERSION).save(watch.usual());
        saved.err().map(|error| format!("what is usual is not kept: {error}")).or(before)
    }

    /// Keeps a sample, if samples are kept.
    pub fn record(&mut self, sample: &Sample, limit: u64) {
        self.recorder.take(sample, limit);
    }

    fn outcome(&mut self) -> Option<String> {
        let outcome = self.writer.take()?.join();
        match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("what is usual is not kept: {error}")),
            Err(_) => Some("what is usual is not kept: its writer failed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::samples::{busy_hour, settings};

    #[test]
    fn what_was_learned_is_known_after_a_restart_and_a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::memory();
        let mut watch = busy_hour();
        let mut learned = Learned::recall(folder.path(), &mut Watch::new(settings()), &journal);
        assert_eq!(learned.keep_now(&watch), None);
        let before = watch.usual();
        assert!(before.iter().any(|record| matches!(record, Record::Network { .. })));
        watch = Watch::new(settings());
        Learned::recall(folder.path(), &mut watch, &journal);
        assert_eq!(watch.usual(), before);
        assert_eq!(journal.take(), []);
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap().replacen("hours", "hourz", 1);
        std::fs::write(&path, text).unwrap();
        watch = Watch::new(settings());
        Learned::recall(folder.path(), &mut watch, &journal);
        assert_eq!(watch.usual(), Watch::new(settings()).usual());
        let told = format!("{:?}", journal.take());
        assert!(told.contains("learned anew") && told.contains("damaged-"), "{told}");
    }

    #[test]
    fn a_file_of_a_later_version_is_set_aside_and_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, journal) = (folder.path().join(FILE), Journal::memory());
        Store::new(path.clone(), KIND, VERSION + 1).save(["a"]).unwrap();
        let later = std::fs::read(&path).unwrap();
        let mut watch = Watch::new(settings());
        let mut learned = Learned::recall(folder.path(), &mut watch, &journal);
        assert_eq!(learned.keep_now(&watch), None);
        let told = format!("{:?}", journal.take());
        for words in ["written in version 2 of its form, this program reads 1", "usual.version-2-"]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
        let files = std::fs::read_dir(folder.path()).unwrap();
        let mut files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        assert!(files.any(|file| file == later), "{told}");
    }

    #[test]
    fn it_is_written_once_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let watch = busy_hour();
        let journal = Journal::memory();
        let mut learned = Learned::recall(folder.path(), &mut Watch::new(settings()), &journal);
        assert_eq!(learned.keep(&watch, Duration::from_secs(5)), None);
        assert_eq!(learned.keep(&watch, EVERY), None);
        assert!(learned.writer.is_none(), "not yet an hour");
        assert_eq!(learned.keep(&watch, EVERY * 2), None);
        assert_eq!(learned.outcome(), None);
        assert!(folder.path().join(FILE).exists());
    }
}
