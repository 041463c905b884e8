//! Receiving mail, without sockets: octets and `now` in, actions and one deadline out.
//!
//! ```text
//! stage        which verb is lawful where: a table
//! ends         the greeting, and every way to close
//! exchange     AUTH, line by line
//! transaction  sender and recipients
//! message      DATA, BDAT and the octets that follow
//! incoming     the message itself
//! input        what was sent and not read yet
//! told         what a session is told besides octets
//! limits       what a client may do wrong, and how long it may take
//! receipt      whether a client has heard that its message is ours
//! replies      every text that we say
//! commands     what each command does
//! answers      what happens when the driver has done what it was told
//! xclient      for whom a filter speaks
//! ```
//!
//! Whoever drives a session tells it what happened and does what [`Session::next_action`] says,
//! in that order. Not here: sockets, TLS, passwords, files, and who may do what (`policy`).

mod answers;
mod commands;
mod ends;
mod exchange;
mod incoming;
mod input;
mod limits;
mod message;
mod receipt;
mod replies;
mod stage;
mod told;
mod transaction;
mod xclient;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::config::{Config, Limits};
use crate::event::Event;
use crate::mail::envelope::Envelope;
use crate::mail::fingerprint::Fingerprint;
use crate::mail::message::MessageId;
use crate::policy::conduct::Offence;
use crate::policy::permit::{Client, Permit};
use crate::policy::rate::Rates;
use crate::smtp::extension::Extensions;
use crate::smtp::line::LineReader;
use crate::smtp::reply::Reply;

pub use exchange::{Credentials, Proof, Token, TokenMechanism, Tokens, Wanted};
use exchange::{Exchange, Means, Signing};
use incoming::Incoming;
use input::Input;
use limits::{Answer, Misdeeds};
use message::{Blame, Chunked, Opening, Skipping};
use receipt::{Receipts, Submission};
use stage::Stage;
pub use told::{Ahead, Channel, Room, StoreFailure, TlsStart, Verdict};
use transaction::Transaction;
use xclient::Announced;
pub use xclient::Xclient;

/// What a session knows from its beginning.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The configuration at the time the client connected.
    pub config: Arc<Config>,
    /// The recipient rates of that configuration.
    pub rates: Arc<Rates>,
    /// The client's address, as far as it is known.
    pub source: IpAddr,
    /// The other end of the connection: the client, or a proxy that speaks for it.
    pub peer: IpAddr,
    /// The tag of the allowlist entry that admitted the connection.
    pub tag: Option<String>,
    /// How TLS begins.
    pub tls: TlsStart,
    /// Whether the client may say for whom it speaks.
    pub xclient: Xclient,
    /// The extensions that the sending side keeps too.
    pub extensions: Extensions,
    /// Whether tokens can be checked.
    pub tokens: Tokens,
    /// The wall clock when the client connected; later instants are counted from it.
    pub connected_at: Timestamp,
    /// How long its source has to wait for the greeting.
    pub greet_after: Duration,
}

/// What the driver has to do. Actions come in order; each is done before the next is asked for.
#[derive(Debug)]
pub enum Action {
    /// Send these octets: whole reply lines. They may be held back while more actions come, but not
    /// while the driver waits.
    Send(String),
    /// Make the TLS handshake, after everything is sent; answer with [`Session::secured`]. Octets
    /// that were read before the handshake are not for TLS.
    Secure,
    /// Count the session for this address from now on; if there is no place, call
    /// [`Session::crowded`].
    Source(IpAddr),
    /// Look the keys of a login up; answer with [`Session::keys_found`].
    Lookup(Wanted),
    /// Check what the client has shown; answer with [`Session::verified`].
    Verify(Proof),
    /// Open a draft; answer with [`Session::begun`] or [`Session::refused`].
    Begin(Envelope),
    /// Replace the envelope of the draft: the body is not what was promised, or names its trace.
    Amend(Envelope),
    /// Append octets to the draft.
    Append(Vec<u8>),
    /// Make the draft a message, unless it is a repeat by this; answer with [`Session::stored`] or
    /// [`Session::repeated`].
    Commit(Fingerprint),
    /// The client has heard that this message is ours: the same again is another one.
    Confirmed(MessageId),
    /// Throw the draft away.
    Abandon,
    /// Write an event.
    Report(Event),
    /// Count an offence against the client's source.
    Offended(Offence),
    /// Close the connection, after everything is sent. Nothing comes after it.
    Close,
}

