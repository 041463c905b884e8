//! What a connection remembers of itself, for its messages and for the history.

use jiff::Timestamp;

use crate::event::Event;
use crate::history::{Fact, History};
use crate::mail::came::Came;
use crate::mail::envelope::Envelope;
use crate::session::Channel;

/// How a connection came to be. The message under way is remembered only where a history is kept.
pub(super) struct Tale {
    history: History,
    came: Box<Came>,
    envelope: Option<Box<Envelope>>,
    /// The octets of that message that went to the spool.
    size_bytes: u64,
}

impl Tale {
    /// Begins with a connection.
    pub(super) fn new(history: &History, came: Came) -> Self {
        Self { history: history.clone(), came: Box::new(came), envelope: None, size_bytes: 0 }
    }

    /// The TLS handshake is done.
    pub(super) fn secured(&mut self, channel: &Channel) {
        self.came.secured_at = Some(Timestamp::now());
        self.came.tls = Some(channel.description.clone());
        self.came.server_name.clone_from(&channel.server_name);
    }

    /// A login was granted that was proved by this mechanism.
    pub(super) fn logged_in(&mut self, mechanism: Option<&str>) {
        self.came.logged_in_at = Some(Timestamp::now());
        self.came.mechanism = mechanism.map(str::to_owned);
    }

    /// A message with this envelope comes in. Returns it with how it came.
    pub(super) fn begun(&mut self, envelope: Envelope) -> Envelope {
        self.size_bytes = 0;
        self.amended(envelope)
    }

    /// Octets of it go to the spool.
    pub(super) const fn appended(&mut self, octets: &[u8]) {
        self.size_bytes += octets.len() as u64;
    }

    /// Its envelope is this one after all. Returns it with how it came.
    pub(super) fn amended(&mut self, mut envelope: Envelope) -> Envelope {
        self.envelope = self.history.is_wanted().then(|| Box::new(envelope.clone()));
        envelope.came = Some(self.came.clone());
        envelope
    }

    /// The session says something: if it is that the message was accepted, that is entered.
    pub(super) fn heard(&mut self, event: &Event) {
        let Event::Accepted { id, .. } = event else { return };
        if let Some(envelope) = self.envelope.take() {
            let (came, size_bytes) = ((*self.came).clone(), self.size_bytes);
            self.history.enter(*id, Fact::Received { came, envelope, size_bytes });
        }
        self.came.earlier = self.came.earlier.saturating_add(1);
    }
}
