//! Messages over a connection that is ready: from one transaction to the next.

use std::mem;
use std::time::Instant;

use jiff::Timestamp;

use super::Attempt;
use super::stage::Stage;
use crate::config::RouteTls;
use crate::delivery::action::{Action, End};
use crate::delivery::carriage::{Converted, Hop, Protection};
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Judged;
use crate::delivery::sorting::RECIPIENTS_MAX;
use crate::delivery::transaction::{After, Step, Transaction};

impl Attempt {
    /// Returns how many recipients one transaction may have; at least one.
    #[must_use]
    pub fn room(&self) -> usize {
        let named = self.offer.recipients_max.and_then(|limit| usize::try_from(limit).ok());
        named.unwrap_or(RECIPIENTS_MAX).clamp(1, RECIPIENTS_MAX)
    }

    /// Begins a transaction at this time of day. Only after [`Action::Ready`]; the parcel has at
    /// least one recipient, and at most [`Attempt::room`].
    pub fn begin(&mut self, parcel: Parcel, today: Timestamp, now: Instant) {
        self.messages_begun = self.messages_begun.saturating_add(1);
        let protection = match self.tls {
            RouteTls::Required | RouteTls::Implicit => Protection::Proved,
            RouteTls::Opportunistic | RouteTls::None => Protection::Unproved,
        };
        let hop = Hop { offer: self.offer, protection, logged_in: self.logged_in };
        let step = Transaction::begin(parcel, hop, today);
        match (&self.stage, step) {
            (Stage::Ready, step) => return self.step(step, now),
            (_, Step::Over(judged, _)) => self.settle(judged),
            (
                _,
                Step::Ask(transaction, _)
                | Step::Room(transaction, _)
                | Step::Body(transaction, _)
                | Step::More(transaction, _)
                | Step::Look(transaction, _),
            ) => {
                if let Step::Over(judged, _) = transaction.broken("the connection was closed") {
                    self.settle(judged);
                }
            }
        }
        self.close(End::Finished);
    }

    /// Goes on after [`Action::MakeRoom`]: the message may be held.
    pub fn roomy(&mut self, now: Instant) {
        self.in_transaction(now, Transaction::roomy);
    }

    /// Leaves the message after [`Action::MakeRoom`]: it may not be held now.
    pub fn crowded(&mut self, now: Instant) {
        self.in_transaction(now, Transaction::crowded);
    }

    /// Goes on after [`Action::Convert`].
    pub fn converted(&mut self, converted: Converted, now: Instant) {
        self.in_transaction(now, |transaction| transaction.converted(converted));
    }

    /// Takes a piece of the body after [`Action::ReadBody`].
    pub fn body(&mut self, chunk: &[u8], now: Instant) {
        self.in_transaction(now, |transaction| transaction.body(chunk));
    }

    /// Ends the body after [`Action::ReadBody`].
    pub fn body_end(&mut self, now: Instant) {
        self.in_transaction(now, Transaction::body_end);
    }

    /// Goes on with a body in memory after [`Action::GoOn`].
    pub fn go_on(&mut self, now: Instant) {
        self.in_transaction(now, Transaction::go_on);
    }

    /// Leaves the body after [`Action::ReadBody`] or [`Action::Convert`]: it cannot be had.
    pub fn body_lost(&mut self, words: &str, now: Instant) {
        self.in_transaction(now, |transaction| transaction.body_lost(words));
    }

    fn in_transaction(&mut self, now: Instant, act: impl FnOnce(Transaction) -> Step) {
        match mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Transaction(transaction) => self.step(act(*transaction), now),
            // The answer overtook the body: the transaction is settled already.
            stage => self.stage = stage,
        }
    }

    pub(super) fn step(&mut self, step: Step, now: Instant) {
        match step {
            Step::Ask(transaction, octets) => {
                self.send(&octets);
                self.wait(Stage::Transaction(Box::new(transaction)), now);
            }
            Step::Room(transaction, octets) => {
                self.actions.push_back(Action::MakeRoom(octets));
                self.wait(Stage::Transaction(Box::new(transaction)), now);
            }
            Step::Look(transaction, conversion) => {
                self.actions.push_back(Action::Convert(conversion));
                self.wait(Stage::Transaction(Box::new(transaction)), now);
            }
            Step::Body(transaction, octets) => {
                self.send(&octets);
                self.actions.push_back(Action::ReadBody);
                self.wait(Stage::Transaction(Box::new(transaction)), now);
            }
            Step::More(transaction, octets) => {
                self.send(&octets);
                self.actions.push_back(Action::GoOn);
                self.wait(Stage::Transaction(Box::new(transaction)), now);
            }
            Step::Over(judged, after) => {
                self.settle(judged);
                match after {
                    After::Clean => self.ready(now),
                    After::Reset => {
                        self.send(b"RSET\r\n");
                        self.wait(Stage::Reset, now);
                    }
                    After::Broken(words) => self.close(End::Unfit(words)),
                    After::LoginRefused(words) => self.close(End::LoginRefused(words)),
                }
            }
        }
    }

    /// Hands out the rulings. What was still to be sent for the transaction is void.
    pub(super) fn settle(&mut self, judged: Vec<Judged>) {
        self.actions.retain(|action| matches!(action, Action::Settle(_)));
        self.actions.push_back(Action::Settle(judged));
    }
}
