//! What everybody was told and what arrived where, kept apart from the relay, and whether it fits.

mod judging;
mod taking;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::clock;
use super::letter::{Letter, Recipient};
use super::report;
use crate::event::Event;
use crate::mail::message::MessageId;
use crate::mail::outcome::{Fate, Outcome};
use crate::spool::simulated::Weather;
use crate::spool::{Claim, StoreError};

pub(super) use judging::Sum;

/// As in the configuration of the world.
const EXPIRE: Duration = Duration::from_secs(4 * 3600);

/// How far a submission got, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its last octet was not sent.
    Begun,
    /// Its last octet was sent, and no answer was heard.
    Ended,
    /// 250.
    Told,
    /// Anything else.
    Refused,
}

/// What a client submits, as often as it takes.
struct Submission {
    letter: Letter,
    text: Vec<u8>,
    begun_at: Timestamp,
    state: State,
    /// Tries before the last whose end was sent and which were not answered: any may have been taken.
    unanswered: usize,
    /// Recipients that were answered 250.
    accepted: BTreeSet<String>,
    id: Option<MessageId>,
}

/// One message at a next hop, for one recipient. What is uncertain was taken, and the relay cannot know.
struct Copy {
    is_certain: bool,
    /// The sender is to be told of it: he asked for that, and the hop tells nobody.
    is_to_be_told: bool,
}

/// Which copy: the message by its id, or the report by its own Message-ID; the recipient.
type Key = (String, String);

/// Where a copy stands in the ledger.
pub(super) type CopyAt = (Key, usize);

/// A message as a next hop has taken it.
pub(super) struct Parcel<'a> {
    pub(super) sender: &'a str,
    pub(super) recipients: &'a [String],
    /// Whether the hop reports success to who asked for it.
    pub(super) keeps_dsn: bool,
    pub(super) octets: &'a [u8],
}

/// A message that the relay has in hand.
struct Flight {
    key: String,
    /// How many copies there were of it for each recipient.
    before: Vec<(String, usize)>,
}

/// Everything that is known outside the relay, and what its glue saw.
#[derive(Default)]
pub(super) struct Ledger {
    /// Clients that have not done yet.
    pub(super) clients: usize,
    /// What must not be.
    pub(super) faults: Vec<String>,
    story: Vec<String>,
    submissions: Vec<Submission>,
    by_id: BTreeMap<MessageId, usize>,
    copies: BTreeMap<Key, Vec<Copy>>,
    refused: BTreeSet<String>,
    /// Failure reports at a next hop: of which message and recipient, by their own ids.
    failures: BTreeMap<(MessageId, String), BTreeSet<String>>,
    flights: BTreeMap<MessageId, Flight>,
    /// How often it is not known how far an attempt got.
    lost: BTreeMap<MessageId, usize>,
    /// Reports that the relay wrote, and about what.
    reports: Vec<(MessageId, MessageId)>,
    /// Messages of which the sender was told that they were passed on.
    relayed: BTreeSet<MessageId>,
    /// Messages about which nobody is left to be told.
    untold: BTreeSet<MessageId>,
    /// Given up, and NOTIFY says never.
    silent: BTreeSet<(MessageId, String)>,
    /// Dropped by the operator, for sure or perhaps.
    dropped: BTreeSet<MessageId>,
    gone: BTreeSet<MessageId>,
    held: BTreeSet<MessageId>,
    /// The operator wants them to be tried before their time.
    hastened: BTreeSet<MessageId>,
    captured: BTreeSet<(MessageId, String)>,
    kept: BTreeSet<MessageId>,
    has_failed: bool,
}

