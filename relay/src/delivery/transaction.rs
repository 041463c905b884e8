//! One message on its way to one next hop: MAIL, RCPT, then DATA, the body and the final dot
//! (RFC 5321, section 3.3), or the body in one chunk (RFC 3030), with a ruling for every recipient.
//!
//! ```text
//! mod     commands and their answers
//! body    the message itself: from the spool, or from memory where it was held
//! ```

mod body;

use jiff::Timestamp;

use body::{Feed, Memory};

use super::carriage::{self, By, Carriage, Conversion, Hop, Look, Plan, Refusal};
use super::commands;
use super::labels;
use super::parcel::Parcel;
use super::ruling::{Asked, Judged, Meaning, Ruling, meaning};
use crate::mail::outcome::Relayed;
use crate::smtp::address::Address;
use crate::smtp::answer::{Answer, Class};
use crate::smtp::reply::Enhanced;

/// A transaction under way.
#[derive(Debug)]
pub struct Transaction {
    parcel: Parcel,
    /// When it began: for the time that is left to a deadline.
    begun_at: Timestamp,
    hop: Hop,
    carriage: Carriage,
    /// Recipients that were ruled on before the first command.
    before: Vec<Judged>,
    /// One place a recipient of the parcel; none: nothing decided yet.
    rulings: Vec<Option<Judged>>,
    memory: Memory,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Room is made in memory for the message, to look at it so before anything is said.
    Room(Look),
    /// The message is gathered in memory.
    Gather(Look),
    /// The message is being looked at.
    Look,
    /// The answer to MAIL is due.
    Mail,
    /// The answer to RCPT for the recipient of this index is due.
    Rcpt(usize),
    /// MAIL was refused; the answers to the RCPTs sent with it are due, from this index on.
    Drain(usize),
    /// The answer to DATA is due.
    Data,
    /// The body is being sent.
    Body(Feed),
    /// The end of the body is sent, its answer is due.
    Dot,
}

/// What follows an answer or a piece of body.
#[derive(Debug)]
pub enum Step {
    /// These octets are to be sent, if any; then an answer is due.
    Ask(Transaction, Vec<u8>),
    /// So many octets of memory are to be had; then [`Transaction::roomy`] goes on, or
    /// [`Transaction::crowded`].
    Room(Transaction, u64),
    /// This is to be run; then [`Transaction::converted`] goes on.
    Look(Transaction, Conversion),
    /// These octets are to be sent, if any; then more of the body is wanted.
    Body(Transaction, Vec<u8>),
    /// These octets are to be sent, if any; then [`Transaction::go_on`] has more.
    More(Transaction, Vec<u8>),
    /// Every recipient has a ruling.
    Over(Vec<Judged>, After),
}

/// In what state the connection is left by a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// The next transaction can begin.
    Clean,
    /// The next hop may hold half a transaction: RSET is due (RFC 5321, section 4.1.1.5).
    Reset,
    /// The connection cannot be used any more, for the reason given.
    Broken(String),
    /// The next hop wants a login that works; these were its words.
    LoginRefused(String),
}

impl Transaction {
    /// Begins a transaction at `now`. What the hop rules out is decided without asking, as the table
    /// of [`super::carriage`] says.
    #[must_use]
    pub fn begin(mut parcel: Parcel, hop: Hop, now: Timestamp) -> Step {
        let (carriage, look) = match carriage::plan(&parcel, hop, now) {
            Plan::Go(carriage) => (carriage, None),
            Plan::Hold(carriage, look) => (carriage, Some(look)),
            Plan::Refuse(Refusal { status, words }) => {
                let fail = |to: Address| Judged::by_us(to, Ruling::Failed, status, &words);
                let judged = parcel.recipients.into_iter().map(fail).collect();
                return Step::Over(judged, After::Clean);
            }
        };
        let before = match carriage.utf8 {
            Some(_) => Vec::new(),
            None => take_foreign(&mut parcel),
        };
        if parcel.recipients.is_empty() {
            return Step::Over(before, After::Clean);
        }
        let rulings = vec![None; parcel.recipients.len()];
        let (memory, phase) = (Memory::Spool, Phase::Mail);
        let begun_at = now;
        let mut transaction =
            Self { parcel, begun_at, hop, carriage, before, rulings, memory, phase };
        match look {
            None => transaction.say_mail(),
            Some(look) => {
                transaction.phase = Phase::Room(look);
                let octets = look.room(transaction.parcel.size_bytes);
                Step::Room(transaction, octets)
            }
        }
    }

