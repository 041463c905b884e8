//! The loop that drops captured mail when its retention ends.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::config;
use crate::event::Event;
use crate::history::{Ended, Fact};
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::spool::Spool;

/// The longest wait before the wall clock is looked at again: it may have been set forward.
const CLOCK_CHECK: Duration = Duration::from_secs(3600);
/// How long to wait after the disk failed.
const TROUBLE: Duration = Duration::from_secs(60);

/// Looks at the start, whenever a message was captured, and when the oldest one's time is over; for
/// ever.
pub(super) async fn retire(spool: &Spool, retention: &config::Capture, journal: &Journal) {
    loop {
        let now = Timestamp::now();
        let wait = match spool.retire(now, retention).await {
            Ok((dropped, next)) => {
                tell(&dropped, journal);
                let next = next.map(|next| next.duration_since(now));
                next.and_then(|wait| wait.try_into().ok()).unwrap_or(CLOCK_CHECK).min(CLOCK_CHECK)
            }
            Err(problem) => {
                let problem = format!("captured mail was not dropped: {problem}");
                journal.write(Event::Trouble { room: "net", problem });
                tokio::time::sleep(TROUBLE).await;
                continue;
            }
        };
        // Either end of the wait is a reason to look again.
        drop(timeout(wait, spool.captured()).await);
    }
}

/// Says what was dropped and why: a line for each reason, and one in the life of each message.
fn tell(dropped: &[(MessageId, Ended)], journal: &Journal) {
    for (id, why) in dropped.iter().copied() {
        journal.history().enter(id, Fact::CaptureEnded { why });
    }
    for why in Ended::ALL {
        let messages = dropped.iter().filter(|(_, other)| *other == why).count();
        if messages > 0 {
            journal.write(Event::CaptureEnded { messages, why: why.word() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_says_why_captured_mail_went() {
        let journal = Journal::memory();
        let dropped = [(1, Ended::Size), (2, Ended::Time), (3, Ended::Size)];
        tell(&dropped.map(|(id, why)| (MessageId(id), why)), &journal);
        let expected = [(1, "time"), (2, "size")];
        assert_eq!(
            journal.take(),
            expected.map(|(messages, why)| Event::CaptureEnded { messages, why })
        );
        tell(&[], &journal);
        assert_eq!(journal.take(), []);
    }
}
