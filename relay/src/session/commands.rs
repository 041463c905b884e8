//! What a session does with its input: each command and each line of an exchange.
//!
//! Not here: the octets of a message (`message`).

use crate::policy::conduct::Offence;
use crate::policy::permit::Permit;
use crate::policy::relaying::{accept_recipient, check_sender};
use crate::smtp::address::{Charset, ReversePath};
use crate::smtp::command::{ArgumentError, Command, Recipient, Verb};
use crate::smtp::extension::Extension;
use crate::smtp::line::{Awaited, LineError};
use crate::smtp::parameter::{HOLD_MAX, MailParameters, RcptParameters};
use crate::smtp::reply::Reply;
use crate::smtp::xclient;

use super::exchange::{self, Exchange, ExchangeFault, Turn};
use super::limits::Answer;
use super::message::Blame;
use super::stage::Stage;
use super::transaction::{HeldTooLong, Transaction};
use super::{
    Action, Hello, Next, Outlook, Proof, Room, Session, State, TlsStart, Xclient, replies,
};

/// The extensions that are kept together with the sending side, in the order of EHLO.
const PROMISES: [Extension; 7] = [
    Extension::SmtpUtf8,
    Extension::BinaryMime,
    Extension::Dsn,
    Extension::FutureRelease,
    Extension::DeliverBy,
    Extension::MtPriority,
    Extension::RequireTls,
];

impl Session {
    /// Makes one step with the input at hand; returns false if there is nothing to be done.
    pub(super) fn work(&mut self) -> bool {
        match &self.state {
            State::Greeting { until } => self.greet(*until),
            State::Commands => self.read_line(Awaited::Command),
            State::Exchange(_) => self.read_line(Awaited::Response),
            State::Body(_) | State::Chunk(_) | State::Skipping(_) => self.read_message(),
            State::Handshake
            | State::Looking(_)
            | State::Verifying(_)
            | State::Opening(_)
            | State::Storing { .. }
            | State::Paused { .. }
            | State::Closed => false,
        }
    }

    fn read_line(&mut self, awaited: Awaited) -> bool {
        let mut rest = self.input.rest();
        let line = self.reader.read(&mut rest, awaited);
        self.input.forget(self.input.len() - rest.len());
        let Some(line) = line else { return false };
        self.note_heard();
        match (line, std::mem::replace(&mut self.state, State::Commands)) {
            (Ok(line), State::Exchange(exchange)) => self.turn(exchange.respond(&line)),
            (Ok(line), _) => self.obey(&line),
            (Err(error @ LineError::BareLineFeed), _) => {
                self.close_on(Offence::BareLineFeed, replies::line(error));
            }
            // Whatever it answers, it was refused (RFC 7628, section 3.2.3).
            (Err(_), State::Exchange(exchange)) if exchange.is_lost() => self.deny(),
            (Err(LineError::TooLong | LineError::ResponseTooLong), State::Exchange(_))
            | (Err(LineError::ResponseTooLong), _) => {
                self.object(replies::exchange(ExchangeFault::TooLong));
            }
            (Err(LineError::Control | LineError::Announcement), State::Exchange(_)) => {
                self.object(replies::exchange(ExchangeFault::Base64));
            }
            (Err(LineError::Announcement), _) => {
                self.close(replies::chunk_lost(ArgumentError::Syntax));
            }
            (Err(error @ (LineError::TooLong | LineError::Control)), _) => {
                self.object(replies::line(error));
            }
        }
        true
    }

    /// Says so if what was just read shows that the client has heard a 250 of ours.
    pub(super) fn note_heard(&mut self) {
        let heard = self.receipts.heard(self.input.len());
        self.actions.extend(heard.map(Action::Confirmed));
    }

    fn obey(&mut self, line: &[u8]) {
        let (verb, rest) = Verb::split(line);
        if verb == Verb::Foreign {
            return self.close_on(Offence::ForeignProtocol, replies::WRONG_PROTOCOL);
        }
        // Both end a group (RFC 2920, section 3.1). What follows DATA unasked is a message, and must
        // not be run as commands where DATA is refused; what follows STARTTLS in the clear is an
        // injection (RFC 3207, section 4.2).
        if matches!(verb, Verb::Data | Verb::StartTls) && !self.input.is_empty() {
            return self.close_on(Offence::Injection, replies::TOO_EARLY);
        }
        let command = Command::read(verb, rest, self.facts.extensions);
        let admitted = self.stage.admit(verb);
        match (command, admitted) {
            // Its octets come, lawful or not, and would be taken for commands.
            (Ok(Command::Bdat(chunk)), admitted) => self.bdat(chunk, admitted),
            (Err(error), _) if verb == Verb::Bdat => self.close(replies::chunk_lost(error)),
            (_, Err(phrase)) if self.is_excused(verb) => self.say(phrase),
            (_, Err(phrase)) => self.object(phrase),
            (Ok(command), Ok(())) => self.run(command, rest),
            (Err(error @ ArgumentError::SourceRoute), Ok(())) => {
                self.say(replies::argument(verb, error));
            }
            (Err(error), Ok(())) => self.object(replies::argument(verb, error)),
        }
    }

