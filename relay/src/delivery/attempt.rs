//! One connection to one next hop: greeting, EHLO, STARTTLS, AUTH, then message after message.
//!
//! The driver moves octets and does what the actions say; every decision is here or below. An
//! attempt ends with exactly one [`Action::Close`], and every [`Attempt::begin`] is answered by
//! exactly one [`Action::Settle`].

mod carrying;
mod login;
mod stage;

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use stage::{Channel, Outgoing, Stage, Then};

use super::action::{Action, End};
use super::login::{Credentials, Fresh};
use super::offer::Offer;
use super::ruling::{Asked, LoggedIn, Meaning, meaning};
use super::terms::{Terms, Timeouts};
use super::throttle::{Demand, demand};
use super::transaction::Step;
use crate::config::RouteTls;
use crate::smtp::answer::{Answer, AnswerReader, Class, printable};

/// One connection to one next hop.
#[derive(Debug)]
pub struct Attempt {
    hostname: String,
    tls: RouteTls,
    credentials: Option<Credentials>,
    /// None before a handshake.
    fresh: Option<Fresh>,
    logged_in: LoggedIn,
    timeouts: Timeouts,
    messages_max: u32,
    messages_begun: u32,
    stage: Stage,
    offer: Offer,
    reader: AnswerReader,
    actions: VecDeque<Action>,
    outgoing: Outgoing,
    deadline: Instant,
    demand: Demand,
}

impl Attempt {
    /// Returns an attempt on a connection that has just been made.
    #[must_use]
    pub fn new(terms: Terms, now: Instant) -> Self {
        let Terms { hostname, tls, credentials, timeouts, messages } = terms;
        let mut actions = VecDeque::new();
        let stage = match tls {
            RouteTls::Implicit => {
                actions.push_back(Action::Secure);
                Stage::Securing(Then::Banner)
            }
            RouteTls::Required | RouteTls::Opportunistic | RouteTls::None => Stage::Banner,
        };
        Self {
            hostname,
            tls,
            credentials,
            fresh: None,
            logged_in: LoggedIn::No,
            timeouts,
            messages_max: messages,
            messages_begun: 0,
            stage,
            offer: Offer::default(),
            reader: AnswerReader::default(),
            actions,
            outgoing: Outgoing::Sent,
            deadline: now + timeouts.reply,
            demand: Demand::default(),
        }
    }

    /// Returns the next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when [`Attempt::expire`] is due.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns what the next hop asked of our pace since this was asked last.
    pub fn take_demand(&mut self) -> Demand {
        mem::take(&mut self.demand)
    }

