//! An operator who meddles: holds, releases, drops, and asks for other tries.

use std::rc::Rc;

use super::life::Life;
use crate::spool::Place;

/// Works for ever; once the weather is fair, only releases what was held.
pub(super) async fn work(life: &Rc<Life>) {
    loop {
        life.later(1_200_000).await;
        let places = life.spool.places();
        if life.world.is_fair() {
            for (id, place) in places {
                if place == Place::Held {
                    life.world.ledger().releases(id);
                    life.spool.release(id).await.unwrap();
                }
            }
            continue;
        }
        if places.is_empty() || !life.world.one_in(3) {
            continue;
        }
        let (id, _) = places[life.world.below(places.len())];
        match life.world.roll(8) {
            0 => {
                life.world.ledger().drops(id);
                let dropped = life.spool.remove(id).await;
                life.world.ledger().dropped(id, &dropped);
            }
            1..=3 => {
                let held = life.spool.hold(id).await;
                life.world.ledger().held(id, &held);
            }
            4..=5 => {
                life.world.ledger().releases(id);
                drop(life.spool.release(id).await);
            }
            6 => {
                if life.spool.retry(id).is_ok() {
                    life.world.ledger().hastened(id);
                }
            }
            _ => {
                // All at once is a thread's work in the spool: a seed could not repeat it.
                for (id, _) in places {
                    if life.spool.retry(id).is_ok() {
                        life.world.ledger().hastened(id);
                    }
                }
            }
        }
    }
}
