//! An attempt with a driver that keeps everything.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::config::{Mechanisms, ProofKind, RouteTls};
use crate::delivery::action::{Action, End};
use crate::delivery::attempt::Attempt;
use crate::delivery::login::{Credentials, Proof, Secret};
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::{Judged, Ruling};
use crate::delivery::terms::{Terms, Timeouts};
use crate::mail::envelope::{self, Body};
use crate::smtp::address::ReversePath;

/// The time of day of every attempt; only differences matter.
pub(super) const TODAY: Timestamp = Timestamp::UNIX_EPOCH;
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    reply: Duration::from_secs(300),
    final_dot: Duration::from_secs(600),
    idle: Duration::from_secs(5),
    quit: Duration::from_secs(3),
};

pub(super) fn terms(tls: RouteTls, with_login: Option<&str>) -> Terms {
    let credentials = with_login.map(|user| Credentials {
        user: user.into(),
        proof: Proof::Password(Secret::new(b"secret".to_vec())),
        mechanisms: Mechanisms::that_show(ProofKind::Password),
    });
    Terms {
        hostname: "relay.example.net".into(),
        tls,
        credentials,
        timeouts: TIMEOUTS,
        messages: 100,
    }
}

pub(super) fn parcel(recipients: &str, body: Body) -> Parcel {
    Parcel {
        sender: ReversePath::Mailbox("s@example.net".parse().unwrap()),
        recipients: recipients
            .split(' ')
            .map(|r| format!("{r}@example.com").parse().unwrap())
            .collect(),
        body,
        size_bytes: 8,
        terms: envelope::Terms::default(),
    }
}

/// An attempt with a driver that keeps everything: what was sent, what was ruled, how it ended.
pub(super) struct Driven {
    pub(super) attempt: Attempt,
    pub(super) now: Instant,
    pub(super) sent: Vec<u8>,
    pub(super) judged: Vec<Vec<Judged>>,
    pub(super) secures: usize,
    pub(super) ready: usize,
    pub(super) read_body: usize,
    /// How many octets may be held.
    pub(super) room: u64,
    pub(super) end: Option<End>,
}

impl Driven {
    pub(super) fn new(terms: Terms) -> Self {
        let now = super::now();
        let attempt = Attempt::new(terms, now);
        let (sent, judged) = (Vec::new(), Vec::new());
        let mut new = Self {
            attempt,
            now,
            sent,
            judged,
            secures: 0,
            ready: 0,
            read_body: 0,
            room: 1 << 30,
            end: None,
        };
        new.obey();
        new
    }

    pub(super) fn obey(&mut self) {
        while let Some(action) = self.attempt.next_action() {
            assert_eq!(self.end, None, "nothing follows Close");
            match action {
                Action::Send(octets) => self.sent.extend(octets),
                Action::SendSecret(secret) => self.sent.extend_from_slice(&secret),
                Action::Derive(derivation) => self.attempt.derived(&derivation.run(), self.now),
                Action::Secure => self.secures += 1,
                Action::Ready => self.ready += 1,
                Action::MakeRoom(octets) if octets <= self.room => self.attempt.roomy(self.now),
                Action::MakeRoom(_) => self.attempt.crowded(self.now),
                Action::Convert(conversion) => {
                    self.attempt.converted(conversion.run(), self.now);
                }
                Action::ReadBody => self.read_body += 1,
                Action::GoOn => {
                    self.attempt.sent(self.now);
                    self.attempt.go_on(self.now);
                }
                Action::Settle(judged) => self.judged.push(judged),
                Action::Close(end) => self.end = Some(end),
            }
        }
        self.attempt.sent(self.now);
    }

    pub(super) fn hop(&mut self, octets: &str) -> &mut Self {
        self.attempt.receive(octets.as_bytes(), self.now);
        self.obey();
        self
    }

    pub(super) fn begin(&mut self, parcel: Parcel) -> &mut Self {
        assert!(self.ready > 0, "begin follows Ready; the attempt ended {:?}", self.end);
        self.ready -= 1;
        self.attempt.begin(parcel, TODAY, self.now);
        self.obey();
        self
    }

    pub(super) fn body(&mut self, octets: &[u8]) -> &mut Self {
        self.attempt.body(octets, self.now);
        self.obey();
        self.attempt.body_end(self.now);
        self.obey();
        self
    }

    pub(super) fn take_sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.sent)).unwrap()
    }

    /// Returns the rulings of the last transaction, one letter a recipient.
    pub(super) fn rulings(&self) -> String {
        let letter = |judged: &Judged| match judged.ruling {
            Ruling::Delivered => 'd',
            Ruling::Deferred | Ruling::Postponed => 'w',
            Ruling::Failed => 'f',
            Ruling::Elsewhere => 'e',
            Ruling::Held => 'h',
            Ruling::Captured => 'c',
        };
        self.judged.last().map(|judged| judged.iter().map(letter).collect()).unwrap_or_default()
    }
}

/// An attempt at loopback that is ready, with these EHLO keywords.
pub(super) fn ready(keywords: &str) -> Driven {
    let mut driven = Driven::new(terms(RouteTls::None, None));
    let lines = keywords.replace(',', "\r\n250-");
    driven.hop("220 mx\r\n").hop(&format!("250-mx\r\n250-{lines}\r\n250 HELP\r\n"));
    assert_eq!((driven.take_sent().as_str(), driven.ready), ("EHLO relay.example.net\r\n", 1));
    driven
}
