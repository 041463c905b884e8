//! Both ends of a session: the greeting, and every way to close.

use std::time::Instant;

use super::message::Blame;
use super::{Action, Outlook, Session, State, replies};
use crate::policy::conduct::Offence;
use crate::smtp::reply::Reply;

impl Session {
    /// Returns whether nothing was said yet: octets that are there before the greeting come from a
    /// client that does not listen, and are to be handed over before the first action is asked for.
    #[must_use]
    pub const fn is_unheard(&self) -> bool {
        matches!(self.state, State::Greeting { .. })
    }

    /// Greets when it is time; returns false if it is not. Octets that came before are those of a
    /// client that does not listen (RFC 5321, section 4.3.1).
    pub(super) fn greet(&mut self, until: Instant) -> bool {
        if !self.input.is_empty() {
            let greeting = replies::refusing_greeting(&self.facts.config.hostname);
            self.close_on(Offence::EarlyTalk, greeting);
            return true;
        }
        if self.now < until {
            return false;
        }
        let greeting = replies::greeting(&self.facts.config.hostname);
        self.state = State::Commands;
        self.say(greeting);
        true
    }

    /// Closes the session because of an offence, which counts against the client's source.
    pub(super) fn close_on(&mut self, offence: Offence, reply: impl Into<Reply>) {
        self.actions.push_back(Action::Offended(offence));
        self.close(reply);
    }

    /// Says a last reply and closes.
    pub(super) fn close(&mut self, reply: impl Into<Reply>) {
        self.say(reply);
        self.close_silently();
    }

    /// Closes; a message that is under way vanishes.
    pub(super) fn close_silently(&mut self) {
        let has_draft = match std::mem::replace(&mut self.state, State::Closed) {
            State::Opening(_) | State::Body(_) | State::Chunk(_) | State::Storing { .. } => true,
            State::Greeting { .. }
            | State::Handshake
            | State::Commands
            | State::Exchange(_)
            | State::Looking(_)
            | State::Verifying(_)
            | State::Skipping(_)
            | State::Paused { .. }
            | State::Closed => false,
        };
        if has_draft || self.chunked.take().is_some() {
            self.actions.push_front(Action::Abandon);
        }
        self.input.clear();
        self.since = self.now;
        self.actions.push_back(Action::Close);
    }

    /// Closes if the process ends and no transaction is open.
    pub(super) fn leave_if_idle(&mut self) {
        if self.outlook == Outlook::Leaving
            && self.transaction.is_none()
            && self.chunked.is_none()
            && matches!(self.state, State::Commands | State::Paused { .. })
        {
            self.close(replies::SHUTTING_DOWN);
        }
    }

    /// Forgets the transaction, by whatever way it ended.
    pub(super) fn end_transaction(&mut self) {
        (self.transaction, self.blame) = (None, Blame::Client);
        if self.chunked.take().is_some() {
            self.actions.push_back(Action::Abandon);
        }
        self.stage = self.stage.without_transaction();
        self.leave_if_idle();
    }
}
