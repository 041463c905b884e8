//! The loop that drops captured mail when its retention ends.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::config;
use crate::event::Event;
use crate::journal::Journal;
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
            Ok((messages, next)) => {
                if messages > 0 {
                    journal.write(Event::CaptureEnded { messages });
                }
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
