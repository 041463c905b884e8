//! One message on its way in: from 354 to its end, or chunk by chunk.
//!
//! A message that is refused is read to its end all the same: what follows a fault is still the
//! message, and would otherwise be taken for commands.

use std::time::Instant;

use crate::config::Limits;
use crate::mail::envelope::{Body, Envelope};
use crate::mail::fingerprint::{Arguments, Fingerprint, Text};
use crate::mail::header::{Collected, HeaderCollector, HeaderFault, HeaderLimits, HeaderSection};
use crate::mail::message::MessageId;
use crate::smtp::body::{BodyFault, BodyReader, Ended, Octets};
use crate::smtp::chunk::{ChunkReader, Form};
use crate::smtp::reply::Reply;

use super::replies;

/// A message that is being received. Holds its header section, and nothing of its text.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: MessageId,
    pub(super) envelope: Envelope,
    pub(super) began: Instant,
    reader: Reader,
    phase: Phase,
    size_limit: u64,
    arguments: Arguments,
    /// What has come, before anything of ours is added.
    text: Text,
}

/// How the message comes.
#[derive(Debug)]
enum Reader {
    /// By DATA.
    Dotted(BodyReader),
    /// By BDAT.
    Chunked(ChunkReader),
}

#[derive(Debug)]
enum Phase {
    Header(HeaderCollector),
    Text,
    /// The first reason counts.
    Refused(Reply),
}

/// What a piece of input has led to.
#[derive(Debug)]
pub(super) struct Piece {
    /// Octets for the spool.
    pub(super) append: Vec<u8>,
    /// The message was found bad in this piece: nothing of it is to be kept.
    pub(super) abandoned: bool,
    /// The message ended in this piece.
    pub(super) end: Option<End>,
}

/// Whether the octets at hand are the last of a message that comes by BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// They are.
    Yes,
    /// They are not, or the message comes by DATA and says itself where it ends.
    No,
}

/// How a message ended.
#[derive(Debug)]
pub(super) enum End {
    /// It can be stored.
    Whole {
        /// Octets received, after dot-unstuffing.
        size_bytes: u64,
    },
    /// It is refused.
    Refused(Reply),
}

/// By which command a message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// DATA.
    Data,
    /// BDAT.
    Bdat,
}

impl Incoming {
    pub(super) fn new(
        id: MessageId,
        envelope: Envelope,
        arguments: Arguments,
        by: By,
        limits: &Limits,
        began: Instant,
    ) -> Self {
        let reader = match (by, envelope.body) {
            (By::Data, _) => Reader::Dotted(BodyReader::default()),
            (By::Bdat, Body::Binary) => Reader::Chunked(ChunkReader::new(Form::Binary)),
            (By::Bdat, Body::SevenBit | Body::EightBit) => {
                Reader::Chunked(ChunkReader::new(Form::Lines))
            }
        };
        let header = HeaderLimits {
            size_bytes: limits.header_size_bytes,
            fields: limits.header_fields,
            received: limits.received_fields,
        };
        Self {
            id,
            envelope,
            began,
            reader,
            phase: Phase::Header(HeaderCollector::new(header)),
            size_limit: limits.message_size_bytes,
            arguments,
            text: Text::default(),
        }
    }

    /// Returns the octets received so far, after dot-unstuffing.
    pub(super) const fn size_bytes(&self) -> u64 {
        match &self.reader {
            Reader::Dotted(reader) => reader.size_bytes(),
            Reader::Chunked(reader) => reader.size_bytes(),
        }
    }

    /// Returns what the submission is known by, once the whole message has come.
    pub(super) fn into_fingerprint(self) -> Fingerprint {
        self.text.finish(self.envelope.login.as_deref(), self.arguments)
    }

    /// Returns why the message is refused, if that is known before its end.
    pub(super) const fn refusal(&self) -> Option<&Reply> {
        match &self.phase {
            Phase::Refused(reply) => Some(reply),
            Phase::Header(_) | Phase::Text => None,
        }
    }

