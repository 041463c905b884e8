//! One message on its way to one next hop: MAIL, RCPT, DATA, the body, the final dot
//! (RFC 5321, section 3.3), with a ruling for every recipient.

use std::fmt::Write as _;

use super::offer::{Offer, Size};
use super::ruling::{Asked, Judged, Meaning, Ruling, meaning};
use super::stuffing::{Octets, Stuffing, Unfit};
use crate::mail::envelope::Body;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::answer::Answer;
use crate::smtp::reply::Enhanced;

/// What is to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO: at least one, at most [`super::sorting::RECIPIENTS_MAX`].
    pub recipients: Vec<Address>,
    /// The kind of body.
    pub body: Body,
    /// Its length before dot-stuffing (RFC 1870, section 6.1).
    pub size_bytes: u64,
}

/// A transaction under way.
#[derive(Debug)]
pub struct Transaction {
    parcel: Parcel,
    /// One place a recipient; none: nothing decided yet.
    rulings: Vec<Option<Judged>>,
    pipelining: bool,
    octets: Octets,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The answer to MAIL is due.
    Mail,
    /// The answer to RCPT for the recipient of this index is due.
    Rcpt(usize),
    /// MAIL was refused; the answers to the RCPTs sent with it are due, from this index on.
    Drain(usize),
    /// The answer to DATA is due.
    Data,
    /// The body is being sent.
    Body(Stuffing),
    /// The final dot is sent, its answer is due.
    Dot,
}

/// What follows an answer or a piece of body.
#[derive(Debug)]
pub enum Step {
    /// These octets are to be sent, if any; then an answer is due.
    Ask(Transaction, Vec<u8>),
    /// These octets are to be sent, if any; then more of the body is wanted.
    Body(Transaction, Vec<u8>),
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
    /// Begins a transaction. What the offer rules out is decided without asking: 8-bit mail to a
    /// hop without 8BITMIME fails with 5.6.3 (RFC 6152, section 3: it is not converted yet), and so
    /// does mail without lines; mail above the hop's SIZE with 5.3.4 (RFC 1870, section 6.1).
    #[must_use]
    pub fn begin(parcel: Parcel, offer: Offer) -> Step {
        let octets = match (parcel.body, offer.eight_bit) {
            (Body::SevenBit, _) => Octets::SevenBit,
            (Body::EightBit, true) => Octets::EightBit,
            (Body::EightBit, false) => {
                let words = "the message has 8-bit octets and the next hop does not offer 8BITMIME";
                return fail_all(parcel, Enhanced(5, 6, 3), words);
            }
            // It would need BDAT towards the next hop (RFC 3030, section 3).
            (Body::Binary, _) => {
                let words = "the message has no lines and cannot be handed on by DATA";
                return fail_all(parcel, Enhanced(5, 6, 3), words);
            }
        };
        match offer.size {
            Size::Limit(limit) if parcel.size_bytes > limit => {
                let words = format!(
                    "the message has {} octets and the next hop takes at most {limit}",
                    parcel.size_bytes
                );
                return fail_all(parcel, Enhanced(5, 3, 4), &words);
            }
            Size::Limit(_) | Size::Unlimited | Size::Unknown => {}
        }
        let mut commands = format!("MAIL FROM:<{}>", parcel.sender);
        if offer.size != Size::Unknown {
            let _ = write!(commands, " SIZE={}", parcel.size_bytes);
        }
        if octets == Octets::EightBit {
            commands.push_str(" BODY=8BITMIME");
        }
        commands.push_str("\r\n");
        if offer.pipelining {
            // DATA is not sent along although RFC 2920, section 3.1, allows it: if all recipients
            // are refused and DATA is not, an empty message would have to be sent.
            parcel.recipients.iter().for_each(|to| commands.push_str(&rcpt(to)));
        }
        let rulings = vec![None; parcel.recipients.len()];
        let pipelining = offer.pipelining;
        let transaction = Self { parcel, rulings, pipelining, octets, phase: Phase::Mail };
        Step::Ask(transaction, commands.into_bytes())
    }

