//! The queue of spans and the thread that sends them: whoever has one puts it in and goes on.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::otlp;
use super::post::{Collector, NotTaken};
use super::span::Span;
use crate::event::Event;

/// The most spans that wait; what comes then is counted.
pub const WAITING_MAX: usize = 4096;
/// The most spans of one request.
pub const BATCH: usize = 512;
/// How long spans are gathered before they are sent together.
const GATHER: Duration = Duration::from_secs(1);
/// How long a batch that was not taken waits for its next tries; then it is dropped.
const TRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The longest time that a collector may ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Why spans are dropped that nobody refused.
const SLOW: &str = "it takes them more slowly than they come";
/// How long what waits is still sent when the process ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// The thread that sends, and what it shares with those who have spans.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    collector: Collector,
    hostname: String,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    report: Box<dyn Fn(Event) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Span>,
    /// Spans that were dropped since the last word about them.
    dropped: u64,
    /// Set when the process ends: then until when spans are sent.
    ends_at: Option<Instant>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("collector", &self.collector).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system makes none.
    pub fn start(
        collector: Collector,
        hostname: &str,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (waiting, wake) = (Mutex::default(), Condvar::new());
        let (hostname, report) = (hostname.to_owned(), Box::new(report));
        let shared = Arc::new(Shared { collector, hostname, waiting, wake, report });
        let sender = Arc::clone(&shared);
        let run = move || sender.run();
        let thread = Some(std::thread::Builder::new().name("traces".to_owned()).spawn(run)?);
        Ok(Self { shared, thread })
    }

    /// Puts spans into the queue.
    pub fn enter(&self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let mut waiting = lock(&self.shared.waiting);
        let was_small = waiting.spans.len() < BATCH;
        let was_empty = waiting.spans.is_empty();
        for span in spans {
            if waiting.spans.len() < WAITING_MAX {
                waiting.spans.push_back(span);
            } else {
                waiting.dropped += 1;
            }
        }
        let is_news = was_empty || (was_small && waiting.spans.len() >= BATCH);
        drop(waiting);
        if is_news {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        lock(&self.shared.waiting).ends_at = Some(Instant::now() + FAREWELL);
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut trouble: Option<String> = None;
        loop {
            let batch = self.next();
            if batch.is_empty() {
                return;
            }
            match self.send(&batch) {
                Ok(hurdle) => self.relax(hurdle, &mut trouble),
                Err((count, why)) => self.complain(count, &why, &mut trouble),
            }
        }
    }

    /// Waits for spans and returns some; none: it is over.
    fn next(&self) -> Vec<Span> {
        let waiting = lock(&self.waiting);
        let is_idle = |waiting: &mut Waiting| waiting.spans.is_empty() && waiting.ends_at.is_none();
        let waiting =
            self.wake.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner);
        let is_few =
            |waiting: &mut Waiting| waiting.spans.len() < BATCH && waiting.ends_at.is_none();
        let gathered = self.wake.wait_timeout_while(waiting, GATHER, is_few);
        let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        if waiting.ends_at.is_some_and(|ends_at| Instant::now() >= ends_at) {
            return Vec::new();
        }
        let count = waiting.spans.len().min(BATCH);
        waiting.spans.drain(..count).collect()
    }

    /// Sends a batch, again if that may help; returns why that had to be. Says how many spans were not taken, and why.
    fn send(&self, batch: &[Span]) -> Result<Option<String>, (u64, String)> {
        let request = otlp::request(&self.hostname, batch);
        let mut tries = TRIES.into_iter();
        let mut hurdle = None;
        loop {
            match self.collector.post(&request) {
                Ok(()) => return Ok(hurdle),
                Err(NotTaken::Some(count, why)) => return Err((count, why)),
                Err(NotTaken::Ever(why)) => return Err((batch.len() as u64, why)),
                Err(NotTaken::Now(wanted, why)) => {
                    let pause = tries.next();
                    let pause = pause.map(|pause| wanted.unwrap_or(pause).min(WAIT_MAX));
                    if !pause.is_some_and(|pause| self.pause(pause)) {
                        return Err((batch.len() as u64, why));
                    }
                    hurdle = Some(why);
                }
            }
        }
    }

    /// Waits; returns whether the process goes on.
    fn pause(&self, pause: Duration) -> bool {
        let waiting = lock(&self.waiting);
        let goes_on = |waiting: &mut Waiting| waiting.ends_at.is_none();
        let waited = self.wake.wait_timeout_while(waiting, pause, goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.ends_at.is_none()
    }

    /// Says what was dropped besides, now that a batch was taken: while none was, or since too many come. `hurdle` is
    /// why this one was not taken at once.
    fn relax(&self, hurdle: Option<String>, trouble: &mut Option<String>) {
        if lock(&self.waiting).dropped == 0 {
            *trouble = None;
            return;
        }
        let outage = hurdle.or_else(|| trouble.clone().filter(|why| why != SLOW));
        match outage {
            None => self.complain(0, SLOW, trouble),
            Some(why) => {
                self.complain(0, &format!("{why}; it takes them again"), trouble);
                *trouble = None;
            }
        }
    }

    /// Says that spans were dropped: once, until some are taken again or the reason is another.
    fn complain(&self, count: u64, why: &str, trouble: &mut Option<String>) {
        let mut waiting = lock(&self.waiting);
        waiting.dropped += count;
        if trouble.as_deref() == Some(why) {
            return;
        }
        let dropped = std::mem::take(&mut waiting.dropped);
        drop(waiting);
        let endpoint = self.collector.endpoint();
        let problem = format!("{endpoint} does not take spans, {dropped} were dropped: {why}");
        (self.report)(Event::Trouble { room: "traces", problem });
        *trouble = Some(why.to_owned());
    }
}

/// A lock that protects a queue, which is whole between any two of its calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
