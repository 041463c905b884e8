//! When a write or a flush fails.
//!
//! After a failed flush nothing is known of what it should have written, and the kernel calls the
//! pages clean: a second flush would succeed and mean nothing. So the segment is never written or
//! flushed again, whoever waited is told, and what counts in it is copied to a new one.

use std::io;

use crate::event::Event;
use crate::spool::StoreError;
use crate::spool::batch::{Batch, Burial, Promise};
use crate::spool::index::Standing;
use crate::spool::order::{Order, What};
use crate::spool::segment::SegmentId;
use crate::spool::turnover::Active;
use crate::spool::writer::Committer;

/// The most messages that are remembered until they can be buried.
const BURIALS: usize = 65_536;

impl Committer {
    /// Marks a segment that a write or flush failed on. It is never touched again but to be read.
    pub fn fail(&mut self, active: &Active, problem: &io::Error) {
        self.before = (active.id, active.confirmed);
        // The list at its head may be lost.
        self.listed = 0;
        {
            let mut index = self.shared.index();
            if let Some(tally) = index.segments.get_mut(&active.id) {
                tally.standing = Standing::Failed;
                tally.size_bytes = active.end;
            }
            index.weigh(active.id);
        }
        let problem = format!("{}: {problem}; going on in a new segment", active.id.file_name());
        self.shared.say(Event::Trouble { room: "spool", problem });
    }

    /// Gives up a batch that could not be written or flushed; returns what is worth another try.
    pub fn abandon(&mut self, batch: Batch, problem: &io::Error) -> Vec<Order> {
        self.buffer.clear();
        self.is_failing = true;
        if let Some(compaction) = self.compaction.take() {
            // Its copies are lost, so it begins anew.
            self.shared.index().weigh(compaction.victim);
        }
        let Some(active) = self.active.take() else { return Vec::new() };
        self.fail(&active, problem);
        let error = StoreError::writing(problem);
        let mut again = Vec::new();
        for (order, _, _) in batch.placed {
            if matches!(order.what, What::State { .. }) {
                again.push(order);
            } else {
                self.give_up(order, active.id, &error);
            }
        }
        for (order, _) in batch.repeated {
            order.refuse(error.clone());
        }
        let surplus = self.burials.len().saturating_sub(BURIALS);
        self.burials.drain(..surplus);
        again
    }

    /// Gives up an order of which nothing was written, since there is no segment to write to.
    pub fn turn_away(&mut self, order: Order, problem: &StoreError) {
        if matches!(order.what, What::Tombstone { .. }) {
            self.give_up(order, self.before.0, problem);
        } else {
            order.refuse(problem.clone());
        }
    }

    /// Gives up an order of which a part may be in segment `last`.
    ///
    /// A message that was refused must not come back, and one whose end was asked for is gone
    /// from now on: were it still copied, a copy could land behind a tombstone that did reach
    /// the disk. Both are buried as soon as something can be written.
    fn give_up(&mut self, order: Order, last: SegmentId, problem: &StoreError) {
        match order.what {
            What::Message { .. } => {
                let (id, first, promise) = (order.id, last, Promise::Refused);
                self.burials.push_back(Burial { id, first, last, promise, answer: None });
                order.refuse(problem.clone());
            }
            What::Tombstone { answer } => {
                let mut index = self.shared.index();
                let first = index.entries.get(&order.id).map_or(last, |entry| entry.first);
                index.remove(order.id);
                let (id, promise, answer) = (order.id, Promise::Made, Some(answer));
                self.burials.push_back(Burial { id, first, last, promise, answer });
            }
            What::Part { .. } | What::State { .. } => order.refuse(problem.clone()),
        }
    }
}
