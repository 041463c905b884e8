//! What comes with time: idle connections end, mail that waits is let look, passwords are looked at.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Outbound;
use crate::event::Event;

/// How often idle connections are looked at, and a message of a lane that nothing would leave by.
const REAP: Duration = Duration::from_secs(1);
/// How often the passwords of suspended routes are looked at.
const RENEW: Duration = Duration::from_secs(2);

/// Ends idle connections and lets one message look where nothing would leave, for ever.
pub(super) async fn reap(outbound: &Outbound) {
    let mut ticks = ticks(REAP);
    loop {
        ticks.tick().await;
        for (name, lane) in outbound.routes.named() {
            lane.reap(Instant::now());
            lane.let_look();
            if lane.has_recovered() {
                push(outbound, name).await;
            }
        }
        // Turns come with time alone, and nobody else says so.
        outbound.spool.look_again();
    }
}

/// Has mail that waits tried when somebody put another password into a suspended route's file, for ever. Apart from all
/// else: a file may hang.
pub(super) async fn renew(outbound: &Outbound) {
    let mut ticks = ticks(RENEW);
    loop {
        ticks.tick().await;
        for (name, lane) in outbound.routes.named() {
            if lane.has_new_password().await {
                push(outbound, name).await;
            }
        }
    }
}

/// Has what waits for a route tried now.
async fn push(outbound: &Outbound, name: &str) {
    if let Err(problem) = outbound.routes.push(name, &outbound.spool).await {
        let problem = format!("the mail that waited for route {name} waits on: {problem}");
        outbound.journal.write(Event::Trouble { room: "net", problem });
    }
}

/// Returns ticks of which one that is late puts off those behind it.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
