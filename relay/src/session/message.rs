//! What a session does with a message: DATA, BDAT, and the octets that follow them.

use std::time::Instant;

use crate::mail::envelope::{Body, Envelope};
use crate::mail::fingerprint::Arguments;
use crate::mail::header::{HeaderSection, Trace};
use crate::mail::message::MessageId;
use crate::policy::relaying::check_sender;
use crate::smtp::address::ReversePath;
use crate::smtp::command::{Chunk, More};
use crate::smtp::parameter::Utf8;
use crate::smtp::reply::Reply;

use super::incoming::{End, Incoming, Last, Piece};
use super::replies::Phrase;
use super::stage::Stage;
use super::transaction::Origin;
use super::{Action, Hello, Session, State, replies};

/// A draft that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) envelope: Envelope,
    pub(super) arguments: Arguments,
    /// The chunk whose octets come next; none: the message comes by DATA.
    pub(super) chunk: Option<Chunk>,
}

/// A chunk on its way in (RFC 3030, section 2).
#[derive(Debug)]
pub(super) struct Chunked {
    pub(super) incoming: Box<Incoming>,
    pub(super) left: u64,
    chunk: Chunk,
}

/// Octets of a chunk that is refused: they come all the same, and must not be taken for commands.
#[derive(Debug)]
pub(super) struct Skipping {
    pub(super) began: Instant,
    pub(super) taken: u64,
    left: u64,
    reply: Reply,
    blame: Blame,
}

/// Whose fault it is that a chunk is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The client's: it counts as an error.
    Client,
    /// Nobody's, or ours.
    Nobody,
}

impl Session {
    pub(super) fn data(&mut self) {
        let binary = |transaction: &super::Transaction| transaction.body() == Body::Binary;
        if self.transaction.as_ref().is_some_and(binary) {
            return self.object(replies::BINARY_BY_DATA);
        }
        self.open(None);
    }

    /// Takes the octets that BDAT announces, lawful or not.
    pub(super) fn bdat(&mut self, chunk: Chunk, admitted: Result<(), Phrase>) {
        if let Err(phrase) = admitted {
            let blame = if self.stage == Stage::Ready { self.blame } else { Blame::Client };
            return self.skip(chunk, phrase.into(), blame);
        }
        if matches!(self.hello, Some(Hello::Plain(_)) | None) {
            return self.skip(chunk, replies::EHLO_FOR_BDAT.into(), Blame::Client);
        }
        match self.chunked.take() {
            Some(incoming) => self.begin_chunk(incoming, chunk),
            None => self.open(Some(chunk)),
        }
    }

    /// Asks for a draft.
    fn open(&mut self, chunk: Option<Chunk>) {
        let Some(transaction) = self.transaction.take() else {
            return self.object(replies::MAIL_FIRST);
        };
        let (envelope, arguments) = transaction.into_envelope(Origin {
            login: self.login.clone(),
            tag: self.facts.tag.clone(),
            source: self.facts.source,
            at: self.wall_clock(),
        });
        self.actions.push_back(Action::Begin(envelope.clone()));
        let opening = Opening { envelope, arguments, chunk };
        self.enter(State::Opening(Box::new(opening)), self.now);
    }

    pub(super) fn begin_chunk(&mut self, mut incoming: Box<Incoming>, chunk: Chunk) {
        self.stage = Stage::Chunks;
        // Between chunks a client may be silent: that is no slowness of the message.
        incoming.began += self.now.saturating_duration_since(self.since);
        let left = chunk.size_bytes;
        self.enter(State::Chunk(Chunked { incoming, left, chunk }), self.now);
    }

    pub(super) fn skip(&mut self, chunk: Chunk, reply: Reply, blame: Blame) {
        let left = chunk.size_bytes;
        let skipping = Skipping { began: self.now, taken: 0, left, reply, blame };
        self.enter(State::Skipping(skipping), self.now);
    }