    /// Says MAIL, and with it every RCPT where the hop takes a group of commands.
    fn say_mail(mut self) -> Step {
        let offer = self.hop.offer;
        let mut commands = commands::mail(&self.parcel, offer, self.carriage, self.begun_at);
        if offer.pipelining {
            // DATA is not sent along although RFC 2920, section 3.1, allows it: if all recipients
            // are refused and DATA is not, an empty message would have to be sent. Nor is BDAT: a
            // connection lost after it leaves everything uncertain.
            (0..self.rulings.len()).for_each(|place| commands.push_str(&self.rcpt(place)));
        }
        self.phase = Phase::Mail;
        Step::Ask(self, commands.into_bytes())
    }

    fn rcpt(&self, place: usize) -> String {
        let recipient = &self.parcel.recipients[place];
        commands::rcpt(&self.parcel, recipient, self.hop.offer, self.carriage)
    }

    /// Returns the RCPT for the recipient at `place`, unless it was sent with MAIL.
    fn next_rcpt(&self, place: usize) -> Vec<u8> {
        if self.hop.offer.pipelining { Vec::new() } else { self.rcpt(place).into_bytes() }
    }

    /// Returns what an answer is due to.
    #[must_use]
    pub const fn asked(&self) -> Asked {
        match self.phase {
            Phase::Room(_) | Phase::Gather(_) | Phase::Look | Phase::Mail => Asked::Mail,
            Phase::Rcpt(_) | Phase::Drain(_) => Asked::Rcpt,
            Phase::Data => Asked::Data,
            // What comes while the body is sent is the answer to the message, ahead of its time.
            Phase::Body(_) | Phase::Dot => match self.carriage.by {
                By::Data => Asked::Dot,
                By::Chunk => Asked::Chunk,
            },
        }
    }