impl Ledger {
    /// Writes a line of the story.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        self.story.push(format!("{} {}", clock::now(), line()));
    }

    /// Notes what must not be.
    pub(super) fn fault(&mut self, fault: String) {
        self.tell(|| format!("FAULT {fault}"));
        self.faults.push(fault);
    }

    fn ensure(&mut self, is_so: bool, fault: impl FnOnce() -> String) {
        if !is_so {
            self.fault(fault());
        }
    }

    /// Returns all that happened.
    pub(super) fn story(&self) -> String {
        self.story.join("\n")
    }

    pub(super) fn weather(&mut self, weather: Weather) {
        self.has_failed |= weather != Weather::Fair;
        self.tell(|| format!("the disk: {weather:?}"));
    }

    // What clients see.

    /// A client begins to submit, or tries again; returns the number of the submission.
    pub(super) fn begins(&mut self, letter: &Letter) -> usize {
        let mut known = self.submissions.iter();
        if let Some(number) = known.position(|known| known.letter.sender == letter.sender) {
            self.submissions[number].unanswered +=
                usize::from(self.submissions[number].state == State::Ended);
            self.tell(|| format!("submission {number} once more"));
            return number;
        }
        let number = self.submissions.len();
        self.submissions.push(Submission {
            letter: letter.clone(),
            text: letter.text(number),
            begun_at: clock::now(),
            state: State::Begun,
            unanswered: 0,
            accepted: BTreeSet::new(),
            id: None,
        });
        self.tell(|| format!("submission {number} of {}", letter.sender));
        number
    }

    /// RCPT was answered 250.
    pub(super) fn accepts(&mut self, number: usize, recipient: &Recipient) {
        self.ensure(recipient.is_allowed, || format!("{} was let in", recipient.address));
        self.submissions[number].accepted.insert(recipient.address.clone());
    }

    /// The last octet is about to be sent.
    pub(super) fn ends(&mut self, number: usize) {
        self.submissions[number].state = State::Ended;
    }

    pub(super) fn told(&mut self, number: usize, id: MessageId) {
        self.submissions[number].state = State::Told;
        self.tell(|| format!("submission {number} is told 250 {id}"));
        self.is_the_same(number, id);
    }

    pub(super) fn refused(&mut self, number: usize) {
        let submission = &mut self.submissions[number];
        let is_sure = submission.unanswered == 0;
        submission.state = if is_sure { State::Refused } else { State::Ended };
        self.tell(|| format!("submission {number} is refused"));
    }

    /// A submission becomes one message, and no other.
    fn is_the_same(&mut self, number: usize, id: MessageId) {
        let known = *self.submissions[number].id.get_or_insert(id);
        let by_id = *self.by_id.entry(id).or_insert(number);
        self.ensure((known, by_id) == (id, number), || {
            format!("submission {number} is {known} and {id}, which is {by_id}")
        });
    }

    // What the relay does, as its glue sees it.

    /// A message is in hand.
    pub(super) fn claimed(&mut self, claim: &Claim, octets: &[u8], before: Option<MessageId>) {
        let id = claim.id();
        self.ensure(before.is_none(), || format!("{id} was claimed before {before:?}"));
        self.ensure(!self.held.contains(&id), || format!("{id} is held and was claimed"));
        let is_report = claim.envelope().sender.mailbox().is_none();
        let key = if is_report { report::key(octets) } else { id.to_string() };
        let count = |to: &String| self.copies.get(&(key.clone(), to.clone())).map_or(0, Vec::len);
        let pending: Vec<_> = claim.pending().iter().map(ToString::to_string).collect();
        let before = pending.into_iter().map(|to| (to.clone(), count(&to))).collect();
        self.tell(|| format!("{id} is claimed"));
        self.flights.insert(id, Flight { key, before });
    }

    /// The outcome is written down.
    pub(super) fn settled(&mut self, id: MessageId) {
        self.flights.remove(&id);
        self.tell(|| format!("{id} is settled"));
    }

    /// The outcome could not be written down: it may be as if the attempt had not been.
    pub(super) fn unsettled(&mut self, id: MessageId) {
        let Some(Flight { key, before }) = self.flights.remove(&id) else { return };
        *self.lost.entry(id).or_default() += 1;
        self.tell(|| format!("{id} is not settled"));
        for (to, count) in before {
            let copies = self.copies.get_mut(&(key.clone(), to));
            for copy in copies.into_iter().flat_map(|copies| &mut copies[count..]) {
                copy.is_certain = false;
            }
        }
    }

    /// The power failed: nobody knows how far anything got.
    pub(super) fn power_lost(&mut self) {
        self.tell(|| "the power fails".to_owned());
        while let Some((id, _)) = self.flights.first_key_value() {
            let id = *id;
            self.unsettled(id);
        }
    }

    pub(super) fn reported(&mut self, events: &[Event]) {
        for event in events {
            self.tell(|| format!("{event:?}"));
            if let Event::Bounced { id, about } = event {
                self.reports.push((*id, *about));
            } else if let Event::Notified { about, news: "relayed", .. } = event {
                self.relayed.insert(*about);
            } else if let Event::BounceDropped { id, .. } = event {
                self.untold.insert(*id);
            }
        }
    }

    /// Notes who is given up without a word, because the sender wished so.
    pub(super) fn given_up(&mut self, claim: &Claim, outcomes: &[Outcome]) {
        let id = claim.id();
        self.tell(|| {
            format!(
                "{id}: {:?}",
                outcomes
                    .iter()
                    .map(|o| (o.recipient.to_string(), &o.fate, &o.reply))
                    .collect::<Vec<_>>()
            )
        });
        for outcome in outcomes.iter().filter(|outcome| outcome.fate == Fate::Failed) {
            self.silent.insert((id, outcome.recipient.to_string()));
        }
    }

    // What the operator does.

    pub(super) fn held(&mut self, id: MessageId, result: &Result<(), StoreError>) {
        if result.is_ok() {
            self.held.insert(id);
        }
        self.tell(|| format!("{id} is held: {result:?}"));
    }

    pub(super) fn releases(&mut self, id: MessageId) {
        self.held.remove(&id);
        self.tell(|| format!("{id} is to be released"));
    }

    pub(super) fn hastened(&mut self, id: MessageId) {
        self.hastened.insert(id);
    }

    /// From here on it may be gone.
    pub(super) fn drops(&mut self, id: MessageId) {
        self.dropped.insert(id);
    }

    pub(super) fn dropped(&mut self, id: MessageId, result: &Result<(), StoreError>) {
        self.tell(|| format!("{id} is dropped: {result:?}"));
        match result {
            Ok(()) => drop(self.gone.insert(id)),
            Err(StoreError::Claimed) => drop(self.dropped.remove(&id)),
            Err(_) => {}
        }
    }
}
