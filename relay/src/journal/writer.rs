//! A thread that writes lines, so that nobody waits for whoever reads the log. What is said before the thread starts
//! waits for it.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most octets that wait for the reader of the log; lines that come then are counted and lost.
pub(super) const WAITING_MAX: usize = 1 << 20;

/// How long the process's last lines may take.
const LAST: Duration = Duration::from_secs(1);

/// The writing end. What waits when it is dropped is written as by [`Writer::settle`].
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Told when there is something to write, when all is written, and at the end.
    moved: Condvar,
}

#[derive(Default)]
struct Waiting {
    octets: Vec<u8>,
    /// Lines that found no room and were not told of yet.
    lost: u64,
    is_started: bool,
    is_writing: bool,
    is_over: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Returns the end of a thread that has not started.
    pub(super) fn new() -> Self {
        Self { shared: Arc::new(Shared { waiting: Mutex::default(), moved: Condvar::new() }) }
    }

    /// Starts the thread, which writes to `out`, unless it runs; `tell` makes of a number of lost lines the line about
    /// them.
    ///
    /// # Errors
    ///
    /// If the system makes no thread.
    pub(super) fn start(
        &self,
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) -> String + Send + 'static,
    ) -> std::io::Result<()> {
        let mut waiting = self.shared.lock();
        if !waiting.is_started {
            let own = Arc::clone(&self.shared);
            std::thread::Builder::new().name("journal".into()).spawn(move || own.run(out, tell))?;
            waiting.is_started = true;
        }
        Ok(())
    }

    /// Has a line written, with its end. It waits for nobody.
    pub(super) fn write(&self, line: &str) {
        let mut waiting = self.shared.lock();
        if waiting.octets.len() + line.len() >= WAITING_MAX {
            waiting.lost += 1;
            return;
        }
        waiting.octets.extend_from_slice(line.as_bytes());
        waiting.octets.push(b'\n');
        drop(waiting);
        self.shared.moved.notify_all();
    }

    /// Waits until all is written, for a second at most.
    pub(super) fn settle(&self) {
        let is_busy = |waiting: &mut Waiting| {
            waiting.is_started && (waiting.is_writing || waiting.has_more())
        };
        drop(self.shared.moved.wait_timeout_while(self.shared.lock(), LAST, is_busy));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.moved.notify_all();
        self.settle();
    }
}

impl Waiting {
    const fn has_more(&self) -> bool {
        !self.octets.is_empty() || self.lost > 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut out: impl Write, tell: impl Fn(u64) -> String) {
        let mut octets = Vec::new();
        let mut waiting = self.lock();
        loop {
            let is_idle = |waiting: &mut Waiting| !waiting.has_more() && !waiting.is_over;
            waiting =
                self.moved.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner);
            if !waiting.has_more() {
                return;
            }
            std::mem::swap(&mut octets, &mut waiting.octets);
            if let lost @ 1.. = std::mem::take(&mut waiting.lost) {
                octets.extend_from_slice(tell(lost).as_bytes());
                octets.push(b'\n');
            }
            waiting.is_writing = true;
            drop(waiting);
            // A log that cannot be written must not stop the mail.
            let _ = out.write_all(&octets).and_then(|()| out.flush());
            octets.clear();
            waiting = self.lock();
            waiting.is_writing = false;
            self.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    fn pipe() -> (BufReader<std::io::PipeReader>, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        (BufReader::new(reader), writer)
    }

    #[test]
    fn whoever_writes_never_waits_for_the_reader_who_hears_how_many_lines_are_lost() {
        let (reader, out) = pipe();
        let writer = Writer::new();
        writer.start(out, |lost| format!("lost {lost}")).unwrap();
        let line = "x".repeat(999);
        // Nobody reads: the pipe fills, then the memory for what waits.
        let all = 4 * WAITING_MAX / 1000;
        for _ in 0..all {
            writer.write(&line);
        }
        let reading = std::thread::spawn(move || reader.lines().map(Result::unwrap).collect());
        drop(writer);
        let lines: Vec<String> = reading.join().unwrap();
        let lost: Vec<&String> = lines.iter().filter(|line| line.starts_with("lost ")).collect();
        let [lost] = lost[..] else { panic!("{} lines about lost ones", lost.len()) };
        let lost: usize = lost.strip_prefix("lost ").unwrap().parse().unwrap();
        assert!(lost > 0);
        assert_eq!(lines.len() - 1 + lost, all);
    }

    #[test]
    fn the_first_lines_wait_for_the_thread_and_the_last_are_written_before_the_end() {
        let (reader, out) = pipe();
        let writer = Writer::new();
        for number in 0..1000 {
            if number == 500 {
                let out = out.try_clone().unwrap();
                writer.start(out, |_| unreachable!("none is lost")).unwrap();
            }
            writer.write(&number.to_string());
        }
        // One is enough.
        writer.start(out, |_| unreachable!("the other one tells")).unwrap();
        drop(writer);
        let lines: Vec<String> = reader.lines().map(Result::unwrap).collect();
        assert_eq!(lines, (0..1000).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
