//! Waiting for what a relay does by itself.

use super::*;

/// How long it may take.
const SOON: Duration = Duration::from_secs(30);

/// Waits until an attempt at a message is settled and leaves it in the spool.
pub(super) async fn settled(relay: &Relay, id: MessageId) {
    let looking = async {
        let is_open = |details: Details| details.progress[0].last.is_none();
        while relay.spool.show(id).await.is_ok_and(is_open) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("settled in time");
}

/// Returns the events up to the moment at which one kind of them was told so often.
pub(super) async fn heard(relay: &Relay, name: &str, times: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let hearing = async {
        while count(&events, name) < times {
            events.extend(relay.journal.take());
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, hearing).await.expect("it is told in time");
    events
}
