//! What is due in one way: logins in turn, each with its messages in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Due, QUANTUM, TRANSACTION};
use crate::mail::message::MessageId;
use crate::spool::label::Job;
use crate::spool::share::Owner;

/// The order of one login's messages: the highest priority, then the longest due, then the oldest.
type Place = (Reverse<i8>, Due);

/// When a login has its next turn: the round, and its place in the round.
type Turn = (u64, u64);

/// The messages of one way.
#[derive(Debug, Default)]
pub struct Queue {
    /// Everybody who has messages, or has had more than a turn is worth and must sit out.
    backlogs: HashMap<Owner, Backlog>,
    /// The same, by their next turns.
    turns: BTreeSet<(Turn, Owner)>,
    /// The round of the last turn.
    round: u64,
    /// The place of whoever comes next into a round.
    place: u64,
    messages: usize,
}

/// The messages of one login.
#[derive(Debug)]
struct Backlog {
    /// What each costs, octets.
    messages: BTreeMap<Place, u64>,
    turn: Turn,
    /// What is left of the turn, octets.
    credit: u64,
}

impl Queue {
    /// Tells whether there is no message.
    pub const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Adds a message. A login that had none comes into the next round, behind whoever is there: in
    /// the one that runs it could come again and again before those who had their turn.
    pub fn add(&mut self, due: Due, job: Job) {
        let owner = job.label.owner;
        let turn = (self.round + 1, self.place);
        let backlog = self.backlogs.entry(owner).or_insert_with(|| {
            self.turns.insert((turn, owner));
            self.place += 1;
            Backlog { messages: BTreeMap::new(), turn, credit: QUANTUM }
        });
        backlog.messages.insert(place(due, job), job.size_bytes.saturating_add(TRANSACTION));
        self.messages += 1;
    }

    /// Takes a message out that was added with the same arguments.
    pub fn remove(&mut self, due: Due, job: Job) {
        let Some(backlog) = self.backlogs.get_mut(&job.label.owner) else { return };
        // Who has none left keeps its turn until that comes: else it could shed its debts.
        if backlog.messages.remove(&place(due, job)).is_some() {
            self.messages -= 1;
        }
    }

    /// Takes the message whose turn it is.
    pub fn take(&mut self) -> Option<MessageId> {
        while let Some((turn, owner)) = self.turns.first().copied() {
            self.round = turn.0;
            let backlog = self.backlogs.get_mut(&owner)?;
            let Some(((_, (_, id)), cost)) = backlog.messages.pop_first() else {
                self.turns.pop_first();
                self.backlogs.remove(&owner);
                continue;
            };
            self.messages -= 1;
            self.charge(owner, cost);
            return Some(id);
        }
        None
    }

    /// Charges a login, octets. One that is not known here has had no message.
    pub fn charge(&mut self, owner: Owner, cost: u64) {
        let Some(backlog) = self.backlogs.get_mut(&owner) else { return };
        if cost < backlog.credit {
            backlog.credit -= cost;
            return;
        }
        // The turn is over, and one more for every quantum that was taken too much.
        let debt = cost - backlog.credit;
        let rounds = debt / QUANTUM + 1;
        backlog.credit = rounds * QUANTUM - debt;
        self.turns.remove(&(backlog.turn, owner));
        backlog.turn = (backlog.turn.0 + rounds, self.place);
        self.place += 1;
        self.turns.insert((backlog.turn, owner));
    }
}

const fn place(due: Due, job: Job) -> Place {
    (Reverse(job.label.priority), due)
}
