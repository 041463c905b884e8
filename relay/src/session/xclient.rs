//! What a session takes from a filter that says for whom it speaks.
//!
//! The filter's own right to say so ends with the address: behind a filter that passes on what its client
//! says, that client could name any address otherwise.

use std::time::Instant;

use crate::smtp::xclient::{Announcement, Said};

use super::stage::Stage;
use super::{Action, Session, State, replies};

/// Whether a client may say for whom it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xclient {
    /// It may: EHLO offers XCLIENT.
    Offered,
    /// It may not, or it has said so: 550 5.7.0.
    Refused,
}

/// What was said of the client besides its address.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// The name of its host.
    pub(super) name: Option<String>,
    /// Its name for itself, which goes before the name in the filter's own EHLO.
    pub(super) hello: Option<String>,
}

impl Session {
    /// Takes what XCLIENT says. Everything begins anew then, but TLS; what is not said anew stays, so that
    /// names may come before the address.
    pub(super) fn announce(&mut self, said: Announcement) {
        match self.facts.xclient {
            Xclient::Offered => {}
            Xclient::Refused => return self.object(replies::XCLIENT_DENIED),
        }
        if let Some(name) = said.name {
            self.announced.name = name.known();
        }
        if let Some(hello) = said.hello {
            self.announced.hello = hello.known();
        }
        if let Some(address) = said.address {
            self.facts.xclient = Xclient::Refused;
            // Whose address is not known counts as the filter itself.
            if let Said::Known(source) = address {
                self.facts.source = source;
                self.actions.push_back(Action::Source(source));
            }
        }
        if let Some(channel) = &mut self.channel {
            // The certificate is the filter's: it must not log the client in.
            channel.names.clear();
        }
        (self.hello, self.login, self.transaction) = (None, None, None);
        self.stage = Stage::Secured;
        self.idle_command(replies::greeting(&self.facts.config.hostname));
    }

    /// There are as many sessions from the address in [`Action::Source`] as there may be.
    pub fn crowded(&mut self, now: Instant) {
        self.now = now;
        if !matches!(self.state, State::Closed) {
            self.actions.clear();
            self.close(replies::TOO_MANY_FROM_THERE);
        }
    }
}
