//! What a session does with the answers to its actions, and with what the process and the clock
//! say.

use std::time::Instant;

use crate::event::Event;
use crate::mail::message::MessageId;
use crate::policy::credential::StoredKeys;
use crate::smtp::line::LineReader;

use super::exchange::Exchange;
use super::incoming::{By, Incoming};
use super::message::{Blame, Opening};
use super::receipt::Submission;
use super::stage::Stage;
use super::{
    Action, Channel, Next, Outlook, Session, State, StoreFailure, TlsStart, Verdict, replies,
};

impl Session {
    /// The handshake is done. What was known of the client is forgotten (RFC 3207, section 4.2).
    pub fn secured(&mut self, channel: Channel, now: Instant) {
        if !matches!(self.state, State::Handshake) {
            return;
        }
        self.input.clear();
        self.reader = LineReader::default();
        self.hello = None;
        self.channel = Some(channel);
        self.stage = Stage::Secured;
        let next = match self.facts.tls {
            TlsStart::Implicit => State::Greeting { until: now + self.facts.greet_after },
            TlsStart::Starttls | TlsStart::Unavailable => State::Commands,
        };
        self.enter(next, now);
        if self.outlook == Outlook::Leaving {
            self.shutdown(now);
        }
    }

    /// The keys of the login were looked up; none: they cannot be had now.
    pub fn keys_found(&mut self, keys: Option<StoredKeys>, now: Instant) {
        self.now = now;
        match (std::mem::replace(&mut self.state, State::Commands), keys) {
            (State::Looking(exchange), Some(keys)) => {
                self.enter(State::Commands, now);
                self.turn(exchange.keys(keys));
            }
            (State::Looking(_), None) => {
                self.enter(State::Commands, now);
                self.login_later();
            }
            (state, _) => self.state = state,
        }
        self.leave_if_idle();
    }

    /// What the client has shown was checked.
    pub fn verified(&mut self, verdict: Verdict, now: Instant) {
        let next = match std::mem::replace(&mut self.state, State::Commands) {
            State::Verifying(next) => next,
            state => {
                self.state = state;
                return;
            }
        };
        self.enter(State::Commands, now);
        match (verdict, next) {
            (Verdict::Granted(login), Next::Sign(signing)) => self.turn(Ok(signing.granted(login))),
            (Verdict::Granted(login), Next::Answer | Next::Explain(_)) => self.grant(login),
            (Verdict::Later, _) => self.login_later(),
            (Verdict::Denied, Next::Explain(by)) => {
                self.turn(Ok(Exchange::after_refused_token(by)));
            }
            (Verdict::Denied, Next::Answer | Next::Sign(_)) => self.deny(),
            // Not 454: the client would keep its place in a session in which it can do nothing but
            // try again, and each try costs a check (RFC 4954, sections 4 and 6; RFC 5321, 3.8).
            (Verdict::Crowded, _) => self.close(replies::TOO_MANY_SESSIONS),
        }
        self.leave_if_idle();
    }

    /// A client that asks again and again moves no mail with that.
    fn login_later(&mut self) {
        self.idle_command(replies::LOGIN_LATER.into());
    }

    /// The draft is open and has this id.
    pub fn begun(&mut self, id: MessageId, now: Instant) {
        self.now = now;
        let opening = match std::mem::replace(&mut self.state, State::Commands) {
            State::Opening(opening) => *opening,
            state => {
                self.state = state;
                return;
            }
        };
        let Opening { envelope, arguments, chunk } = opening;
        let by = if chunk.is_some() { By::Bdat } else { By::Data };
        let incoming = Incoming::new(id, envelope, arguments, by, &self.limits, now);
        let incoming = Box::new(incoming);
        if let Some(chunk) = chunk {
            self.begin_chunk(incoming, chunk);
        } else {
            self.enter(State::Body(incoming), now);
            self.say(replies::go_ahead());
        }
    }