    /// Tells whether `verb`, which is out of order, may have been sent before the client knew.
    fn is_excused(&self, verb: Verb) -> bool {
        matches!(verb, Verb::Rcpt | Verb::Data)
            && self.stage == Stage::Ready
            && self.blame == Blame::Nobody
    }

    fn run(&mut self, command: Command, argument: &[u8]) {
        match command {
            Command::Ehlo(name) => self.hello(Hello::Extended(name)),
            Command::Helo(name) => self.hello(Hello::Plain(name)),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => {
                self.auth(&mechanism, initial.as_deref().map(String::as_str));
            }
            Command::Mail { sender, parameters } => self.mail(sender, parameters, argument),
            Command::Rcpt { recipient, parameters } => self.rcpt(recipient, parameters, argument),
            Command::Data => self.data(),
            Command::Bdat(chunk) => self.bdat(chunk, Ok(())),
            Command::Rset => {
                self.idle_command(replies::OK.into());
                self.end_transaction_if_open();
            }
            Command::Noop => self.idle_command(replies::OK.into()),
            Command::Quit => self.close(replies::GOODBYE),
            Command::Vrfy => self.idle_command(replies::VERIFY_NOT.into()),
            Command::Help => self.idle_command(replies::HELP.into()),
            Command::Xclient(said) => self.announce(said),
        }
    }

    /// Answers a command that moves no mail.
    pub(super) fn idle_command(&mut self, reply: Reply) {
        match self.misdeeds.idle_command() {
            Answer::Close => {
                self.close_on(Offence::TooManyErrors, replies::TOO_MANY_IDLE_COMMANDS);
            }
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
            reply = reply.line(&format!("AUTH {}", exchange::offered(&self.means())));
            if self.stage == Stage::Greeted && self.facts.xclient == Xclient::Offered {
                reply = reply.line(&format!("XCLIENT {}", xclient::ATTRIBUTES));
            }
        } else if self.facts.tls == TlsStart::Starttls {
            reply = reply.line("STARTTLS");
        }
        // RFC 9422, section 3: what a client may count on, so that it need not find out.
        let limits = format!("LIMITS RCPTMAX={}", self.limits().recipients);
        reply = reply.line("8BITMIME").line("CHUNKING").line(&limits);
        let offered = PROMISES.into_iter().filter(|promise| self.facts.extensions.has(*promise));
        for line in offered.filter_map(|promise| self.promise(promise)) {
            reply = reply.line(&line);
        }
        reply.line("ENHANCEDSTATUSCODES")
    }

