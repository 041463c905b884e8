//! What a connection remembers of itself for the history, until a message is accepted over it.

use jiff::Timestamp;

use crate::event::Event;
use crate::history::{Came, Fact, History};
use crate::mail::envelope::Envelope;

/// How a connection came to be, and the message under way; nothing where no history is kept.
pub(super) struct Tale {
    history: History,
    told: Option<Box<Told>>,
}

struct Told {
    came: Came,
    envelope: Option<Box<Envelope>>,
}

impl Tale {
    /// Begins with a connection.
    pub(super) fn new(history: &History, came: Came) -> Self {
        let told = history.is_kept().then(|| Box::new(Told { came, envelope: None }));
        Self { history: history.clone(), told }
    }

    /// The TLS handshake is done.
    pub(super) fn secured(&mut self, description: &str) {
        if let Some(told) = &mut self.told {
            told.came.secured_at = Some(Timestamp::now());
            told.came.tls = Some(description.to_owned());
        }
    }

    /// A login was granted that was proved by this mechanism.
    pub(super) fn logged_in(&mut self, mechanism: Option<&str>) {
        if let Some(told) = &mut self.told {
            told.came.logged_in_at = Some(Timestamp::now());
            told.came.mechanism = mechanism.map(str::to_owned);
        }
    }

    /// A message with this envelope comes in, or its envelope is this one after all.
    pub(super) fn begun(&mut self, envelope: &Envelope) {
        if let Some(told) = &mut self.told {
            told.envelope = Some(Box::new(envelope.clone()));
        }
    }

    /// The session says something: if it is that the message was accepted, that is entered.
    pub(super) fn heard(&mut self, event: &Event) {
        let Event::Accepted { id, size_bytes, .. } = event else { return };
        let Some(told) = &mut self.told else { return };
        let Some(envelope) = told.envelope.take() else { return };
        let (came, size_bytes) = (told.came.clone(), *size_bytes);
        self.history.enter(*id, Fact::Received { came, envelope, size_bytes });
    }
}