    /// Takes octets off the front of `input`: up to the end of the message, or all of them, which
    /// end it if they are its `last`. `judge` is asked once, when the header section is whole: it
    /// returns the section as it travels on, or the refusal.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        last: Last,
        judge: impl FnOnce(&Envelope, MessageId, &HeaderSection) -> Result<Vec<u8>, Reply>,
    ) -> Piece {
        let was_refused = matches!(self.phase, Phase::Refused(_));
        let mut text = Vec::new();
        let ended = match &mut self.reader {
            Reader::Dotted(reader) => reader.read(input, &mut text),
            Reader::Chunked(reader) => {
                reader.read(std::mem::take(input), &mut text);
                match last {
                    Last::Yes => Some(reader.finish()),
                    Last::No => None,
                }
            }
        };
        if !was_refused {
            self.text.add(&text);
        }
        let whole = matches!(ended, Some(Ok(_)));
        let mut append = self.advance(text, whole, judge);
        match ended {
            Some(Ok(ended)) => self.envelope.body = found(self.envelope.body, ended),
            Some(Err(fault)) => self.refuse(replies::body(fault)),
            // Known before the end, so that the client can be told at the end of its chunk.
            None => self.refuse_if(match &self.reader {
                Reader::Dotted(_) => None,
                Reader::Chunked(reader) => reader.fault(),
            }),
        }
        let end = ended.map(|_| match std::mem::replace(&mut self.phase, Phase::Text) {
            Phase::Refused(reply) => End::Refused(reply),
            Phase::Header(_) | Phase::Text => End::Whole { size_bytes: self.size_bytes() },
        });
        let is_refused =
            matches!((&self.phase, &end), (Phase::Refused(_), _) | (_, Some(End::Refused(_))));
        if is_refused {
            append.clear();
        }
        Piece { append, abandoned: is_refused && !was_refused, end }
    }

    /// Passes the text of a message on, its header section only when that is whole: at its empty
    /// line, or with the message (`whole`: it has ended without a fault).
    fn advance(
        &mut self,
        text: Vec<u8>,
        whole: bool,
        judge: impl FnOnce(&Envelope, MessageId, &HeaderSection) -> Result<Vec<u8>, Reply>,
    ) -> Vec<u8> {
        if self.size_bytes() > self.size_limit {
            // Whatever else is wrong: the answer must not depend on how the input was cut.
            self.phase = Phase::Refused(replies::MESSAGE_TOO_LARGE.into());
        }
        let Phase::Header(collector) = &mut self.phase else { return text };
        let rest = match collector.push(&text) {
            Collected::More if whole => text.len(),
            Collected::More => return Vec::new(),
            Collected::Complete(place) => place,
            Collected::TooLarge => {
                self.refuse(replies::header(HeaderFault::TooLarge));
                return Vec::new();
            }
        };
        let Phase::Header(collector) = std::mem::replace(&mut self.phase, Phase::Text) else {
            return Vec::new();
        };
        let judged = collector
            .read(self.envelope.terms.charset())
            .map_err(replies::header)
            .and_then(|section| {
                self.envelope.trace = section.trace();
                judge(&self.envelope, self.id, &section)
            });
        match judged {
            Ok(mut out) => {
                out.extend_from_slice(&text[rest..]);
                out
            }
            Err(reply) => {
                self.refuse(reply);
                Vec::new()
            }
        }
    }

    fn refuse_if(&mut self, fault: Option<BodyFault>) {
        if let Some(fault) = fault {
            self.refuse(replies::body(fault));
        }
    }

    /// Refuses the message; the first reason counts.
    fn refuse(&mut self, reply: Reply) {
        if !matches!(self.phase, Phase::Refused(_)) {
            self.phase = Phase::Refused(reply);
        }
    }
}

/// Returns what a body is that was declared to be `declared`. Many clients declare 8BITMIME for all
/// they send; what is 7-bit all the same must not be bounced by a next hop that takes nothing else.
const fn found(declared: Body, ended: Ended) -> Body {
    match (declared, ended.octets) {
        (Body::Binary, _) => Body::Binary,
        (_, Octets::SevenBit) => Body::SevenBit,
        (_, Octets::EightBit) => Body::EightBit,
    }
}
