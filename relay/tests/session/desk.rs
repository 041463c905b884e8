//! A session on a desk: no socket, no clock, no disk. Everything it says is kept.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay::config::Config;
use relay::event::Event;
use relay::mail::envelope::Envelope;
use relay::mail::fingerprint::Fingerprint;
use relay::mail::message::MessageId;
use relay::policy::conduct::Offence;
use relay::policy::credential::{Hash, Keys, StoredKeys};
use relay::policy::rate::Rates;
use relay::session::{
    Action, Channel, Facts, Proof, Room, Session, StoreFailure, TlsStart, Tokens, Verdict, Xclient,
};
use relay::smtp::extension::Extensions;
use relay::spool::Repeats;

/// NUL joe NUL secret.
pub const JOE: &str = "AGpvZQBzZWNyZXQ=";

/// The logins that are granted with the password "secret"; `crowd` has too many sessions already.
const LOGINS: [&str; 4] = ["joe", "few", "slow", "crowd"];

/// Returns what a login shows by AUTH PLAIN.
pub fn plain(login: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("\0{login}\0secret"))
}

/// What the desk answers when it is asked to store something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Works,
    /// No room for a draft.
    Full,
    /// No room at the commit.
    FillsUp,
    /// The disk fails at the commit.
    Fails,
    /// Never answers a commit.
    Hangs,
}

pub struct Desk {
    pub session: Session,
    pub now: Instant,
    pub store: Store,
    /// Everything sent and not yet looked at.
    pub sent: String,
    /// Committed messages.
    pub stored: Vec<(Envelope, Vec<u8>)>,
    pub events: Vec<Event>,
    pub offences: Vec<Offence>,
    pub secure_asked: bool,
    /// What the client has beside its password, once TLS is made.
    pub channel: Channel,
    pub closed: bool,
    /// The address that the session counts for, if it was named.
    pub source: Option<IpAddr>,
    /// Whether there is no place for a session that counts for another address.
    pub crowded: bool,
    /// Messages that the session says were heard of.
    pub confirmed: Vec<MessageId>,
    /// What the store knows of messages that may come again; none: it takes all for new ones.
    pub repeats: Option<Repeats>,
    draft: Option<(Envelope, Vec<u8>)>,
    pub next_id: u64,
}

/// Returns the configuration of the desk, with limits changed: lines like `errors = 4`. The ranges
/// of a configuration file do not hold here.
pub fn config(lines: &str) -> Config {
    let parsed = Config::parse(include_str!("sallyport.toml"));
    let mut config = parsed.unwrap_or_else(|problems| panic!("{problems:?}"));
    for line in lines.lines() {
        let (name, value) = line.split_once(" = ").expect("name = value");
        let value: u64 = value.parse().expect("a number");
        let limits = &mut config.limits;
        match name {
            "message_size_bytes" => limits.message_size_bytes = value,
            "header_size_bytes" => limits.header_size_bytes = value as usize,
            "header_fields" => limits.header_fields = value as usize,
            "received_fields" => limits.received_fields = value as usize,
            "recipients" => limits.recipients = value as usize,
            "errors" => limits.errors = value as u32,
            _ => panic!("no such limit: {name}"),
        }
    }
    config
}

impl Desk {
    pub fn new(config: Config, tls: TlsStart) -> Self {
        Self::with(config, tls, |_| {})
    }

    /// As [`Desk::new`], for a client that has to wait for the greeting.
    pub fn greeted_after(greet_after: Duration, config: Config, tls: TlsStart) -> Self {
        Self::with(config, tls, |facts| facts.greet_after = greet_after)
    }

    /// As [`Desk::new`], with other facts.
    pub fn with(config: Config, tls: TlsStart, change: impl FnOnce(&mut Facts)) -> Self {
        let now = Instant::now();
        let config = Arc::new(config);
        let mut facts = Facts {
            rates: Arc::new(Rates::new(&config, now)),
            config,
            source: "192.0.2.7".parse().unwrap(),
            peer: "192.0.2.7".parse().unwrap(),
            tag: None,
            tls,
            xclient: Xclient::Refused,
            extensions: Extensions::NONE,
            tokens: Tokens::Checked,
            connected_at: jiff::Timestamp::from_second(1_763_942_400).unwrap(),
            greet_after: Duration::ZERO,
        };
        change(&mut facts);
        Self {
            session: Session::new(facts, now),
            now,
            store: Store::Works,
            sent: String::new(),
            stored: Vec::new(),
            events: Vec::new(),
            offences: Vec::new(),
            secure_asked: false,
            channel: Channel::default(),
            closed: false,
            source: None,
            crowded: false,
            confirmed: Vec::new(),
            repeats: None,
            draft: None,
            next_id: 1,
        }
    }

    /// Hands octets over in pieces of `step`, obeying the session in between.
    pub fn send(&mut self, octets: &[u8], step: usize) {
        let mut pieces: VecDeque<&[u8]> = octets.chunks(step.max(1)).collect();
        self.obey();
        while let Some(piece) = pieces.pop_front() {
            let mut pauses = 0;
            while !self.closed && !self.secure_asked && !self.session.wants_input() {
                // Only a punishment or a store that hangs makes it wait: let the time come.
                pauses += 1;
                assert!(pauses < 100, "the session waits for ever");
                self.pass_time();
            }
            self.session.receive(piece, self.now);
            self.obey();
        }
        while matches!(self.pause(), Some(left) if left <= Duration::from_secs(5)) {
            self.pass_time();
        }
    }

