//! What comes with time: idle connections end, mail that waits is let look, passwords are looked at.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::Outbound;
use crate::event::Event;
use crate::net::lane::Lane;

/// How often idle connections are looked at, and a message of a lane that nothing would leave by.
const REAP: Duration = Duration::from_secs(1);
/// How often the passwords of suspended routes are looked at.
const RENEW: Duration = Duration::from_secs(2);

/// Ends idle connections and lets one message look where nothing would leave, for ever.
pub(super) async fn reap(outbound: &Outbound) {
    let mut ticks = interval(REAP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for lane in outbound.routes.lanes() {
            lane.reap(Instant::now());
            lane.let_look();
            if lane.has_recovered() {
                push(outbound, lane).await;
            }
        }
        // Turns come with time alone, and nobody else says so.
        outbound.spool.look_again();
    }
}

/// Has mail that waits tried when somebody put another password into a suspended route's file, for ever. Apart from all
/// else: a file may hang.
pub(super) async fn renew(outbound: &Outbound) {
    let mut ticks = interval(RENEW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for lane in outbound.routes.lanes() {
            if lane.has_new_password().await {
                push(outbound, lane).await;
            }
        }
    }
}

/// Has what waits for a lane tried now.
async fn push(outbound: &Outbound, lane: &Lane) {
    let name = lane.name();
    if let Err(problem) = outbound.routes.push(name, &outbound.spool).await {
        let problem = format!("the mail that waited for route {name} waits on: {problem}");
        outbound.journal.write(Event::Trouble { room: "net", problem });
    }
}