    /// Returns the line of an extension that is kept together with the sending side; none where it
    /// has no place.
    fn promise(&self, extension: Extension) -> Option<String> {
        Some(match extension {
            Extension::SmtpUtf8 => "SMTPUTF8".to_owned(),
            Extension::BinaryMime => "BINARYMIME".to_owned(),
            Extension::Dsn => "DSN".to_owned(),
            Extension::FutureRelease => {
                let latest = self.wall_clock().saturating_add(HOLD_MAX);
                let latest = latest.unwrap_or(jiff::Timestamp::MAX);
                format!("FUTURERELEASE {} {latest:.0}", HOLD_MAX.as_secs())
            }
            Extension::DeliverBy => "DELIVERBY".to_owned(),
            Extension::MtPriority => "MT-PRIORITY".to_owned(),
            // RFC 8689, section 2: not in the clear.
            Extension::RequireTls if self.stage.is_secured() => "REQUIRETLS".to_owned(),
            Extension::RequireTls => return None,
        })
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
            Some(Hello::Extended(_)) => {
                self.mechanism = exchange::known(mechanism);
                let turn = Exchange::begin(mechanism, initial, self.means());
                self.turn(turn);
            }
            Some(Hello::Plain(_)) | None => self.object(replies::EHLO_FOR_AUTH),
        }
    }

    pub(super) fn turn(&mut self, turn: Result<Turn, ExchangeFault>) {
        match turn {
            Ok(Turn::Challenge(exchange, text)) => {
                self.state = State::Exchange(Box::new(exchange));
                self.say(replies::challenge(&text));
            }
            Ok(Turn::Lookup(exchange, wanted)) => {
                self.enter(State::Looking(Box::new(exchange)), self.now);
                self.actions.push_back(Action::Lookup(wanted));
            }
            Ok(Turn::Complete(proof)) => {
                let next = match &proof {
                    Proof::Token(token) => Next::Explain(token.by),
                    Proof::Password(_)
                    | Proof::Keys { .. }
                    | Proof::NoKeys { .. }
                    | Proof::Certificate { .. } => Next::Answer,
                };
                self.verify(proof, next);
            }
            Ok(Turn::Sign(signing, proof)) => self.verify(proof, Next::Sign(Box::new(signing))),
            Ok(Turn::Signed(login)) => self.grant(login),
            Ok(Turn::Refused) => self.deny(),
            Err(fault) => self.object(replies::exchange(fault)),
        }
    }

    fn verify(&mut self, proof: Proof, next: Next) {
        self.enter(State::Verifying(next), self.now);
        self.actions.push_back(Action::Verify(proof));
    }

    /// Says that a login was granted.
    pub(super) fn grant(&mut self, login: String) {
        self.login = Some(login);
        self.limits = Permit::of(&self.facts.config, self.client()).limits();
        self.stage = Stage::Ready;
        self.say(replies::LOGIN_OK);
    }

    /// Says that a login was denied.
    pub(super) fn deny(&mut self) {
        match self.misdeeds.failed_login(&self.limits) {
            Answer::Close => self.close(replies::TOO_MANY_FAILED_LOGINS),
            answer => self.answer(answer, replies::LOGIN_DENIED.into()),
        }
    }

    fn mail(&mut self, sender: ReversePath, mut parameters: MailParameters, argument: &[u8]) {
        if self.outlook == Outlook::Leaving {
            return self.close(replies::SHUTTING_DOWN);
        }
        if !parameters.is_empty() && matches!(self.hello, Some(Hello::Plain(_))) {
            return self.object(replies::EXTENSION_NOT_OFFERED);
        }
        self.blame = Blame::Nobody;
        if parameters.size_bytes.is_some_and(|size| size > self.limits().message_size_bytes) {
            return self.say(replies::MESSAGE_TOO_LARGE);
        }
        if let Err(refusal) = check_sender(&self.facts.config, self.client(), &sender) {
            return self.say(replies::refusal(refusal));
        }
        match self.room {
            Room::Enough => {}
            Room::Short => return self.say(replies::STORE_FULL),
            Room::ShareUsed => return self.say(replies::STORE_SHARE_USED),
        }
        // A priority that is not permitted is lowered (RFC 6710, section 4.1).
        let permit = Permit::of(&self.facts.config, self.client());
        parameters.priority = permit.priority(parameters.priority);
        match Transaction::new(sender, parameters, argument, self.wall_clock()) {
            Ok(transaction) => {
                self.blame = Blame::Client;
                self.transaction = Some(transaction);
                self.mail_at = Some(self.now);
                self.stage = Stage::Sender;
                self.say(replies::SENDER_OK);
            }
            Err(HeldTooLong) => self.object(replies::HELD_TOO_LONG),
        }
    }

    fn rcpt(&mut self, recipient: Recipient, parameters: RcptParameters, argument: &[u8]) {
        let limit = self.limits().recipients;
        if !parameters.is_empty() && matches!(self.hello, Some(Hello::Plain(_))) {
            return self.object(replies::EXTENSION_NOT_OFFERED);
        }
        let accepted = accept_recipient(&self.facts.config, self.client(), recipient);
        let recipient = match accepted {
            Ok(recipient) => recipient,
            Err(refusal) => return self.say(replies::refusal(refusal)),
        };
        let Some(mut transaction) = self.transaction.take() else {
            return self.object(replies::MAIL_FIRST);
        };
        if recipient.charset() == Charset::Utf8 && transaction.charset() == Charset::Ascii {
            self.transaction = Some(transaction);
            return self.object(replies::argument(Verb::Rcpt, ArgumentError::Utf8));
        }
        let reply: Reply = if !transaction.has_room_for(&recipient, limit) {
            replies::TOO_MANY_RECIPIENTS.into()
        } else if let Err(exceeded) = self.facts.rates.take(self.client(), self.now) {
            replies::exceeded(exceeded)
        } else {
            transaction.add(recipient, parameters, argument);
            self.stage = Stage::Recipients;
            replies::RECIPIENT_OK.into()
        };
        self.transaction = Some(transaction);
        self.say(reply);
    }
}
