//! What a session does with its input: each command, each line of an exchange, each piece of a
//! message.

use crate::mail::envelope::{Body, Envelope};
use crate::mail::header::{HeaderSection, Trace};
use crate::mail::message::MessageId;
use crate::policy::relaying::{accept_recipient, check_sender};
use crate::smtp::address::ReversePath;
use crate::smtp::command::{ArgumentError, Command, Recipient, Verb};
use crate::smtp::line::{Awaited, LineError};
use crate::smtp::parameter::MailParameters;
use crate::smtp::reply::Reply;

use super::exchange::{self, Exchange, ExchangeFault, Turn};
use super::incoming::{End, Incoming, Piece};
use super::limits::Answer;
use super::stage::Stage;
use super::transaction::{Origin, Transaction};
use super::{Action, Hello, Outlook, Room, Session, State, TlsStart, replies};

impl Session {
    /// Makes one step with the input at hand; returns false if there is nothing to be done.
    pub(super) fn work(&mut self) -> bool {
        match &self.state {
            State::Greeting => {
                self.greet();
                true
            }
            State::Commands => self.read_line(Awaited::Command),
            State::Exchange(_) => self.read_line(Awaited::Response),
            State::Body(_) if self.input.is_empty() => false,
            State::Body(_) => {
                self.read_body();
                true
            }
            State::Handshake
            | State::Verifying
            | State::Opening(_)
            | State::Storing { .. }
            | State::Paused { .. }
            | State::Closed => false,
        }
    }

    /// Octets that came before the greeting are those of a client that does not listen (RFC 5321,
    /// section 4.3.1).
    fn greet(&mut self) {
        if self.input.is_empty() {
            let greeting = replies::greeting(&self.facts.config.hostname);
            self.state = State::Commands;
            self.say(greeting);
        } else {
            let greeting = replies::refusing_greeting(&self.facts.config.hostname);
            self.close(greeting);
        }
    }

    fn read_line(&mut self, awaited: Awaited) -> bool {
        let mut input: &[u8] = self.input.make_contiguous();
        let before = input.len();
        let line = self.reader.read(&mut input, awaited);
        let taken = before - input.len();
        self.input.drain(..taken);
        let Some(line) = line else { return false };
        match (line, std::mem::replace(&mut self.state, State::Commands)) {
            (Ok(line), State::Exchange(exchange)) => self.turn(exchange.respond(&line)),
            (Ok(line), _) => self.obey(&line),
            (Err(error @ LineError::BareLineFeed), _) => self.close(replies::line(error)),
            (Err(LineError::TooLong), State::Exchange(_)) => {
                self.object(replies::exchange(ExchangeFault::TooLong));
            }
            (Err(LineError::Control), State::Exchange(_)) => {
                self.object(replies::exchange(ExchangeFault::Base64));
            }
            (Err(error @ (LineError::TooLong | LineError::Control)), _) => {
                self.object(replies::line(error));
            }
        }
        true
    }