    /// Returns what an answer is due to.
    #[must_use]
    pub const fn asked(&self) -> Asked {
        match self.phase {
            Phase::Mail => Asked::Mail,
            Phase::Rcpt(_) | Phase::Drain(_) => Asked::Rcpt,
            Phase::Data => Asked::Data,
            // What comes while the body is sent is the answer to the message, ahead of its time.
            Phase::Body(_) | Phase::Dot => Asked::Dot,
        }
    }

    /// Tells whether the final dot is sent and its answer due.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Dot)
    }

    /// Takes an answer that came before all was sent: the dot has not left us, so it cannot be
    /// what is answered.
    #[must_use]
    pub fn answered_early(mut self, answer: &Answer) -> Step {
        if self.is_ended() {
            self.phase = Phase::Body(Stuffing::new(self.octets));
        }
        self.answered(answer)
    }

    /// Takes an answer of the next hop.
    #[must_use]
    pub fn answered(mut self, answer: &Answer) -> Step {
        let asked = self.asked();
        let means = meaning(asked, answer);
        match (self.phase, means) {
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
            (Phase::Dot, Meaning::NotHere) if answer.code() != 421 => {
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
                let command = if self.pipelining {
                    Vec::new()
                } else {
                    rcpt(&self.parcel.recipients[0]).into()
                };
                Step::Ask(self, command)
            }
            (Phase::Mail, Meaning::NotNow | Meaning::Never) => {
                self.rule_rest(means, answer);
                let sent = if self.pipelining { 0 } else { self.rulings.len() };
                self.phase = Phase::Drain(sent);
                self.drained()
            }
            (Phase::Rcpt(place), _) => self.recipient_answered(place, means, answer),
            (Phase::Data, Meaning::Granted) => {
                let stuffing = Stuffing::new(self.octets);
                self.phase = Phase::Body(stuffing);
                Step::Body(self, Vec::new())
            }
            (Phase::Data, Meaning::NotNow | Meaning::Never) => {
                self.rule_rest(means, answer);
                self.over(After::Reset)
            }
            (Phase::Dot, _) => {
                self.rule_rest(means, answer);
                self.over(After::Clean)
            }
            (Phase::Body(_), Meaning::NotNow | Meaning::Never) => {
                self.rule_rest(means, answer);
                self.over(After::Broken(answer.summary()))
            }
        }
    }

    /// Takes the answer to one RCPT, and asks for the next recipient or for DATA.
    fn recipient_answered(mut self, place: usize, means: Meaning, answer: &Answer) -> Step {
        if means != Meaning::Granted {
            let recipient = self.parcel.recipients[place].clone();
            self.rulings[place] = Some(Judged::by_answer(recipient, means, answer));
        }
        if let Some(next) = self.parcel.recipients.get(place + 1) {
            let command = if self.pipelining { Vec::new() } else { rcpt(next).into() };
            self.phase = Phase::Rcpt(place + 1);
            return Step::Ask(self, command);
        }
        if self.rulings.iter().all(Option::is_some) {
            return self.over(After::Reset);
        }
        self.phase = Phase::Data;
        Step::Ask(self, b"DATA\r\n".to_vec())
    }

    /// Goes on once every RCPT that followed a refused MAIL is answered.
    fn drained(self) -> Step {
        match self.phase {
            Phase::Drain(place) if place < self.rulings.len() => Step::Ask(self, Vec::new()),
            _ => self.over(After::Reset),
        }
    }

    /// Takes a piece of the body. Only after [`Step::Body`]; else it is passed over.
    #[must_use]
    pub fn body(mut self, chunk: &[u8]) -> Step {
        let mut wire = Vec::new();
        let Phase::Body(stuffing) = &mut self.phase else { return Step::Ask(self, wire) };
        match stuffing.push(chunk, &mut wire) {
            Ok(()) => Step::Body(self, wire),
            Err(unfit) => self.unfit(unfit),
        }
    }

    /// Ends the body with its final dot. Only after [`Step::Body`]; else it is passed over.
    #[must_use]
    pub fn body_end(mut self) -> Step {
        let mut wire = Vec::new();
        let stuffing = match self.phase {
            Phase::Body(stuffing) => stuffing,
            Phase::Mail | Phase::Rcpt(_) | Phase::Drain(_) | Phase::Data | Phase::Dot => {
                return Step::Ask(self, wire);
            }
        };
        self.phase = Phase::Dot;
        match stuffing.finish(&mut wire) {
            Ok(()) => Step::Ask(self, wire),
            Err(unfit) => self.unfit(unfit),
        }
    }

    /// Leaves the transaction because the body could not be read from the spool.
    #[must_use]
    pub fn body_lost(mut self, words: &str) -> Step {
        self.rule_rest_by_us(Ruling::Deferred, Enhanced(4, 3, 0), words);
        self.over(After::Broken(words.to_owned()))
    }

    /// Leaves a message that must not be passed on; what was sent of it is void without its end.
    fn unfit(mut self, unfit: Unfit) -> Step {
        let status = match unfit {
            Unfit::BareLineEnd | Unfit::Nul => Enhanced(5, 6, 0),
            Unfit::EightBit => Enhanced(5, 6, 3),
        };
        self.rule_rest_by_us(Ruling::Failed, status, &unfit.to_string());
        self.over(After::Broken(unfit.to_string()))
    }

    /// Ends the transaction because the connection is gone or of no use.
    ///
    /// After the final dot nobody knows whether the message arrived. It is tried again on the
    /// normal schedule, not at once elsewhere (RFC 5321, section 4.2.5: at least once; RFC 1047:
    /// haste here makes duplicates).
    #[must_use]
    pub fn broken(mut self, words: &str) -> Step {
        match self.phase {
            Phase::Dot => {
                let words = format!("uncertain: {words} after the final dot, before its answer");
                self.rule_rest_by_us(Ruling::Deferred, Enhanced(4, 4, 2), &words);
            }
            Phase::Mail | Phase::Rcpt(_) | Phase::Drain(_) | Phase::Data | Phase::Body(_) => {
                self.rule_rest_by_us(Ruling::Elsewhere, Enhanced(4, 4, 2), words);
            }
        }
        self.over(After::Broken(words.to_owned()))
    }

    fn rule_rest(&mut self, means: Meaning, answer: &Answer) {
        for (recipient, ruling) in self.parcel.recipients.iter().zip(&mut self.rulings) {
            ruling.get_or_insert_with(|| Judged::by_answer(recipient.clone(), means, answer));
        }
    }

    fn rule_rest_by_us(&mut self, kind: Ruling, status: Enhanced, words: &str) {
        for (recipient, ruling) in self.parcel.recipients.iter().zip(&mut self.rulings) {
            ruling.get_or_insert_with(|| Judged::by_us(recipient.clone(), kind, status, words));
        }
    }

    fn over(self, after: After) -> Step {
        debug_assert!(self.rulings.iter().all(Option::is_some), "every recipient has a ruling");
        Step::Over(self.rulings.into_iter().flatten().collect(), after)
    }
}

/// Returns the RCPT command for `recipient`.
fn rcpt(recipient: &Address) -> String {
    format!("RCPT TO:<{recipient}>\r\n")
}

/// Fails every recipient without a word to the next hop.
fn fail_all(parcel: Parcel, status: Enhanced, words: &str) -> Step {
    let fail = |to: Address| Judged::by_us(to, Ruling::Failed, status, words);
    Step::Over(parcel.recipients.into_iter().map(fail).collect(), After::Clean)
}