    /// Tells whether the connection is of no use any more; what there is left to do says
    /// [`Attempt::next_action`].
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Tells whether the end of a message has been said, wholly or in part: then nobody knows whether the
    /// next hop takes it, until it answers.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(&self.stage, Stage::Transaction(transaction) if transaction.is_ended())
    }

    /// Takes octets of the next hop.
    pub fn receive(&mut self, mut input: &[u8], now: Instant) {
        while !input.is_empty() {
            match self.stage {
                Stage::Closed => return,
                // They may be an attacker's, who hopes that we take them for answers given under
                // TLS (RFC 3207, section 6).
                Stage::Securing(_) => return self.fail("octets came before the TLS handshake"),
                _ => {}
            }
            match self.reader.read(&mut input) {
                Ok(Some(answer)) => self.answered(&answer, now),
                Ok(None) => return,
                Err(error) => return self.fail(&error.to_string()),
            }
        }
    }

    /// Learns that all octets handed out so far have been sent. The time for the answer begins.
    pub fn sent(&mut self, now: Instant) {
        if self.outgoing == Outgoing::Pending && self.actions.is_empty() {
            self.outgoing = Outgoing::Sent;
            self.deadline = now + self.stage.patience(self.timeouts);
        }
    }

    /// Goes on after a handshake that proved the next hop's name.
    pub fn secured(&mut self, now: Instant) {
        match mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Securing(Then::Banner) => self.wait(Stage::Banner, now),
            Stage::Securing(Then::Hello) => {
                self.offer = Offer::default();
                self.reader = AnswerReader::default();
                self.say_hello(Channel::Tls, now);
            }
            stage => self.stage = stage,
        }
    }

    /// Ends the attempt because the connection is gone; `words` say how.
    pub fn lost(&mut self, words: &str) {
        match self.stage {
            Stage::Quit | Stage::Ready => self.close(End::Finished),
            _ => self.fail(&printable(words.as_bytes(), 400)),
        }
    }

    /// Says goodbye, if no transaction is under way.
    pub fn quit(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Ready) {
            self.say_goodbye(now);
        }
    }

    /// Gives up waiting, if the deadline has passed.
    pub fn expire(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        match &self.stage {
            Stage::Closed => {}
            Stage::Ready => self.say_goodbye(now),
            Stage::Quit => self.close(End::Finished),
            stage => {
                let words = format!("timeout: {}", stage.awaited());
                self.fail(&words);
            }
        }
    }

    fn answered(&mut self, answer: &Answer, now: Instant) {
        if let Some(asked) = self.stage.asked() {
            self.demand = self.demand.max(demand(asked, answer));
        }
        match mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Banner => {
                if self.granted(Asked::Banner, answer) {
                    let channel = match self.tls {
                        RouteTls::Implicit => Channel::Tls,
                        RouteTls::Required | RouteTls::Opportunistic | RouteTls::None => {
                            Channel::Clear
                        }
                    };
                    self.say_hello(channel, now);
                }
            }
            Stage::Hello(channel) => {
                if self.granted(Asked::Hello, answer) {
                    self.offer = Offer::read(answer);
                    self.greeted(channel, now);
                }
            }
            Stage::Starttls if self.goes_on_in_the_clear(answer) => self.ready(now),
            Stage::Starttls => {
                if self.granted(Asked::Starttls, answer) {
                    self.actions.push_back(Action::Secure);
                    self.wait(Stage::Securing(Then::Hello), now);
                }
            }
            Stage::Auth(exchange) => self.login_answered(exchange, answer, now),
            Stage::Transaction(transaction) => {
                let step = match self.outgoing {
                    Outgoing::Sent => transaction.answered(answer),
                    Outgoing::Pending => transaction.unended().answered(answer),
                };
                self.step(step, now);
            }
            Stage::Reset if answer.class() == Class::Done => self.ready(now),
            // Most often 421: the next hop ends an idle connection (RFC 5321, section 3.8).
            Stage::Reset | Stage::Ready | Stage::Quit => self.close(End::Finished),
            stage @ (Stage::Securing(_) | Stage::Closed) => self.stage = stage,
        }
    }

    /// Tells whether `answer` lets the connection go on; else the attempt is over.
    fn granted(&mut self, asked: Asked, answer: &Answer) -> bool {
        let words = format!("{} was answered {}", asked.name(), answer.summary());
        match meaning(asked, answer, self.logged_in) {
            Meaning::Granted => return true,
            Meaning::LoginRefused => self.close(End::LoginRefused(answer.summary())),
            Meaning::NotHere | Meaning::NotNow | Meaning::Never => self.close(End::Unfit(words)),
        }
        false
    }

    /// Decides what follows EHLO: STARTTLS, AUTH, or the first message.
    fn greeted(&mut self, channel: Channel, now: Instant) {
        match (self.tls, channel) {
            (RouteTls::Required | RouteTls::Opportunistic, Channel::Clear)
                if self.offer.starttls =>
            {
                self.send(b"STARTTLS\r\n");
                self.wait(Stage::Starttls, now);
            }
            (RouteTls::Required, Channel::Clear) => {
                self.unfit("the next hop does not offer STARTTLS, which the route requires");
            }
            (
                RouteTls::Required | RouteTls::Opportunistic | RouteTls::Implicit | RouteTls::None,
                _,
            ) => self.log_in(channel, now),
        }
    }

    /// Tells whether a refused STARTTLS leaves the connection as it was: where TLS is welcome and not
    /// required.
    fn goes_on_in_the_clear(&self, answer: &Answer) -> bool {
        self.tls == RouteTls::Opportunistic
            && answer.code() != 421
            && matches!(answer.class(), Class::Temporary | Class::Permanent)
    }

    /// Ends the attempt at a fault; a transaction under way is settled first.
    fn fail(&mut self, words: &str) {
        match mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Closed => return,
            Stage::Transaction(transaction) => {
                let step = match self.outgoing {
                    Outgoing::Sent => transaction.broken(words),
                    Outgoing::Pending => transaction.unended().broken(words),
                };
                if let Step::Over(judged, _) = step {
                    self.settle(judged);
                }
            }
            _ => {}
        }
        self.unfit(words);
    }

    /// Ends the attempt because this host is of no use.
    fn unfit(&mut self, words: &str) {
        self.close(End::Unfit(words.to_owned()));
    }

    fn close(&mut self, end: End) {
        self.stage = Stage::Closed;
        self.credentials = None;
        self.actions.retain(|action| matches!(action, Action::Settle(_)));
        self.actions.push_back(Action::Close(end));
    }

    fn ready(&mut self, now: Instant) {
        let most = self.offer.messages_max.unwrap_or(u32::MAX).min(self.messages_max);
        if self.messages_begun >= most {
            return self.say_goodbye(now);
        }
        self.actions.push_back(Action::Ready);
        self.wait(Stage::Ready, now);
    }

    fn say_hello(&mut self, channel: Channel, now: Instant) {
        let command = format!("EHLO {}\r\n", self.hostname);
        self.send(command.as_bytes());
        self.wait(Stage::Hello(channel), now);
    }

    fn say_goodbye(&mut self, now: Instant) {
        self.send(b"QUIT\r\n");
        self.wait(Stage::Quit, now);
    }

    fn send(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.actions.push_back(Action::Send(octets.to_vec()));
            self.outgoing = Outgoing::Pending;
        }
    }

    /// Enters `stage` with its deadline.
    fn wait(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.deadline = now + self.stage.patience(self.timeouts);
    }
}

#[cfg(test)]
mod tests;