/// What a session is doing.
#[derive(Debug)]
enum State {
    /// Nothing was said yet; octets that come before this time are early talk.
    Greeting { until: Instant },
    /// The driver makes the handshake.
    Handshake,
    /// A command is awaited.
    Commands,
    /// The answer to a challenge is awaited.
    Exchange(Box<Exchange>),
    /// The keys of a login are being looked up.
    Looking(Box<Exchange>),
    /// A proof is being checked.
    Verifying(Next),
    /// A draft is being opened.
    Opening(Box<Opening>),
    /// The message is being received.
    Body(Box<Incoming>),
    /// A chunk of the message is being received.
    Chunk(Chunked),
    /// A chunk that is refused is being received.
    Skipping(Skipping),
    /// The message is being stored.
    Storing { recipients: usize, size_bytes: u64, submission: Submission },
    /// The client waits for this reply as a punishment.
    Paused { until: Instant, reply: Reply },
    /// Nothing comes any more.
    Closed,
}

/// What follows the check of a proof.
#[derive(Debug)]
enum Next {
    /// The answer.
    Answer,
    /// The answer; if a token is refused, first the reason why.
    Explain(TokenMechanism),
    /// The answer; if the proof is granted, first our own.
    Sign(Box<Signing>),
}

/// Whether the process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    Staying,
    /// The session ends with its transaction.
    Leaving,
}

/// EHLO or HELO, and the name the client gave itself.
#[derive(Clone, Debug)]
enum Hello {
    Extended(String),
    Plain(String),
}

/// One client talking to us.
///
/// Its memory is bounded: one line, one header section, one piece of input, the recipients, and the
/// replies to one command.
pub struct Session {
    facts: Facts,
    /// The limits that hold for this client: those of its tag, then those of its login too.
    limits: Limits,
    state: State,
    stage: Stage,
    hello: Option<Hello>,
    channel: Option<Channel>,
    login: Option<String>,
    /// By which the client proves its identity, or has proved it.
    mechanism: Option<&'static str>,
    announced: Announced,
    transaction: Option<Transaction>,
    /// When the last MAIL was taken.
    mail_at: Option<Instant>,
    /// Whose fault it is if there is none: what a client has pipelined behind a MAIL that we refuse is
    /// refused without blame.
    blame: Blame,
    /// The message of which chunks were received, while the next one is awaited.
    chunked: Option<Box<Incoming>>,
    reader: LineReader,
    input: Input,
    actions: VecDeque<Action>,
    misdeeds: Misdeeds,
    receipts: Receipts,
    room: Room,
    outlook: Outlook,
    began: Instant,
    /// When the present state was entered, or the last command was answered.
    since: Instant,
    now: Instant,
}

impl Session {
    /// Begins a session with a client that has just connected.
    #[must_use]
    pub fn new(facts: Facts, now: Instant) -> Self {
        let mut actions = VecDeque::new();
        let client = Client { login: None, tag: facts.tag.as_deref() };
        let limits = Permit::of(&facts.config, client).limits();
        let (state, stage) = match facts.tls {
            TlsStart::Implicit => {
                actions.push_back(Action::Secure);
                (State::Handshake, Stage::Clear)
            }
            TlsStart::Starttls | TlsStart::Unavailable => {
                (State::Greeting { until: now + facts.greet_after }, Stage::Clear)
            }
        };
        Self {
            facts,
            limits,
            state,
            stage,
            hello: None,
            channel: None,
            login: None,
            mechanism: None,
            announced: Announced::default(),
            transaction: None,
            mail_at: None,
            blame: Blame::Client,
            chunked: None,
            reader: LineReader::default(),
            input: Input::default(),
            actions,
            misdeeds: Misdeeds::default(),
            receipts: Receipts::default(),
            room: Room::Enough,
            outlook: Outlook::Staying,
            began: now,
            since: now,
            now,
        }
    }