    /// Returns how long the session only waits for its deadline.
    fn pause(&self) -> Option<Duration> {
        let waits = !self.closed && !self.secure_asked && !self.session.wants_input();
        waits.then(|| self.session.deadline().saturating_duration_since(self.now))
    }

    /// Lets the time pass up to the deadline.
    pub fn pass_time(&mut self) {
        self.now = self.now.max(self.session.deadline());
        self.session.expire(self.now);
        self.obey();
    }

    pub fn secured(&mut self) {
        assert!(self.secure_asked, "nobody asked for TLS");
        self.secure_asked = false;
        let description = "TLSv1.3, TLS13_AES_256_GCM_SHA384".to_owned();
        let channel = Channel { description, ..self.channel.clone() };
        self.session.secured(channel, self.now);
        self.obey();
    }

    pub fn set_room(&mut self, room: Room) {
        self.session.set_room(room);
    }

    /// Does what the session says, and answers it.
    pub fn obey(&mut self) {
        while let Some(action) = self.session.next_action() {
            assert!(!self.closed, "nothing comes after a close: {action:?}");
            match action {
                Action::Send(text) => self.sent.push_str(&text),
                Action::Secure => self.secure_asked = true,
                Action::Source(_) if self.crowded => self.session.crowded(self.now),
                Action::Source(source) => self.source = Some(source),
                Action::Lookup(wanted) => {
                    let keys = (wanted.login != "busy").then(|| keys(wanted.hash));
                    self.session.keys_found(keys, self.now);
                }
                Action::Verify(proof) => self.session.verified(verdict(proof), self.now),
                Action::Begin(envelope) if self.store == Store::Full => {
                    drop(envelope);
                    self.session.refused(StoreFailure::Full, self.now);
                }
                Action::Begin(envelope) => {
                    assert!(self.draft.is_none(), "one draft at a time");
                    self.draft = Some((envelope, Vec::new()));
                    self.session.begun(MessageId(self.next_id), self.now);
                    self.next_id += 1;
                }
                Action::Amend(envelope) => self.draft.as_mut().expect("a draft").0 = envelope,
                Action::Append(octets) => {
                    self.draft.as_mut().expect("a draft").1.extend_from_slice(&octets);
                }
                Action::Commit(fingerprint) => self.commit(fingerprint),
                Action::Confirmed(id) => self.confirm(id),
                Action::Abandon => self.draft = None,
                Action::Report(event) => self.events.push(event),
                Action::Offended(offence) => self.offences.push(offence),
                Action::Close => self.closed = true,
            }
        }
    }

    fn confirm(&mut self, id: MessageId) {
        self.confirmed.push(id);
        if let Some(repeats) = &mut self.repeats {
            repeats.forget(id);
        }
    }

    fn commit(&mut self, fingerprint: Fingerprint) {
        let draft = self.draft.take().expect("a draft");
        let (id, at) = (MessageId(self.next_id - 1), draft.0.received_at);
        if let Some(repeats) = &mut self.repeats {
            if let Some(first) = repeats.first(fingerprint, at) {
                return self.session.repeated(first, self.now);
            }
            if self.store == Store::Works {
                repeats.remember(id, fingerprint, at);
            }
        }
        let result = match self.store {
            Store::Works => {
                self.stored.push(draft);
                Ok(id)
            }
            Store::Full | Store::FillsUp => Err(StoreFailure::Full),
            Store::Fails => Err(StoreFailure::Failed),
            Store::Hangs => return,
        };
        self.session.stored(result, self.now);
    }
}

/// The one password is that of joe, the one certificate names joe, and the one token is `a.b.c`.
fn verdict(proof: Proof) -> Verdict {
    let is = |login: &str, acts_as: Option<&str>| acts_as.is_none_or(|name| name == login);
    let (login, right) = match proof {
        Proof::Password(shown) => {
            let right = shown.password.as_slice() == b"secret"
                && is(&shown.login, shown.acts_as.as_deref());
            (shown.login, right)
        }
        Proof::Keys { login, acts_as } => {
            let right = is(&login, acts_as.as_deref());
            (login, right)
        }
        Proof::NoKeys { login } => (login, false),
        Proof::Certificate { names, acts_as } => (names[0].clone(), is("joe", acts_as.as_deref())),
        Proof::Token(token) => {
            let right = token.text.as_str() == "a.b.c" && is("joe", token.claims.as_deref());
            ("joe".to_owned(), right)
        }
    };
    match login.as_str() {
        "busy" => Verdict::Later,
        "crowd" if right => Verdict::Crowded,
        known if right && LOGINS.contains(&known) => Verdict::Granted(login),
        _ => Verdict::Denied,
    }
}

/// The keys of the password "secret", whoever asks.
fn keys(hash: Hash) -> StoredKeys {
    let (salt, iterations) = (b"salt of sixteen.".to_vec(), NonZeroU32::new(4096).unwrap());
    StoredKeys { keys: Keys::derive(hash, b"secret", &salt, iterations), iterations, salt }
}