    /// Makes one step with the octets of a message; returns false if there are none to work on.
    pub(super) fn read_message(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Body(incoming) if !self.input.is_empty() => self.read_body(incoming),
            State::Chunk(chunked) if chunked.left == 0 || !self.input.is_empty() => {
                self.read_chunk(chunked);
            }
            State::Skipping(skipping) if skipping.left == 0 || !self.input.is_empty() => {
                self.read_skipped(skipping);
            }
            state => {
                self.state = state;
                return false;
            }
        }
        true
    }

    fn read_body(&mut self, mut incoming: Box<Incoming>) {
        self.since = self.now;
        let octets = std::mem::take(&mut self.input);
        // DATA ends what may be sent ahead, so a client that goes on has read up to our 354. Otherwise
        // the same message, sent a second time on purpose, would be taken for a repeat.
        self.note_heard();
        let mut rest = octets.rest();
        let end = self.pass_on(&mut incoming, &mut rest, Last::No);
        self.input.extend(rest);
        match end {
            None => self.state = State::Body(incoming),
            Some(end) => self.finish(*incoming, end),
        }
    }

    fn read_chunk(&mut self, mut chunked: Chunked) {
        self.since = self.now;
        let octets = self.take_input(&mut chunked.left);
        let Chunked { mut incoming, left, chunk } = chunked;
        let last = if left == 0 && chunk.more == More::Last { Last::Yes } else { Last::No };
        if let Some(end) = self.pass_on(&mut incoming, &mut octets.as_slice(), last) {
            return self.finish(*incoming, end);
        }
        if left > 0 {
            self.state = State::Chunk(Chunked { incoming, left, chunk });
            return;
        }
        // What follows a chunk that was refused is refused too, up to the last one or RSET: a
        // message without some of its octets is another message.
        let taken = || replies::chunk(chunk.size_bytes);
        let reply = incoming.refusal().cloned().unwrap_or_else(taken);
        if chunk.size_bytes == 0 {
            self.idle_command(reply);
        } else {
            self.say(reply);
        }
        if matches!(self.state, State::Closed) {
            self.actions.push_front(Action::Abandon);
        } else {
            self.chunked = Some(incoming);
        }
    }

    fn read_skipped(&mut self, mut skipping: Skipping) {
        self.since = self.now;
        skipping.taken += self.take_input(&mut skipping.left).len() as u64;
        if skipping.left > 0 {
            self.state = State::Skipping(skipping);
            return;
        }
        match skipping.blame {
            Blame::Client => self.object(skipping.reply),
            Blame::Nobody => self.say(skipping.reply),
        }
        self.leave_if_idle();
    }

    /// Takes input that belongs to a chunk of which `left` octets are to come.
    fn take_input(&mut self, left: &mut u64) -> Vec<u8> {
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
        *left -= most as u64;
        self.input.take(most)
    }

    /// Passes octets of the message on to the draft. Returns how it ended, if it did.
    fn pass_on(&mut self, incoming: &mut Incoming, octets: &mut &[u8], last: Last) -> Option<End> {
        let (declared, was_traced) = (incoming.envelope.body, incoming.envelope.trace.is_some());
        let Piece { append, abandoned, end } =
            incoming.read(octets, last, |envelope, id, section| self.judge(envelope, id, section));
        if abandoned {
            self.actions.push_back(Action::Abandon);
        }
        if !append.is_empty() {
            self.actions.push_back(Action::Append(append));
        }
        let is_other = matches!(end, Some(End::Whole { .. })) && incoming.envelope.body != declared;
        let is_traced = !abandoned && !was_traced && incoming.envelope.trace.is_some();
        if is_other || is_traced {
            self.actions.push_back(Action::Amend(incoming.envelope.clone()));
        }
        end
    }

    fn finish(&mut self, incoming: Incoming, end: End) {
        match end {
            End::Refused(reply) => {
                self.say(reply);
                self.end_transaction();
            }
            End::Whole { size_bytes } => {
                let recipients = incoming.envelope.recipients.len();
                let submission = self.receipts.submission(incoming.into_fingerprint());
                self.actions.push_back(Action::Commit(submission.fingerprint()));
                self.enter(State::Storing { recipients, size_bytes, submission }, self.now);
            }
        }
    }

    /// Checks whom the message claims to be from, and returns the header section as it travels on.
    fn judge(
        &self,
        envelope: &Envelope,
        id: MessageId,
        section: &HeaderSection,
    ) -> Result<Vec<u8>, Reply> {
        for author in section.authors() {
            let author = ReversePath::Mailbox(author.clone());
            if check_sender(&self.facts.config, self.client(), &author).is_err() {
                return Err(replies::AUTHOR_DENIED.into());
            }
        }
        let extended = match envelope.terms.utf8 {
            Some(Utf8) => "UTF8SMTPSA",
            None => "ESMTPSA",
        };
        // RFC 3848; RFC 6531, section 3.7.3: ESMTPSA is ESMTP with STARTTLS and AUTH; nothing else gets as far as here, but
        // for a client that fell back to HELO after its login.
        let (client_name, protocol) = match &self.hello {
            Some(Hello::Extended(name)) => (name.as_str(), extended),
            Some(Hello::Plain(name)) => (name.as_str(), "SMTP"),
            None => ("unknown", "SMTP"),
        };
        Ok(section.write(Trace {
            client_name: self.announced.hello.as_deref().unwrap_or(client_name),
            host_name: self.announced.name.as_deref(),
            source: self.facts.source,
            hostname: &self.facts.config.hostname,
            protocol,
            tls: self.channel.as_ref().map(|channel| channel.description.as_str()),
            id,
            at: envelope.received_at,
        }))
    }
}
