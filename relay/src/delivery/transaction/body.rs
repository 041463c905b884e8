//! The message itself on its way out.

use super::{Phase, Step, Transaction};
use crate::delivery::carriage::{By, Conversion, Converted, HELD_MAX, Look, Refusal};
use crate::delivery::chunk::Chunk;
use crate::delivery::ruling::Ruling;
use crate::delivery::stuffing::{Stuffing, Unfit};
use crate::delivery::transaction::After;
use crate::smtp::reply::Enhanced;

/// The most octets out of memory that are sent under one deadline.
const PIECE: usize = 32 * 1024;

/// Where the body comes from.
#[derive(Debug)]
pub(super) enum Memory {
    /// From the spool, piece by piece.
    Spool,
    /// From the spool into memory, at most [`HELD_MAX`] octets.
    Gathered(Vec<u8>),
    /// Out of memory.
    Held { octets: Vec<u8>, sent: usize },
}

/// How the body is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed {
    /// With dots doubled, up to a final one.
    Lines(Stuffing),
    /// As it is, after its length.
    Chunk(Chunk),
}

impl Feed {
    fn push(&mut self, input: &[u8], wire: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Lines(stuffing) => stuffing.push(input, wire),
            Self::Chunk(chunk) => chunk.push(input, wire),
        }
    }

    fn finish(self, wire: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Lines(stuffing) => stuffing.finish(wire),
            Self::Chunk(chunk) => chunk.finish(wire),
        }
    }
}

impl Transaction {
    /// Begins to gather the message. Only after [`Step::Room`]; else it is passed over.
    #[must_use]
    pub fn roomy(mut self) -> Step {
        let Phase::Room(look) = self.phase else { return Step::Ask(self, Vec::new()) };
        // In one go: a buffer that grows is for a while in memory twice.
        let size = usize::try_from(self.parcel.size_bytes.min(HELD_MAX)).unwrap_or(0);
        self.memory = Memory::Gathered(Vec::with_capacity(size));
        self.phase = Phase::Gather(look);
        Step::Body(self, Vec::new())
    }

    /// Leaves the message for later: too much is held already. Only after [`Step::Room`]; else it is
    /// passed over.
    #[must_use]
    pub fn crowded(mut self) -> Step {
        let Phase::Room(_) = self.phase else { return Step::Ask(self, Vec::new()) };
        let words = "there was no room in memory to convert the message for the next hop";
        self.rule_rest_by_us(Ruling::Postponed, Enhanced(4, 3, 0), words);
        self.over(After::Clean)
    }

    /// Begins with what goes in place of the message. Only after [`Step::Look`]; else it is passed over.
    #[must_use]
    pub fn converted(mut self, converted: Converted) -> Step {
        let Phase::Look = self.phase else { return Step::Ask(self, Vec::new()) };
        match converted.0 {
            Ok(octets) => {
                self.parcel.size_bytes = octets.len() as u64;
                self.memory = Memory::Held { octets, sent: 0 };
                self.say_mail()
            }
            Err(Refusal { status, words }) => {
                self.rule_rest_by_us(Ruling::Failed, status, &words);
                self.over(After::Clean)
            }
        }
    }

    /// Takes a piece of the body. Only after [`Step::Body`]; else it is passed over.
    #[must_use]
    pub fn body(mut self, chunk: &[u8]) -> Step {
        if let (Phase::Gather(_), Memory::Gathered(octets)) = (self.phase, &mut self.memory) {
            if (octets.len() + chunk.len()) as u64 > HELD_MAX {
                return self.unfit(Unfit::Length);
            }
            octets.extend_from_slice(chunk);
            return Step::Body(self, Vec::new());
        }
        let mut wire = Vec::new();
        let Phase::Body(feed) = &mut self.phase else { return Step::Ask(self, wire) };
        match feed.push(chunk, &mut wire) {
            Ok(()) => Step::Body(self, wire),
            Err(unfit) => self.unfit(unfit),
        }
    }

    /// Ends the body. Only after [`Step::Body`]; else it is passed over.
    #[must_use]
    pub fn body_end(mut self) -> Step {
        let mut wire = Vec::new();
        let feed = match self.phase {
            Phase::Gather(look) => return self.gathered(look),
            Phase::Body(feed) => feed,
            Phase::Room(_)
            | Phase::Look
            | Phase::Mail
            | Phase::Rcpt(_)
            | Phase::Drain(_)
            | Phase::Data
            | Phase::Dot => {
                return Step::Ask(self, wire);
            }
        };
        self.phase = Phase::Dot;
        match feed.finish(&mut wire) {
            Ok(()) => Step::Ask(self, wire),
            Err(unfit) => self.unfit(unfit),
        }
    }

    /// Sends the next piece out of memory. Only after [`Step::More`]; else it is passed over.
    #[must_use]
    pub fn go_on(mut self) -> Step {
        let mut wire = Vec::new();
        let (Phase::Body(feed), Memory::Held { octets, sent }) =
            (&mut self.phase, &mut self.memory)
        else {
            return Step::Ask(self, wire);
        };
        let piece = &octets[*sent..octets.len().min(*sent + PIECE)];
        if piece.is_empty() {
            return self.body_end();
        }
        *sent += piece.len();
        match feed.push(piece, &mut wire) {
            Ok(()) => Step::More(self, wire),
            Err(unfit) => self.unfit(unfit),
        }
    }

    /// Leaves the transaction because the body cannot be had: it was not read, or not looked at.
    #[must_use]
    pub fn body_lost(mut self, words: &str) -> Step {
        self.rule_rest_by_us(Ruling::Deferred, Enhanced(4, 3, 0), words);
        self.over(After::Broken(words.to_owned()))
    }

    /// Returns how the body is to be written, from its start.
    pub(super) const fn feed(&self) -> Feed {
        match self.carriage.by {
            By::Data => Feed::Lines(Stuffing::new(self.carriage.octets)),
            By::Chunk => Feed::Chunk(Chunk::new(self.carriage.octets, self.parcel.size_bytes)),
        }
    }

    /// Begins to send the body.
    pub(super) fn begin_body(mut self) -> Step {
        self.phase = Phase::Body(self.feed());
        match self.memory {
            Memory::Spool | Memory::Gathered(_) => Step::Body(self, Vec::new()),
            Memory::Held { .. } => Step::More(self, Vec::new()),
        }
    }

    /// Has a message looked at that was gathered whole.
    fn gathered(mut self, look: Look) -> Step {
        let octets = match std::mem::replace(&mut self.memory, Memory::Spool) {
            Memory::Gathered(octets) | Memory::Held { octets, .. } => octets,
            Memory::Spool => Vec::new(),
        };
        if octets.len() as u64 != self.parcel.size_bytes {
            return self.unfit(Unfit::Length);
        }
        self.phase = Phase::Look;
        let conversion = Conversion::new(octets, look, self.hop.offer);
        Step::Look(self, conversion)
    }

    /// Leaves a message that must not be passed on; what was sent of it is void without its end.
    fn unfit(mut self, unfit: Unfit) -> Step {
        let (ruling, status) = match unfit {
            Unfit::BareLineEnd | Unfit::Nul => (Ruling::Failed, Enhanced(5, 6, 0)),
            Unfit::EightBit => (Ruling::Failed, Enhanced(5, 6, 3)),
            Unfit::Length => (Ruling::Deferred, Enhanced(4, 3, 0)),
        };
        self.rule_rest_by_us(ruling, status, &unfit.to_string());
        self.over(After::Broken(unfit.to_string()))
    }
}
