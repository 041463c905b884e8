//! The writer of the history: whoever has something to tell puts it into a buffer and goes on.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::fact::{Fact, Line};
use super::files::{Files, NotWritten};
use crate::event::Event;

/// The most octets that wait for the writer; what comes then is counted.
const WAITING_MAX: usize = 8 << 20;
/// The longest line, octets; a longer one is counted.
pub const LINE_MAX: usize = 2 << 20;
/// How long lines are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(20);

/// The thread that writes, and what it shares with those who have something to tell.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Locked before `waiting`, never after it.
    out: Mutex<Out>,
    report: Box<dyn Fn(Event) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whole lines.
    octets: Vec<u8>,
    /// How many, those included that a line among them tells are missing.
    lines: u64,
    /// Lines that found no room and were not told of yet.
    missed: u64,
    is_closing: bool,
}

#[derive(Debug)]
struct Out {
    files: Files,
    /// Empty; its memory is used again.
    spare: Vec<u8>,
    /// Why nothing could be written, if that was told.
    trouble: Option<String>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("out", &self.out).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// If the system makes no thread.
    pub fn start(
        files: Files,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let out = Mutex::new(Out { files, spare: Vec::new(), trouble: None });
        let (waiting, wake) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { waiting, wake, out, report: Box::new(report) });
        let writer = Arc::clone(&shared);
        let run = move || writer.run();
        let thread = Some(std::thread::Builder::new().name("history".to_owned()).spawn(run)?);
        Ok(Self { shared, thread })
    }

    /// Puts a line into the buffer. It never waits for the disk.
    pub fn enter(&self, line: &Line) {
        let mut text = Vec::with_capacity(1024);
        let is_written = serde_json::to_writer(&mut text, line).is_ok();
        text.push(b'\n');
        let mut waiting = lock(&self.shared.waiting);
        let is_full = waiting.octets.len() + text.len() > WAITING_MAX;
        if !is_written || is_full || text.len() > LINE_MAX {
            waiting.missed += 1;
            return;
        }
        let was_empty = waiting.octets.is_empty();
        if waiting.missed > 0 {
            let lines = std::mem::take(&mut waiting.missed);
            let missed = Line { id: None, at: line.at, fact: Fact::Missed { lines } };
            waiting.lines += lines;
            // A number and two words always can be written.
            let _ = serde_json::to_writer(&mut waiting.octets, &missed);
            waiting.octets.push(b'\n');
        }
        waiting.octets.extend_from_slice(&text);
        waiting.lines += 1;
        drop(waiting);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    /// Writes what waits, so that a reader sees it, and returns the folder. Blocks on the disk.
    pub fn settle(&self) -> PathBuf {
        self.shared.write_out();
        lock(&self.shared.out).files.folder().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        lock(&self.shared.waiting).is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let waiting = lock(&self.waiting);
            let idle = |waiting: &mut Waiting| waiting.octets.is_empty() && !waiting.is_closing;
            let waiting =
                self.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            let gathered =
                self.wake.wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_closing);
            let is_closing = gathered.unwrap_or_else(PoisonError::into_inner).0.is_closing;
            self.write_out();
            if is_closing {
                return;
            }
        }
    }

    fn write_out(&self) {
        let mut out = lock(&self.out);
        let mut octets = std::mem::take(&mut out.spare);
        let lines = {
            let mut waiting = lock(&self.waiting);
            std::mem::swap(&mut waiting.octets, &mut octets);
            std::mem::take(&mut waiting.lines)
        };
        if octets.is_empty() {
            out.spare = octets;
            return;
        }
        match out.files.append(&octets, Timestamp::now()) {
            Ok(()) => out.trouble = None,
            Err(problem) => {
                lock(&self.waiting).missed += lines;
                self.complain(&mut out, &problem);
            }
        }
        octets.clear();
        out.spare = octets;
    }

    /// Tells why nothing is written: once, until it works again or the reason is another.
    fn complain(&self, out: &mut Out, problem: &NotWritten) {
        let words = problem.to_string();
        if out.trouble.as_ref() == Some(&words) {
            return;
        }
        let folder = out.files.folder().display();
        let problem = format!("{folder}: what happens to messages is not written down: {words}");
        (self.report)(Event::Trouble { room: "history", problem });
        out.trouble = Some(words);
    }
}

/// What is locked is whole after each step: a thread that panicked leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::search::search;
    use super::*;
    use crate::config;
    use crate::mail::message::MessageId;
    use crate::smtp::address::Address;

    const ID: MessageId = MessageId(1);

    fn started(folder: &tempfile::TempDir, size_bytes: u64) -> (Keeper, Arc<Mutex<Vec<Event>>>) {
        let keep = Duration::from_secs(24 * 3600);
        let config = config::History { path: folder.path().to_owned(), keep, size_bytes };
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let told = Arc::clone(&events);
        let report = move |event| told.lock().unwrap().push(event);
        (Keeper::start(Files::open(config).unwrap(), report).unwrap(), events)
    }

    fn found(folder: &std::path::Path) -> Vec<Fact> {
        let (mut facts, mut from) = (Vec::new(), None);
        loop {
            let found = search(folder, ID, from).unwrap();
            facts.extend(found.lines.into_iter().map(|line| line.fact));
            if found.next.is_none() {
                return facts;
            }
            from = found.next;
        }
    }

    fn line(fact: Fact) -> Line {
        Line { id: Some(ID), at: Timestamp::now(), fact }
    }

    /// A line of more than a megabyte.
    fn long() -> Line {
        let (route, next_hop) = (String::new(), String::new());
        let (reply, recipients) = ("x".repeat(1 << 20), Vec::<Address>::new());
        let became = super::super::fact::Became::Failed;
        let told = super::super::fact::Told {
            route,
            next_hop,
            became,
            retry_in_ms: None,
            reply,
            recipients,
        };
        let began_at = Timestamp::now();
        line(Fact::Attempted {
            number: 1,
            counted: true,
            began_at,
            results: vec![told],
            open: 0,
            trace: None,
        })
    }

    #[test]
    fn nobody_waits_for_the_writer_and_what_finds_no_room_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (keeper, events) = started(&folder, 1 << 30);
        let held = lock(&keeper.shared.out);
        // The writer stands still: eight lines of a megabyte and a bit are one too many.
        for _ in 0..10 {
            keeper.enter(&long());
        }
        drop(held);
        keeper.settle();
        keeper.enter(&line(Fact::Read { uid: 5 }));
        let folder = keeper.settle();
        assert_eq!(found(&folder)[7..], [Fact::Missed { lines: 3 }, Fact::Read { uid: 5 }]);
        assert!(lock(&events).is_empty());
    }

    #[test]
    fn a_full_day_is_told_once_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (keeper, events) = started(&folder, 4 << 20);
        for _ in 0..4 {
            keeper.enter(&long());
            keeper.settle();
        }
        keeper.enter(&line(Fact::Read { uid: 5 }));
        let folder = keeper.settle();
        assert_eq!(found(&folder)[1..], [Fact::Missed { lines: 3 }, Fact::Read { uid: 5 }]);
        assert_eq!(lock(&events).len(), 1);
    }
}
