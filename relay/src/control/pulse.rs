//! Whether the gate's process answers: a question each second, beside the connection that is attached.
//!
//! A process that hangs keeps its connections, and the kernel goes on taking what is written to them: only an
//! answer that does not come tells that nobody watches any more.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::attach::{LINE_MAX, LinkError};
use super::passing::Lines;
use super::wire::GateRequest;
use crate::event::Event;
use crate::journal::Journal;

/// How often the gate is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long it may answer nothing before somebody hears of it: a list of a million entries takes less.
const HANGS: Duration = Duration::from_secs(10);

/// Whether it was said that the gate's process is silent: one line an outage, not one an attempt.
#[derive(Debug)]
pub(super) struct Silence {
    socket: PathBuf,
    journal: Journal,
    is_told: AtomicBool,
}

impl Silence {
    pub(super) const fn new(socket: PathBuf, journal: Journal) -> Self {
        Self { socket, journal, is_told: AtomicBool::new(false) }
    }

    /// Says that the gate's process is silent, and why, unless that was said.
    pub(super) fn begin(&self, why: impl std::fmt::Display) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let problem = format!("{}: {why}", self.socket.display());
            self.journal.write(Event::GateSilent { problem });
        }
    }

    /// Says that it is heard again, if it was said to be silent.
    pub(super) fn end(&self) {
        if self.is_told.swap(false, Ordering::Relaxed) {
            self.journal.write(Event::GateHeard);
        }
    }
}

/// Asks the gate again and again, and says when it does not answer and when it does again. For ever: that the
/// gate is gone is seen by whoever is attached to it.
pub(super) async fn watch(silence: &Silence) -> Infallible {
    let (mut lines, mut unheard_since) = (None, None);
    loop {
        {
            let since = *unheard_since.get_or_insert_with(Instant::now);
            let mut asked = pin!(ask(silence, &mut lines));
            let said = if let Ok(said) = timeout_at(since + HANGS, asked.as_mut()).await {
                said
            } else {
                let after = HANGS.as_secs();
                silence.begin(format!("no answer for {after} s: it hangs, or is stopped"));
                // Asking again would only fill its queue.
                asked.await
            };
            if said.is_ok() {
                unheard_since = None;
                silence.end();
            }
        }
        sleep(ASK_EVERY).await;
    }
}

/// Asks the gate what it does with this host itself: that goes through all of it, down to the kernel's program,
/// and leaves no trace. Any answer is a sign of life, a refusal too.
async fn ask(silence: &Silence, kept: &mut Option<Lines>) -> Result<(), LinkError> {
    // Put back if all is well: a question whose answer is not awaited would be answered to the next.
    let mut lines = match kept.take() {
        Some(lines) => lines,
        None => Lines::new(UnixStream::connect(&silence.socket).await?),
    };
    let source = IpAddr::from(Ipv4Addr::LOCALHOST);
    let question = serde_json::to_vec(&GateRequest::Explain { source, port: None })?;
    lines.write(&question, &[]).await?;
    lines.read(LINE_MAX).await?.ok_or(LinkError::Ended)?;
    *kept = Some(lines);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::net::UnixListener;
    use tokio::sync::watch as channel;

    use super::*;

    /// A gate that refuses every question, and answers none while it hangs. Counts its callers.
    async fn gate(listener: UnixListener, hangs: channel::Receiver<bool>, came: Arc<AtomicUsize>) {
        while let Ok((stream, _)) = listener.accept().await {
            came.fetch_add(1, Ordering::Relaxed);
            let (mut lines, mut hangs) = (Lines::new(stream), hangs.clone());
            tokio::spawn(async move {
                while let Ok(Some(_)) = lines.read(LINE_MAX).await {
                    hangs.wait_for(|hangs| !hangs).await.unwrap();
                    lines.write(br#"{"error":"no"}"#, &[]).await.unwrap();
                }
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_hangs_is_told_of_once_and_its_next_answer_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gate.sock");
        let (journal, came) = (Journal::memory(), Arc::default());
        let hangs = channel::Sender::new(false);
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(gate(listener, hangs.subscribe(), Arc::clone(&came)));
        let silence = Silence::new(socket, journal.clone());
        let watching = tokio::spawn(async move { watch(&silence).await });
        sleep(HANGS * 3).await;
        assert_eq!(journal.take(), [], "a refusal is an answer");
        hangs.send_replace(true);
        sleep(HANGS.saturating_sub(ASK_EVERY)).await;
        assert_eq!(journal.take(), [], "it may be busy");
        sleep(ASK_EVERY * 3).await;
        let told = journal.take();
        let [Event::GateSilent { problem }] = &told[..] else { panic!("{told:?}") };
        assert!(problem.ends_with("gate.sock: no answer for 10 s: it hangs, or is stopped"));
        sleep(HANGS * 9).await;
        assert_eq!(journal.take(), [], "once");
        hangs.send_replace(false);
        sleep(ASK_EVERY).await;
        assert_eq!(journal.take(), [Event::GateHeard]);
        assert_eq!(came.load(Ordering::Relaxed), 1, "its queue is not filled");
        watching.abort();
    }
}