    fn obey(&mut self, line: &[u8]) {
        let (verb, rest) = Verb::split(line);
        if verb == Verb::Foreign {
            return self.close(replies::WRONG_PROTOCOL);
        }
        // Both end a group (RFC 2920, section 3.1). What follows DATA unasked is a message, and must
        // not be run as commands where DATA is refused; what follows STARTTLS in the clear is an
        // injection (RFC 3207, section 4.2).
        if matches!(verb, Verb::Data | Verb::StartTls) && !self.input.is_empty() {
            return self.close(replies::TOO_EARLY);
        }
        if let Err(phrase) = self.stage.admit(verb) {
            return if verb == Verb::Bdat { self.close(phrase) } else { self.object(phrase) };
        }
        match Command::read(verb, rest) {
            Ok(command) => self.run(command),
            Err(_) if verb == Verb::Bdat => self.close(replies::BDAT_OFF),
            Err(error @ ArgumentError::SourceRoute) => self.say(replies::argument(verb, error)),
            Err(error) => self.object(replies::argument(verb, error)),
        }
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Ehlo(name) => self.hello(Hello::Extended(name)),
            Command::Helo(name) => self.hello(Hello::Plain(name)),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref()),
            Command::Mail { sender, parameters } => self.mail(sender, &parameters),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.data(),
            Command::Rset => {
                self.idle_command(replies::OK.into());
                self.end_transaction_if_open();
            }
            Command::Noop => self.idle_command(replies::OK.into()),
            Command::Quit => self.close(replies::GOODBYE),
            Command::Vrfy => self.idle_command(replies::VERIFY_NOT.into()),
            Command::Help => self.idle_command(replies::HELP.into()),
        }
    }

    /// Answers a command that moves no mail.
    fn idle_command(&mut self, reply: Reply) {
        match self.misdeeds.idle_command() {
            Answer::Close => self.close(replies::TOO_MANY_IDLE_COMMANDS),
            answer => self.answer(answer, reply),
        }
    }

    fn end_transaction_if_open(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.end_transaction();
        }
    }

    fn hello(&mut self, hello: Hello) {
        self.stage = self.stage.greeted();
        let reply = match &hello {
            Hello::Plain(_) => Reply::plain(250, &self.facts.config.hostname),
            Hello::Extended(_) => self.extensions(),
        };
        self.hello = Some(hello);
        self.idle_command(reply);
        self.end_transaction_if_open();
    }

    /// STARTTLS is never the last line: some clients look for `250-STARTTLS`.
    fn extensions(&self) -> Reply {
        let size = format!("SIZE {}", self.limits().message_size_bytes);
        let mut reply =
            Reply::plain(250, &self.facts.config.hostname).line("PIPELINING").line(&size);
        if self.stage.is_secured() {
            reply = reply.line(&format!("AUTH {}", exchange::MECHANISMS));
        } else if self.facts.tls == TlsStart::Starttls {
            reply = reply.line("STARTTLS");
        }
        reply.line("8BITMIME").line("ENHANCEDSTATUSCODES")
    }

    fn start_tls(&mut self) {
        match (&self.hello, self.facts.tls) {
            (Some(Hello::Extended(_)), TlsStart::Starttls) => {
                self.say(replies::TLS_GO);
                self.actions.push_back(Action::Secure);
                self.enter(State::Handshake, self.now);
            }
            (Some(Hello::Extended(_)), TlsStart::Unavailable | TlsStart::Implicit) => {
                self.say(replies::TLS_UNAVAILABLE);
            }
            (Some(Hello::Plain(_)) | None, _) => self.object(replies::HELLO_FIRST),
        }
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
        match self.hello {
            Some(Hello::Extended(_)) => self.turn(Exchange::begin(mechanism, initial)),
            Some(Hello::Plain(_)) | None => self.object(replies::EHLO_FOR_AUTH),
        }
    }

    fn turn(&mut self, turn: Result<Turn, ExchangeFault>) {
        match turn {
            Ok(Turn::Challenge(exchange, text)) => {
                self.state = State::Exchange(exchange);
                self.say(replies::challenge(text));
            }
            Ok(Turn::Complete(credentials)) => {
                self.enter(State::Verifying, self.now);
                self.actions.push_back(Action::Verify(credentials));
            }
            Err(fault) => self.object(replies::exchange(fault)),
        }
    }

    fn mail(&mut self, sender: ReversePath, parameters: &MailParameters) {
        if self.outlook == Outlook::Leaving {
            return self.close(replies::SHUTTING_DOWN);
        }
        if !parameters.is_empty() && matches!(self.hello, Some(Hello::Plain(_))) {
            return self.object(replies::EXTENSION_NOT_OFFERED);
        }
        if parameters.size_bytes.is_some_and(|size| size > self.limits().message_size_bytes) {
            return self.say(replies::MESSAGE_TOO_LARGE);
        }
        if let Err(refusal) = check_sender(&self.facts.config, self.client(), &sender) {
            return self.say(replies::refusal(refusal));
        }
        if self.room == Room::Short {
            return self.say(replies::STORE_FULL);
        }
        let body = parameters.body.unwrap_or(Body::SevenBit);
        self.transaction = Some(Transaction::new(sender, body));
        self.stage = Stage::Sender;
        self.say(replies::SENDER_OK);
    }

    fn rcpt(&mut self, recipient: Recipient) {
        let limit = self.limits().recipients;
        let accepted = accept_recipient(&self.facts.config, self.client(), recipient);
        let recipient = match accepted {
            Ok(recipient) => recipient,
            Err(refusal) => return self.say(replies::refusal(refusal)),
        };
        let Some(mut transaction) = self.transaction.take() else {
            return self.object(replies::MAIL_FIRST);
        };
        let reply = if !transaction.has_room_for(&recipient, limit) {
            replies::TOO_MANY_RECIPIENTS
        } else if self.facts.rates.take(&self.facts.config, self.client(), self.now).is_err() {
            replies::RATE_EXCEEDED
        } else {
            transaction.add(recipient);
            self.stage = Stage::Recipients;
            replies::RECIPIENT_OK
        };
        self.transaction = Some(transaction);
        self.say(reply);
    }

    fn data(&mut self) {
        let Some(transaction) = self.transaction.take() else {
            return self.object(replies::MAIL_FIRST);
        };
        let envelope = transaction.into_envelope(Origin {
            login: self.login.clone(),
            tag: self.facts.tag.clone(),
            source: self.facts.source,
            at: self.wall_clock(),
        });
        self.actions.push_back(Action::Begin(envelope.clone()));
        self.enter(State::Opening(envelope), self.now);
    }

    fn read_body(&mut self) {
        let State::Body(mut incoming) = std::mem::replace(&mut self.state, State::Commands) else {
            return;
        };
        self.since = self.now;
        let declared = incoming.envelope.body;
        let octets = Vec::from(std::mem::take(&mut self.input));
        let mut rest = octets.as_slice();
        let Piece { append, abandoned, end } =
            incoming.read(&mut rest, |envelope, id, section| self.judge(envelope, id, section));
        self.input.extend(rest);
        if abandoned {
            self.actions.push_back(Action::Abandon);
        }
        if !append.is_empty() {
            self.actions.push_back(Action::Append(append));
        }
        match end {
            None => self.state = State::Body(incoming),
            Some(End::Refused(reply)) => {
                self.say(reply);
                self.end_transaction();
            }
            Some(End::Whole { size_bytes }) => {
                let Incoming { envelope, .. } = *incoming;
                let recipients = envelope.recipients.len();
                if envelope.body != declared {
                    self.actions.push_back(Action::Amend(envelope));
                }
                self.actions.push_back(Action::Commit);
                self.enter(State::Storing { recipients, size_bytes }, self.now);
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
        // RFC 3848: ESMTPSA is ESMTP with STARTTLS and AUTH; nothing else gets as far as here, but
        // for a client that fell back to HELO after its login.
        let (client_name, protocol) = match &self.hello {
            Some(Hello::Extended(name)) => (name.as_str(), "ESMTPSA"),
            Some(Hello::Plain(name)) => (name.as_str(), "SMTP"),
            None => ("unknown", "SMTP"),
        };
        Ok(section.write(Trace {
            client_name,
            source: self.facts.source,
            hostname: &self.facts.config.hostname,
            protocol,
            tls: self.tls.as_deref(),
            id,
            at: envelope.received_at,
        }))
    }
}