    /// The draft could not be opened: the transaction is over.
    pub fn refused(&mut self, failure: StoreFailure, now: Instant) {
        self.now = now;
        let opening = match std::mem::replace(&mut self.state, State::Commands) {
            State::Opening(opening) => opening,
            state => {
                self.state = state;
                return;
            }
        };
        match opening.chunk {
            None => {
                self.enter(State::Commands, now);
                self.say(replies::store(failure));
            }
            Some(chunk) => self.skip(chunk, replies::store(failure), Blame::Nobody),
        }
        self.end_transaction();
    }

    /// The message is on disk, or it is not. Only the id makes a 250.
    pub fn stored(&mut self, result: Result<MessageId, StoreFailure>, now: Instant) {
        let State::Storing { recipients, size_bytes, submission } = self.state else { return };
        self.enter(State::Commands, now);
        match result {
            Ok(id) => {
                self.actions.push_back(Action::Report(Event::Accepted {
                    id,
                    source: self.facts.source,
                    login: self.login.clone(),
                    tag: self.facts.tag.clone(),
                    recipients,
                    size_bytes,
                }));
                self.accepted(id, submission);
            }
            Err(failure) => self.say(replies::store(failure)),
        }
        self.end_transaction();
    }

    /// The message came again and is known: it was stored under `id` before, and nothing of it now.
    pub fn repeated(&mut self, id: MessageId, now: Instant) {
        let State::Storing { submission, .. } = self.state else { return };
        self.enter(State::Commands, now);
        let (source, login) = (self.facts.source, self.login.clone());
        self.actions.push_back(Action::Report(Event::Repeated { id, source, login }));
        self.accepted(id, submission);
        self.end_transaction();
    }

    /// Says that a message is ours; whether that is heard is known by the next command.
    fn accepted(&mut self, id: MessageId, submission: Submission) {
        self.misdeeds.forgive();
        let heard = self.receipts.owe(id, submission);
        self.actions.extend(heard.map(Action::Confirmed));
        self.say(replies::stored(id));
    }

    /// The process is about to end: an idle session is closed at once, one with a transaction when
    /// that is over.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = now;
        self.outlook = Outlook::Leaving;
        match self.state {
            State::Greeting { .. } => {
                let reply = replies::leaving_greeting(&self.facts.config.hostname);
                self.close(reply);
            }
            State::Exchange(_) | State::Looking(_) | State::Verifying(_) | State::Paused { .. } => {
                self.close(replies::SHUTTING_DOWN);
            }
            State::Commands => self.leave_if_idle(),
            // A client that has made its half of a handshake is to hear why it has to go.
            State::Handshake
            | State::Opening(_)
            | State::Body(_)
            | State::Chunk(_)
            | State::Skipping(_)
            | State::Storing { .. }
            | State::Closed => {}
        }
    }

    /// The client's address is no longer admitted: whatever is not acknowledged yet vanishes.
    pub fn cut(&mut self, now: Instant) {
        self.now = now;
        if matches!(self.state, State::Closed) {
            return;
        }
        self.actions.clear();
        self.actions.push_back(Action::Report(Event::SessionCut { source: self.facts.peer }));
        // Before the greeting no reply has an enhanced code (RFC 2034, section 4), and this one needs it.
        if matches!(self.state, State::Handshake | State::Greeting { .. }) {
            self.close_silently();
        } else {
            self.close(replies::NOT_ADMITTED);
        }
    }

    /// The deadline may have passed; if so, the session ends or a punishment does.
    pub fn expire(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        self.now = now;
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Paused { until, reply } if until <= now => {
                self.enter(State::Commands, now);
                self.say(reply);
            }
            state @ State::Handshake => {
                self.state = state;
                self.close_silently();
            }
            State::Closed => self.state = State::Closed,
            // It is said with the next action.
            state @ State::Greeting { .. } => self.state = state,
            state => {
                self.state = state;
                self.close(replies::TIMED_OUT);
            }
        }
    }
}