    /// Tells whether the end of the body is sent and its answer due.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Dot)
    }

    /// Returns to the body, since its end has not left us: no answer can be to it, and no next hop
    /// can have taken the message.
    #[must_use]
    pub fn unended(mut self) -> Self {
        if self.is_ended() {
            self.phase = Phase::Body(self.feed());
        }
        self
    }

    /// Takes an answer of the next hop.
    #[must_use]
    pub fn answered(mut self, answer: &Answer) -> Step {
        let asked = self.asked();
        let means = meaning(asked, answer, self.hop.logged_in);
        match (self.phase, means) {
            (Phase::Room(_) | Phase::Gather(_) | Phase::Look, _) => {
                self.broken(&format!("unasked, it said {}", answer.summary()))
            }
            // All are ruled on: only whether the connection stays is left to learn.
            (Phase::Drain(_), Meaning::NotHere) => self.over(After::Broken(answer.summary())),
            (Phase::Drain(place), _) => {
                self.phase = Phase::Drain(place + 1);
                self.drained()
            }
            (Phase::Body(_), Meaning::Granted) => {
                self.broken("the next hop took the message before its end")
            }
            // Neither yes nor no nor goodbye.
            (Phase::Dot, Meaning::NotHere) if answer.class() == Class::Continue => {
                self.broken("an answer that makes no sense")
            }
            (_, Meaning::NotHere) => {
                self.rule_rest(Meaning::NotHere, answer);
                self.over(After::Broken(format!("{} said {}", asked.name(), answer.summary())))
            }
            (_, Meaning::LoginRefused) => {
                self.rule_rest(Meaning::LoginRefused, answer);
                self.over(After::LoginRefused(answer.summary()))
            }
            (Phase::Mail, Meaning::Granted) => {
                self.phase = Phase::Rcpt(0);
                let command = self.next_rcpt(0);
                Step::Ask(self, command)
            }
            (Phase::Mail, Meaning::NotNow | Meaning::Never) => {
                self.rule_rest(means, answer);
                let sent = if self.hop.offer.pipelining { 0 } else { self.rulings.len() };
                self.phase = Phase::Drain(sent);
                self.drained()
            }
            (Phase::Rcpt(place), _) => self.recipient_answered(place, means, answer),
            (Phase::Data, Meaning::Granted) => self.begin_body(),
            (Phase::Data, Meaning::NotNow | Meaning::Never) => {
                self.rule_rest(means, answer);
                self.over(After::Reset)
            }
            (Phase::Dot, _) => {
                self.rule_rest(means, answer);
                // A chunk that was refused leaves a transaction behind (RFC 3030, section 2).
                let is_open = self.carriage.by == By::Chunk && means != Meaning::Granted;
                self.over(if is_open { After::Reset } else { After::Clean })
            }
            (Phase::Body(_), Meaning::NotNow | Meaning::Never) => {
                self.rule_rest(means, answer);
                self.over(After::Broken(answer.summary()))
            }
        }
    }

    /// Takes the answer to one RCPT, and asks for the next recipient or goes on to the message.
    fn recipient_answered(mut self, place: usize, means: Meaning, answer: &Answer) -> Step {
        if means != Meaning::Granted {
            let recipient = self.parcel.recipients[place].clone();
            self.rulings[place] = Some(Judged::by_answer(recipient, means, answer));
        }
        if place + 1 < self.rulings.len() {
            let command = self.next_rcpt(place + 1);
            self.phase = Phase::Rcpt(place + 1);
            return Step::Ask(self, command);
        }
        if self.rulings.iter().all(Option::is_some) {
            return self.over(After::Reset);
        }
        match self.carriage.by {
            By::Data => {
                self.phase = Phase::Data;
                Step::Ask(self, b"DATA\r\n".to_vec())
            }
            By::Chunk => self.begin_body(),
        }
    }

    /// Goes on once every RCPT that followed a refused MAIL is answered.
    fn drained(self) -> Step {
        match self.phase {
            Phase::Drain(place) if place < self.rulings.len() => Step::Ask(self, Vec::new()),
            _ => self.over(After::Reset),
        }
    }

    /// Ends the transaction because the connection is gone or of no use.
    ///
    /// After the end of the body nobody knows whether the message arrived. It is tried again on the
    /// normal schedule, not at once elsewhere (RFC 5321, section 4.2.5: at least once; RFC 1047:
    /// haste here makes duplicates).
    #[must_use]
    pub fn broken(mut self, words: &str) -> Step {
        match self.phase {
            Phase::Dot => {
                let end = self.asked().name();
                let words = format!("uncertain: {words} after {end}, before its answer");
                self.rule_rest_by_us(Ruling::Deferred, Enhanced(4, 4, 2), &words);
            }
            Phase::Room(_)
            | Phase::Gather(_)
            | Phase::Look
            | Phase::Mail
            | Phase::Rcpt(_)
            | Phase::Drain(_)
            | Phase::Data
            | Phase::Body(_) => {
                self.rule_rest_by_us(Ruling::Elsewhere, Enhanced(4, 4, 2), words);
            }
        }
        self.over(After::Broken(words.to_owned()))
    }

    fn rule_rest(&mut self, means: Meaning, answer: &Answer) {
        let dsn = if self.hop.offer.dsn { Relayed::WithDsn } else { Relayed::WithoutDsn };
        for (recipient, ruling) in self.parcel.recipients.iter().zip(&mut self.rulings) {
            let rule = || Judged::by_answer(recipient.clone(), means, answer).with(dsn);
            ruling.get_or_insert_with(rule);
        }
    }

    fn rule_rest_by_us(&mut self, kind: Ruling, status: Enhanced, words: &str) {
        for (recipient, ruling) in self.parcel.recipients.iter().zip(&mut self.rulings) {
            ruling.get_or_insert_with(|| Judged::by_us(recipient.clone(), kind, status, words));
        }
    }

    fn over(self, after: After) -> Step {
        debug_assert!(self.rulings.iter().all(Option::is_some), "every recipient has a ruling");
        let rulings = self.rulings.into_iter().flatten();
        Step::Over(self.before.into_iter().chain(rulings).collect(), after)
    }
}

/// Takes the recipients out of a parcel whose addresses the next hop cannot be told.
fn take_foreign(parcel: &mut Parcel) -> Vec<Judged> {
    let Refusal { status, words } = carriage::no_utf8_address();
    let foreign = parcel.recipients.extract_if(.., |to| labels::in_ascii(to).is_none());
    foreign.map(|to| Judged::by_us(to, Ruling::Failed, status, &words)).collect()
}