    /// Takes octets that the client sent, cut anywhere. The driver hands over one piece at a time
    /// and reads the next only when [`Session::wants_input`] says so.
    pub fn receive(&mut self, input: &[u8], now: Instant) {
        self.now = now;
        if !matches!(self.state, State::Closed) {
            self.input.extend(input);
            self.receipts.receive(input.len());
        }
    }

    /// Returns whether the client's next octets are wanted. While this is false nothing is read, so
    /// that what a client sends ahead waits in its own kernel.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.actions.is_empty()
            && match self.state {
                State::Greeting { .. }
                | State::Commands
                | State::Exchange(_)
                | State::Body(_)
                | State::Chunk(_)
                | State::Skipping(_) => true,
                State::Handshake
                | State::Looking(_)
                | State::Verifying(_)
                | State::Opening(_)
                | State::Storing { .. }
                | State::Paused { .. }
                | State::Closed => false,
            }
    }

    /// Returns whether nothing more will be awaited: only the last actions are left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Tells whether the spool takes messages, before a piece of input is handed over.
    pub const fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Returns by which mechanism the client has proved its identity, or last tried to.
    #[must_use]
    pub const fn mechanism(&self) -> Option<&'static str> {
        self.mechanism
    }

    /// Returns what is to be done next; none: wait for input, an answer or the deadline.
    pub fn next_action(&mut self) -> Option<Action> {
        while self.actions.is_empty() && self.work() {}
        self.actions.pop_front()
    }

    /// Returns when [`Session::expire`] is to be called. Every state has a deadline.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let limits = &self.limits;
        let lifetime = self.began + limits.session;
        match &self.state {
            State::Handshake => self.since + limits.handshake,
            State::Commands | State::Exchange(_) => lifetime.min(self.since + limits.idle),
            State::Body(incoming) | State::Chunk(Chunked { incoming, .. }) => {
                self.deadline_of_octets(incoming.began, incoming.size_bytes())
            }
            State::Skipping(skipping) => self.deadline_of_octets(skipping.began, skipping.taken),
            State::Looking(_) | State::Verifying(_) | State::Opening(_) => {
                self.since + limits::OWN_WORK
            }
            State::Storing { .. } => self.since + limits::COMMIT,
            State::Greeting { until } | State::Paused { until, .. } => *until,
            State::Closed => self.since,
        }
    }

    /// Returns until when the next octets must come, of `octets` so far since `began`.
    fn deadline_of_octets(&self, began: Instant, octets: u64) -> Instant {
        let limits = self.limits();
        (self.began + limits.session)
            .min(self.since + limits.idle)
            .min(limits::body_deadline(limits, began, octets))
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.now = now;
    }

    const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what the client can prove its identity with.
    fn means(&self) -> Means {
        let channel = self.channel.clone().unwrap_or_default();
        Means { exporter: channel.exporter, names: channel.names, tokens: self.facts.tokens }
    }

    fn client(&self) -> Client<'_> {
        Client { login: self.login.as_deref(), tag: self.facts.tag.as_deref() }
    }

    /// Returns the wall clock, by the time that has passed since the client connected.
    fn wall_clock(&self) -> Timestamp {
        let passed = self.now.saturating_duration_since(self.began);
        self.facts.connected_at.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn say(&mut self, reply: impl Into<Reply>) {
        self.since = self.now;
        self.actions.push_back(Action::Send(reply.into().to_wire()));
    }

    /// Says a reply now, later, or not any more.
    fn answer(&mut self, answer: Answer, reply: Reply) {
        match answer {
            Answer::Now => self.say(reply),
            Answer::After(pause) => self.state = State::Paused { until: self.now + pause, reply },
            Answer::Close => self.close_on(Offence::TooManyErrors, replies::TOO_MANY_ERRORS),
        }
    }

    /// Refuses something that no well-behaved client does.
    fn object(&mut self, reply: impl Into<Reply>) {
        let answer = self.misdeeds.error(&self.limits);
        self.answer(answer, reply.into());
    }
}
